// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// Each rule of Lint finds what breaks it, and nothing in what Debian ships.
func TestLint(t *testing.T) {
	good := testkit.ReadFile(t, write(t, spec(t)))
	f, err := pe.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if bad := Lint(f); len(bad) > 0 {
		t.Fatalf("Lint = %q", bad)
	}
	const size, flags = 8, 36 // in a section header
	index := func(name string) int {
		for i, s := range f.Sections {
			if s.Name == name {
				return i
			}
		}
		t.Fatalf("no section %s", name)
		return 0
	}
	header := func(at int, v uint16) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint16(b[int(f.Offset)+at:], v)
		return b
	}
	renamed := func(section, name string) []byte {
		b := bytes.Clone(good)
		table := int(f.Offset) + 24 + int(binary.LittleEndian.Uint16(b[f.Offset+20:]))
		copy(b[table+40*index(section):][:8], name+"\x00\x00\x00\x00\x00\x00\x00\x00")
		return b
	}
	for _, c := range []struct {
		name, words string
		image       []byte
	}{
		{"writable code", ".text is writable and executable", withField(good, index(".text"), flags, pe.SectionRead|pe.SectionWrite|pe.SectionExecute)},
		{"entry that is no code", "which is not code", withField(good, index(".text"), flags, pe.SectionRead)},
		{"entry nowhere", "lies in no section", withField(good, index(".text"), size, 16)},
		{"no size", ".osrel has no size", withField(good, index(".osrel"), size, 0)},
		{"two .reloc", "2 sections .reloc", renamed(".osrel", ".reloc")},
		{"two .sbat", "2 sections .sbat", renamed(".osrel", ".sbat")},
		{"no SBAT text", ".sbat:", renamed(".osrel", ".sbat")},
		{"relocations stripped", "marked as stripped", header(22, f.Characteristics|1)},
		{"subsystem", "none of EFI", header(24+68, 3)},
	} {
		g, err := pe.Parse(c.image)
		if err != nil {
			t.Errorf("%s: Parse = %v", c.name, err)
			continue
		}
		if bad := Lint(g); !strings.Contains(strings.Join(bad, "\n"), c.words) {
			t.Errorf("%s: Lint = %q, want %q", c.name, bad, c.words)
		}
	}
	for _, path := range []string{testkit.Stub(t, "amd64", "trixie"), testkit.Stub(t, "arm64", "forky"), testkit.Shim(t), testkit.SystemdBoot(t, "amd64", "trixie")} {
		if bad := Lint(parsePE(t, path)); len(bad) > 0 {
			t.Errorf("Lint(%s) = %q", path, bad)
		}
	}
}
