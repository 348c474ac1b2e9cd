// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command showcore prints what the core of a crashed kernel says of it: the
// headers of the ELF file, and the release in its VMCOREINFO note. It runs in
// the crash kernel.
package main

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if err := show(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "showcore:", err)
		os.Exit(1)
	}
}

func show(name string) error {
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
