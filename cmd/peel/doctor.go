// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/kexec"
)

func (a *app) doctorCommand() *cobra.Command {
	var record string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say why kexec would or would not work here, and the remedy",
		Long: `Look at what decides about kexec on this machine: system calls, privilege, lockdown, Secure Boot, signature
and IMA rules, memory, EFI. Each finding says what follows and what can be done.

--record copies the files that peel looked at to DIR, so that the finding can be repeated elsewhere with
--root DIR, for instance in a bug report. Seeds and keys are left out; the kernel command line is in it, with
whatever secret somebody put there.`,
		GroupID: "other",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := a.machine()
			if err != nil {
				return err
			}
			if record != "" {
				if err := m.Record(record); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "peel: recorded in %s\n", record)
			}
			list := kexec.Diagnose(m)
			if a.json {
				return printJSON(a.out, list)
			}
			for _, f := range list {
				fmt.Fprintf(a.out, "%-8s %-22s %s\n", f.State, f.What, oneLine(f.Why))
				if f.Remedy != "" {
					fmt.Fprintf(a.out, "%-8s %-22s → %s\n", "", "", oneLine(f.Remedy))
				}
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	cmd.Flags().StringVar(&record, "record", "", "record the machine in `DIR`, which must not exist")
	return cmd
}
