// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
)

func (a *app) planCommand() *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "plan IMAGE",
		Short: "Show the segments, entry and hand-over data that kexec_load would get",
		Long: `Judge the image, take it apart and lay it out in the memory of this machine, or of one that
'peel doctor --record' recorded (--root DIR): which segment goes where, where the kernel is entered, and
what it finds there: memory map, boot parameters, device tree, EFI. Nothing is loaded.

Only root is told which memory is free. To others an x86 kernel still tells the firmware's memory map: the plan
is then a preview that shows the layout, at addresses that may not be those of a load.

docs/plan-json.md has the fields that --json prints.`,
		Example: "  peel plan linux.efi\n  peel plan vmlinuz.efi --root recorded/ --json",
		GroupID: "boot",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.loadOptions()
			if err != nil {
				return err
			}
			var guess string
			show := func(p *boot.Plan, err error) error {
				if err != nil {
					return err
				}
				if p.Preview = guess; guess != "" {
					fmt.Fprintf(a.err, "peel: warning: a preview: %s\n", oneLine(guess))
				}
				if a.json {
					return printJSON(a.out, p)
				}
				_, err = fmt.Fprint(a.out, p)
				return err
			}
			run, err := f.runs()
			if err != nil {
				return err
			}
			if run {
				return f.run(a, cmd, args[0], preview(&guess), func(m *machine.Machine, c *peel.Captured) error {
					return show(c.Plan(m, o.Plan))
				})
			}
			return f.prepare(a, cmd, args[0], func(m *machine.Machine, b *peel.Boot) error {
				if m, err = preview(&guess)(m); err != nil {
					return err
				}
				return show(b.Plan(m, o.Plan))
			})
		},
	}
	a.jsonFlag(cmd)
	f.add(cmd)
	return cmd
}

// preview takes a machine for one to look at, and says what was guessed.
func preview(why *string) func(*machine.Machine) (*machine.Machine, error) {
	return func(m *machine.Machine) (*machine.Machine, error) {
		m, *why = peel.Preview(m)
		if !m.Memory.Usable.Known() {
			return nil, fmt.Errorf("%w: which memory is free: %s (root is told, or a machine that root has recorded: --root DIR)",
				kexec.ErrNotPermitted, m.Memory.Usable.Why)
		}
		return m, nil
	}
}
