// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/kexec"
)

func (a *app) execCommand() *cobra.Command {
	var o kexec.ExecOptions
	cmd := &cobra.Command{
		Use:   "exec",
		Short: "Start the loaded kernel",
		Long: `Start the kernel that 'peel load' loaded. Where systemd runs, it is asked for its kexec.target, so
that services stop and file systems are unmounted. With --force, and where there is no systemd, the
kernel starts at once.`,
		GroupID: "boot",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.machine()
			if err != nil {
				return err
			}
			if kexec.StatusOf(m).Loaded.Or(true) {
				if err := extendBeforeExec(a); err != nil {
					return err
				}
			}
			return (&kexec.Client{Machine: m, Log: a.logger()}).Exec(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "start it at once, without systemd")
	return cmd
}

func (a *app) unloadCommand() *cobra.Command {
	var crash bool
	cmd := &cobra.Command{
		Use:     "unload",
		Short:   "Drop the loaded kernel",
		GroupID: "boot",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := a.machine()
			if err != nil {
				return err
			}
			if err := (&kexec.Client{Machine: m, Log: a.logger()}).Unload(crash); err != nil || crash {
				return err
			}
			return forgetMeasurements(a)
		},
	}
	cmd.Flags().BoolVar(&crash, "crash", false, "drop the crash kernel")
	return cmd
}

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say whether a kernel is loaded",
		GroupID: "boot",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := a.machine()
			if err != nil {
				return err
			}
			s := kexec.StatusOf(m)
			if a.json {
				return printJSON(a.out, s)
			}
			yes := func(loaded, known bool, why string) string {
				switch {
				case !known:
					return "unknown: " + why
				case loaded:
					return "loaded"
				}
				return "nothing is loaded"
			}
			fmt.Fprintf(a.out, "%-13s %s\n", "kernel", yes(s.Loaded.Value, s.Loaded.Known(), s.Loaded.Why))
			fmt.Fprintf(a.out, "%-13s %s\n", "crash kernel", yes(s.CrashLoaded.Value, s.CrashLoaded.Known(), s.CrashLoaded.Why))
			if n := s.CrashSize.Or(0); n > 0 {
				fmt.Fprintf(a.out, "%-13s %s set aside for it\n", "", size(n))
			}
			if s.LoadDisabled.Or(false) {
				fmt.Fprintln(a.out, "loading is disabled until the next boot (kernel.kexec_load_disabled=1)")
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}
