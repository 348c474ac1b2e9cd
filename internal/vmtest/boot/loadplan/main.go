// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command loadplan plans a kernel on the machine that it runs on, loads the
// plan by kexec_load and, with -exec, starts it. The tests of package boot run
// it in virtual machines; it checks no signature.
package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/unix"
	"github.com/peelboot/peel/machine"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadplan:", err)
		os.Exit(1)
	}
}

func run() error {
	var o boot.Options
	kernel := flag.String("kernel", "", "kernel `file`")
	initrds := flag.String("initrd", "", "initrd `files`, separated by commas")
	cmdline := flag.String("cmdline", "", "kernel command `line`")
	dtb := flag.String("dtb", "", "device tree `file`")
	dry := flag.Bool("n", false, "plan only")
	exec := flag.Bool("exec", false, "start the kernel")
	flag.BoolVar(&o.Crash, "crash", false, "load into the crash region")
	flag.BoolVar(&o.NoEFI, "noefi", false, "hand over no EFI runtime services")
	flag.Uint64Var(&o.Min, "min", 0, "lowest physical `address`")
	flag.Uint64Var(&o.Max, "max", 0, "highest physical `address`")
	core := flag.String("core", "", "print the headers of this ELF core `file` and do nothing else")
	flag.Parse()

	if *core != "" {
		return showCore(*core)
	}
	m, err := machine.Read("/")
	if err != nil {
		return err
	}
	p := &image.Payload{Cmdline: *cmdline}
	if p.Kernel.Data, err = os.ReadFile(*kernel); err != nil {
		return err
	}
	for name := range strings.SplitSeq(*initrds, ",") {
		if name == "" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		p.Initrds = append(p.Initrds, image.Part{Name: name, Data: b})
	}
	if *dtb != "" {
		if o.DTB, err = os.ReadFile(*dtb); err != nil {
			return err
		}
	}
	h := boot.HostOf(m)
	plan, err := boot.Build(p, h, o)
	if err != nil {
		return err
	}
	fmt.Print(plan)
	if *dry {
		return nil
	}

	segments := make([]unix.KexecSegment, len(plan.Segments))
	for i, s := range plan.Segments {
		segments[i] = unix.KexecSegment{Buf: s.Data, Phys: s.Phys, MemSize: s.MemSize}
	}
	flags := map[image.Arch]uint64{
		image.ArchX86_64: unix.KexecArchX86_64, image.ArchARM64: unix.KexecArchAArch64, image.ArchRISCV64: unix.KexecArchRISCV,
	}[plan.Arch]
	if plan.Crash {
		flags |= unix.KexecOnCrash
	}
	if err := unix.KexecLoad(plan.Entry, segments, flags); err != nil {
		return err
	}
	fmt.Println("loaded")
	if !*exec {
		return nil
	}
	return errors.Join(unix.Reboot(unix.RebootKexec), errors.New("the kernel was not started"))
}

// showCore prints what a crash kernel shows of the one that crashed.
func showCore(name string) error {
	f, err := elf.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Println(f.Type, f.Machine)
	for _, p := range f.Progs {
		fmt.Printf("%v paddr %#x memsz %#x\n", p.Type, p.Paddr, p.Memsz)
		if p.Type != elf.PT_NOTE {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p.Open(), 1<<20))
		if err != nil {
			return err
		}
		if _, after, ok := strings.Cut(string(b), "OSRELEASE="); ok {
			release, _, _ := strings.Cut(after, "\n")
			fmt.Println("OSRELEASE", release)
		}
	}
	return nil
}
