// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/vm"
)

// tryFlags are about the virtual machine.
type tryFlags struct {
	memory, cpus int
	qemu, accel  string
	expect       string
	timeout      time.Duration
}

func (a *app) tryCommand() *cobra.Command {
	var f loadFlags
	var t tryFlags
	cmd := &cobra.Command{
		Use:   "try IMAGE",
		Short: "Boot an image's kernel in a virtual machine",
		Long: `Do what 'peel load' and 'peel exec' do, but in QEMU: kernel, initrd and command line are those that
would boot here, and the console is this terminal. A serial console is added to the command line when it
names none. With --expect, succeed as soon as the console shows a text, and fail when it does not.`,
		Example: "  peel try linux.efi --cert db.pem\n  peel try linux.efi --expect 'login:' --timeout 2m",
		GroupID: "boot",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var want *regexp.Regexp
			if t.expect != "" {
				var err error
				if want, err = regexp.Compile(t.expect); err != nil {
					return usagef("--expect: %w", err)
				}
			}
			if run, err := f.runs(); err != nil {
				return err
			} else if run {
				return usagef("--via run lays memory out for this machine, not for a virtual one; 'peel plan --via run' shows it")
			}
			return f.prepare(a, cmd, args[0], func(_ *machine.Machine, b *peel.Boot) error {
				return t.boot(a, cmd, b, f.dtb != "", want)
			})
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.IntVar(&t.memory, "memory", 1024, "memory of the machine in `MIB`")
	fs.IntVar(&t.cpus, "cpus", 1, "`NUMBER` of processors")
	fs.StringVar(&t.qemu, "qemu", "", "the QEMU `PROGRAM` (default qemu-system-ARCH)")
	fs.StringVar(&t.accel, "accel", "", "QEMU's `ACCELERATOR`: tcg, kvm (default tcg)")
	fs.StringVar(&t.expect, "expect", "", "succeed when the console shows a text that matches `REGEXP`")
	fs.DurationVar(&t.timeout, "timeout", 5*time.Minute, "give up waiting for --expect after this `TIME`")
	return cmd
}

func (t *tryFlags) boot(a *app, cmd *cobra.Command, b *peel.Boot, dtb bool, want *regexp.Regexp) error {
	console, err := vm.ConsoleName(b.Payload.Arch)
	if err != nil {
		return err
	}
	line := b.Cmdline
	if !strings.Contains(" "+line, " console=") {
		line = strings.TrimSpace(line + " console=" + console)
		fmt.Fprintf(a.err, "peel: console=%s is added to the command line, which names no console\n", console)
	}
	kernel, err := b.Kernel()
	if err != nil {
		return err
	}
	ramdisk, err := b.RAMDisk()
	if err != nil {
		return err
	}
	c := vm.Config{
		Arch: b.Payload.Arch, QEMU: t.qemu, Accel: t.accel, MemoryMiB: t.memory, CPUs: t.cpus,
		Kernel: vm.FilePath(0), Cmdline: line, Files: []*os.File{kernel},
		Console: a.out, Input: a.in,
	}
	if ramdisk != nil {
		c.Initrd = vm.FilePath(len(c.Files))
		c.Files = append(c.Files, ramdisk)
	}
	switch {
	case b.Payload.DTB == nil:
	case dtb:
		tree, err := sealed.Concat("dtb", 1, b.Payload.DTB.Data)
		if err != nil {
			return err
		}
		defer tree.Close()
		c.DTB = vm.FilePath(len(c.Files))
		c.Files = append(c.Files, tree.File())
	default:
		fmt.Fprintln(a.err, "peel: the image's device tree is left out: it does not describe this virtual machine")
	}
	m, err := vm.Start(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer m.Close()
	if want == nil {
		return m.Wait()
	}
	_, err = m.Expect(cmd.Context(), want, t.timeout)
	return err
}
