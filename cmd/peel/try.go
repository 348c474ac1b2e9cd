// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/kexec"
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
names none. With --expect, succeed as soon as the console shows a text, and fail when it does not.

With --via run the image's own stub lays out the memory of the virtual machine instead of this one's, and the
machine starts with that memory at the plan's entry, as kexec would leave it: no other boot loader has a hand
in it. --syscall segments does the same with the plan of the parse route. Both work on x86-64 and arm64.`,
		Example: "  peel try linux.efi --cert db.pem\n  peel try linux.efi --via run --expect 'login:' --timeout 2m",
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
			o, err := f.loadOptions()
			if err != nil {
				return err
			}
			run, err := f.runs()
			if err != nil {
				return err
			}
			switch {
			case f.crash:
				return usagef("--crash: the virtual machine has no kernel that could crash")
			case run && o.Route == kexec.RouteFile:
				return usagef("--syscall file cannot go with --via run: the stub lays out memory, which is no file")
			case run:
				return t.run(a, cmd, &f, args[0], o, want)
			}
			return f.prepare(a, cmd, args[0], func(_ *machine.Machine, b *peel.Boot) error {
				if b.Payload.DTB != nil && f.dtb == "" {
					fmt.Fprintln(a.err, "peel: the image's device tree is left out: it does not describe this virtual machine")
					b.Payload.DTB, b.Payload.DTBOverlays = nil, nil
				}
				if o.Route == kexec.RouteSegments {
					return t.segments(a, cmd, b, o, want)
				}
				return t.boot(a, cmd, b, want)
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

// config is a machine without anything to boot.
func (t *tryFlags) config(a *app, arch image.Arch) vm.Config {
	return vm.Config{Arch: arch, QEMU: t.qemu, Accel: t.accel, MemoryMiB: t.memory, CPUs: t.cpus, Console: a.out, Input: a.in}
}

// console returns what the command line lacks to show anything.
func (t *tryFlags) console(a *app, arch image.Arch, line string) (string, error) {
	name, err := vm.ConsoleName(arch)
	if err != nil || strings.Contains(" "+line, " console=") {
		return "", err
	}
	fmt.Fprintf(a.err, "peel: console=%s is added to the command line, which names no console\n", name)
	return "console=" + name, nil
}

// watch runs the machine to its end, or until it shows what is wanted.
func (t *tryFlags) watch(ctx context.Context, c vm.Config, want *regexp.Regexp) error {
	m, err := vm.Start(ctx, c)
	if err != nil {
		return err
	}
	defer m.Close()
	if want == nil {
		return m.Wait()
	}
	_, err = m.Expect(ctx, want, t.timeout)
	return err
}

// boot lets QEMU load the kernel.
func (t *tryFlags) boot(a *app, cmd *cobra.Command, b *peel.Boot, want *regexp.Regexp) error {
	console, err := t.console(a, b.Payload.Arch, b.Cmdline)
	if err != nil {
		return err
	}
	kernel, err := b.Kernel()
	if err != nil {
		return err
	}
	ramdisk, err := b.RAMDisk()
	if err != nil {
		return err
	}
	c := t.config(a, b.Payload.Arch)
	c.Kernel, c.Cmdline, c.Files = vm.FilePath(0), strings.TrimSpace(b.Cmdline+" "+console), []*os.File{kernel}
	if ramdisk != nil {
		c.Initrd = vm.FilePath(len(c.Files))
		c.Files = append(c.Files, ramdisk)
	}
	if b.Payload.DTB != nil {
		tree, err := sealed.Concat("dtb", 1, b.Payload.DTB.Data)
		if err != nil {
			return err
		}
		defer tree.Close()
		c.DTB = vm.FilePath(len(c.Files))
		c.Files = append(c.Files, tree.File())
	}
	return t.watch(cmd.Context(), c, want)
}

// segments starts the machine with the plan of the parse route in its memory.
func (t *tryFlags) segments(a *app, cmd *cobra.Command, b *peel.Boot, o peel.LoadOptions, want *regexp.Regexp) error {
	c := t.config(a, b.Payload.Arch)
	m, top, err := vm.Facts(cmd.Context(), c)
	if err != nil {
		return err
	}
	return t.start(a, cmd, c, top, want, func(more string) (*boot.Plan, error) {
		o.Plan.Append = more
		return b.Plan(m, o.Plan)
	})
}

// run starts the machine with what the image's stub has laid out in it.
func (t *tryFlags) run(a *app, cmd *cobra.Command, f *loadFlags, path string, o peel.LoadOptions, want *regexp.Regexp) error {
	c := t.config(a, image.HostArch())
	var top uint64
	see := func(host *machine.Machine) (m *machine.Machine, err error) {
		if m, top, err = vm.Facts(cmd.Context(), c); err != nil {
			return nil, err
		}
		// Secure Boot and the like are as they would be here.
		m.EFI.Variables = host.EFI.Variables
		return m, nil
	}
	return f.run(a, cmd, path, see, func(m *machine.Machine, captured *peel.Captured) error {
		return t.start(a, cmd, c, top, want, func(more string) (*boot.Plan, error) {
			o.Plan.Append = more
			return captured.Plan(m, o.Plan)
		})
	})
}

// start starts the machine with a plan in its memory. plan makes it, with more
// at the end of the command line.
func (t *tryFlags) start(a *app, cmd *cobra.Command, c vm.Config, top uint64, want *regexp.Regexp, plan func(more string) (*boot.Plan, error)) error {
	p, err := plan("")
	if err != nil {
		return err
	}
	more, err := t.console(a, p.Arch, p.HandOver.Cmdline)
	if err != nil {
		return err
	}
	if more != "" {
		if p, err = plan(more); err != nil {
			return err
		}
	}
	c.Memory = &vm.Memory{Entry: p.Entry, Top: top}
	for _, s := range p.Segments {
		if len(s.Data) > 0 {
			c.Memory.Segments = append(c.Memory.Segments, vm.Segment{Phys: s.Phys, Data: s.Data})
		}
	}
	return t.watch(cmd.Context(), c, want)
}
