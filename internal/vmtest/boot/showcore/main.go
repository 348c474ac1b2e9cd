// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command showcore prints what the core of a crashed kernel says of it: the
// headers of the ELF file, its VMCOREINFO note, and in base64 the bytes up to
// the first memory of the core. It runs in the crash kernel.
package main

import (
	"debug/elf"
	"encoding/base64"
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
	r, err := os.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := elf.NewFile(r)
	if err != nil {
		return err
	}
	fmt.Println(f.Type, f.Machine)
	head := uint64(1 << 20)
	for _, p := range f.Progs {
		fmt.Printf("%v %#x %#x %#x\n", p.Type, p.Vaddr, p.Paddr, p.Memsz)
		if p.Type == elf.PT_LOAD {
			head = min(head, p.Off)
		}
		if p.Type != elf.PT_NOTE {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p.Open(), 1<<20))
		if err != nil {
			return err
		}
		if i := strings.Index(string(b), "OSRELEASE="); i >= 0 {
			info, _, _ := strings.Cut(string(b[i:]), "\x00")
			fmt.Print(info)
		}
	}
	b := make([]byte, head)
	if _, err := r.ReadAt(b, 0); err != nil {
		return err
	}
	fmt.Println("HEAD", base64.StdEncoding.EncodeToString(b))
	return nil
}
