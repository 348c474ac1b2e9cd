// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
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

docs/plan-json.md has the fields that --json prints.`,
		Example: "  peel plan linux.efi\n  peel plan vmlinuz.efi --root recorded/ --json",
		GroupID: "boot",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.loadOptions()
			if err != nil {
				return err
			}
			show := func(p *boot.Plan, err error) error {
				if err != nil {
					return err
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
				return f.run(a, cmd, args[0], func(m *machine.Machine, c *peel.Captured) error {
					return show(c.Plan(m, o.Plan))
				})
			}
			return f.prepare(a, cmd, args[0], func(m *machine.Machine, b *peel.Boot) error {
				return show(b.Plan(m, o.Plan))
			})
		},
	}
	a.jsonFlag(cmd)
	f.add(cmd)
	return cmd
}
