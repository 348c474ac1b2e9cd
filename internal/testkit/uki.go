// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"debug/pe"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// UKIOptions describe a unified kernel image. Paths that are empty leave their section out.
type UKIOptions struct {
	Name    string // of the file; empty is "uki.efi"
	Arch    string // Debian's spelling; empty is amd64
	Stub    string // path; empty is Debian 13's
	Kernel  string // path; empty is Debian 13's kernel
	Initrd  []byte // nil leaves it out
	Cmdline string // empty leaves it out
	Extra   []string
	// Objcopy builds with objcopy instead of ukify: sections only, in the way of systemd's old documentation. Extra is not used.
	Objcopy bool
	Key     *Key // signs the image with sbsign; nil leaves it unsigned
	// KernelKey signs the kernel inside first, as ukify --sign-kernel does.
	KernelKey *Key
}

// UKI builds a unified kernel image and returns its path.
func UKI(t testing.TB, o UKIOptions) string {
	t.Helper()
	if o.Name == "" {
		o.Name = "uki.efi"
	}
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.Stub == "" {
		o.Stub = Stub(t, o.Arch, "trixie")
	}
	if o.Kernel == "" {
		o.Kernel = Kernel(t, o.Arch, "6.12")
	}
	if o.KernelKey != nil {
		o.Kernel = Sign(t, o.KernelKey, o.Kernel)
	}
	dir := t.TempDir()
	initrd := ""
	if o.Initrd != nil {
		initrd = filepath.Join(dir, "initrd")
		if err := os.WriteFile(initrd, o.Initrd, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, o.Name)
	if o.Objcopy {
		objcopyUKI(t, o, dir, initrd, out)
	} else {
		ukifyUKI(t, o, initrd, out)
	}
	if o.Key != nil {
		return Sign(t, o.Key, out)
	}
	return out
}

func ukifyUKI(t testing.TB, o UKIOptions, initrd, out string) {
	t.Helper()
	args := []string{"build", "--linux=" + o.Kernel, "--stub=" + o.Stub, "--output=" + out, "--efi-arch=" + efiArch(o.Arch),
		"--os-release=ID=peel-test\nNAME=\"peel test\"\nVERSION_ID=1\n", "--uname=0.0.0-peel"}
	if initrd != "" {
		args = append(args, "--initrd="+initrd)
	}
	if o.Cmdline != "" {
		args = append(args, "--cmdline="+o.Cmdline)
	}
	Run(t, "", "ukify", append(args, o.Extra...)...)
}

func efiArch(arch string) string {
	switch arch {
	case "amd64":
		return "x64"
	case "arm64":
		return "aa64"
	case "loong64":
		return "loongarch64"
	}
	return arch
}

// objcopyUKI adds sections behind the last one of the stub, each aligned to the stub's section alignment.
func objcopyUKI(t testing.TB, o UKIOptions, dir, initrd, out string) {
	t.Helper()
	// The readers of this module are what tests put to the test, and their tests import this package: debug/pe it is.
	f, err := pe.Open(o.Stub)
	if err != nil {
		t.Fatalf("%s: %v", o.Stub, err)
	}
	defer f.Close()
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		t.Fatalf("%s: not PE32+", o.Stub)
	}
	align := max(uint64(opt.SectionAlignment), 4096)
	next := uint64(0)
	for _, s := range f.Sections {
		next = max(next, uint64(s.VirtualAddress)+uint64(s.VirtualSize))
	}
	var args []string
	add := func(name, file string) {
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		next = (next + align - 1) / align * align
		args = append(args, "--add-section", name+"="+file,
			"--change-section-vma", fmt.Sprintf("%s=%#x", name, opt.ImageBase+next))
		next += uint64(fi.Size())
	}
	text := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	add(".osrel", text("osrel", "ID=peel-test\nNAME=\"peel test\"\nVERSION_ID=1\n"))
	if o.Cmdline != "" {
		add(".cmdline", text("cmdline", o.Cmdline))
	}
	if initrd != "" {
		add(".initrd", initrd)
	}
	add(".linux", o.Kernel)
	tool := "objcopy"
	switch o.Arch {
	case "arm64":
		tool = "aarch64-linux-gnu-objcopy"
	case "riscv64":
		tool = "riscv64-linux-gnu-objcopy"
	}
	Run(t, "", tool, append(args, o.Stub, out)...)
}

// FlipSection returns the path of a copy of a PE image with one byte of a section inverted, offset bytes into it.
func FlipSection(t testing.TB, image, section string, offset uint32) string {
	t.Helper()
	f, err := pe.Open(image)
	if err != nil {
		t.Fatalf("%s: %v", image, err)
	}
	defer f.Close()
	s := f.Section(section)
	if s == nil {
		t.Fatalf("%s: no section %s", image, section)
	}
	if n := min(s.VirtualSize, s.Size); offset >= n {
		t.Fatalf("%s: %s has %d bytes, no byte %d", image, section, n, offset)
	}
	b := ReadFile(t, image)
	b[s.Offset+offset] ^= 0xff
	return WriteFile(t, filepath.Base(image), b)
}
