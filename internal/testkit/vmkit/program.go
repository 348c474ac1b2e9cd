// SPDX-License-Identifier: Apache-2.0

package vmkit

import (
	"debug/elf"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/artefact"
)

// Program returns a program of a package for a guest, such as
// "usr/sbin/kexec" of "kexec-tools", with its dynamic linker and libraries, as files of an initramfs.
func Program(t testing.TB, arch image.Arch, pkg, path string) []testkit.File {
	t.Helper()
	c, err := artefact.Open()
	if err != nil {
		t.Fatal(err)
	}
	root, err := c.Root(pkg + "-" + goArch(t, arch))
	if err != nil {
		t.Fatal(err)
	}
	lib := map[image.Arch]string{
		image.ArchX86_64: "usr/lib/x86_64-linux-gnu", image.ArchARM64: "usr/lib/aarch64-linux-gnu",
		image.ArchRISCV64: "usr/lib/riscv64-linux-gnu",
	}[arch]
	var out []testkit.File
	have := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if have[name] {
			return
		}
		have[name] = true
		file, err := artefact.Resolve(root, name)
		if err != nil && filepath.Dir(name) != "usr" && !strings.HasPrefix(name, "usr/") {
			file, err = artefact.Resolve(root, "usr/"+name) // /lib is /usr/lib
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, testkit.Exec(t, name, file))
		f, err := elf.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				b := make([]byte, p.Filesz)
				if _, err := p.ReadAt(b, 0); err != nil {
					t.Fatal(err)
				}
				add(strings.Trim(string(b), "/\x00"))
			}
		}
		needed, err := f.ImportedLibraries()
		if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
			t.Fatal(err)
		}
		for _, n := range needed {
			if !strings.HasPrefix(n, "ld-linux") {
				add(lib + "/" + n)
			}
		}
	}
	add(path)
	return out
}
