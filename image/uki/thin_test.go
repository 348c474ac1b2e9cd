// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// pieces makes a PE image of name, contents, name, contents ...
func pieces(t testing.TB, s ...string) *pe.File {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0x8664})
	for i := 0; i+1 < len(s); i += 2 {
		if err := b.Add(pe.NewSection{Name: s[i], Data: [][]byte{[]byte(s[i+1])}, Characteristics: pe.SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	f, err := pe.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func hashed(s string) string { sum := sha256.Sum256([]byte(s)); return string(sum[:]) }

func TestReadThin(t *testing.T) {
	k, i := hashed("kernel"), hashed("initrd")
	for _, c := range []struct {
		name     string
		sections []string
		err      error
	}{
		{"since 0.3", []string{".osrel", "ID=x", ".cmdline", "quiet\n", ".initrd", `\EFI\nixos\initrd.efi`, ".linux", `\EFI\nixos\kernel.efi`, ".initrdh", i, ".linuxh", k}, nil},
		{"before 0.3", []string{".cmdline", "quiet", ".initrdp", `\EFI\nixos\initrd.efi`, ".kernelp", `\EFI\nixos\kernel.efi`, ".initrdh", i, ".kernelh", k}, nil},
		{"short digest", []string{".linux", `\k`, ".linuxh", k[:31]}, ErrThin},
		{"long digest", []string{".linux", `\k`, ".linuxh", k + "x"}, ErrThin},
		{"initrd without digest", []string{".linux", `\k`, ".linuxh", k, ".initrd", `\i`}, ErrThin},
		{"digest without initrd", []string{".linux", `\k`, ".linuxh", k, ".initrdh", i}, ErrThin},
		{"way out", []string{".linux", `\EFI\..\..\etc\shadow`, ".linuxh", k}, ErrThin},
		{"empty path", []string{".linux", `\`, ".linuxh", k}, ErrThin},
		{"long path", []string{".linux", strings.Repeat("a", 5000), ".linuxh", k}, ErrThin},
		{"no text", []string{".linux", "\xff\xfe", ".linuxh", k}, ErrThin},
		{"two paths", []string{".linux", `\k`, ".linux", `\l`, ".linuxh", k}, ErrDuplicate},
	} {
		f := pieces(t, c.sections...)
		if !IsThin(f) {
			t.Errorf("%s: IsThin() = false, want true", c.name)
		}
		th, err := ReadThin(f)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: ReadThin() = %v, want %v", c.name, err, c.err)
		}
		if c.err != nil || err != nil {
			continue
		}
		if th.Kernel.Path != "EFI/nixos/kernel.efi" || th.Initrd == nil || th.Initrd.Path != "EFI/nixos/initrd.efi" || th.Cmdline != "quiet" {
			t.Errorf("%s: ReadThin() = %+v", c.name, th)
		}
		if err := th.Kernel.Check([]byte("kernel")); err != nil {
			t.Errorf("%s: Check: %v", c.name, err)
		}
		if err := th.Initrd.Check([]byte("initrd!")); !errors.Is(err, ErrThinHash) {
			t.Errorf("%s: Check of another initrd: %v, want ErrThinHash", c.name, err)
		}
	}
	if IsThin(pieces(t, ".linux", "kernel", ".initrdh", i)) {
		t.Error("IsThin() of an image without the kernel's digest = true")
	}
}

func TestStubOf(t *testing.T) {
	const sbat = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n"
	for _, c := range []struct {
		sections []string
		want     string
		major    int
	}{
		{[]string{".linux", "k"}, "", 0},
		{[]string{".linux", "k", ".sdmagic", "#### LoaderInfo: systemd-stub 257.9-1~deb13u1 ####\x00"}, "systemd-stub 257.9-1~deb13u1", 257},
		{[]string{".linux", "k", ".sbat", sbat + "systemd-stub,1,The systemd Developers,systemd,252,https://systemd.io/\n"}, "systemd-stub 252", 252},
		{[]string{".linux", "k", ".sbat", sbat + "stubble,1,Canonical,stubble,9,https://github.com/canonical/stubble\nstubble.ubuntu,1,Canonical,stubble,9-0ubuntu1,x\n"}, "stubble 9", 9},
		{[]string{".linux", `\k`, ".linuxh", hashed("k")}, "lanzaboote", 0},
		{[]string{".linux", "k", ".sdmagic", "#### LoaderInfo: systemd-boot 257 ####"}, "", 0},
	} {
		got := StubOf(pieces(t, c.sections...))
		if got.String() != c.want || got.Major() != c.major {
			t.Errorf("StubOf(%q) = %q, %d, want %q, %d", c.sections, got, got.Major(), c.want, c.major)
		}
	}
	for suite, major := range map[string]int{"bookworm": 252, "trixie": 257} {
		f, err := pe.Parse(testkit.ReadFile(t, testkit.Stub(t, "amd64", suite)))
		if err != nil {
			t.Fatal(err)
		}
		if got := StubOf(f); got.Name != StubSystemd || got.Major() != major {
			t.Errorf("StubOf(%s) = %q, want systemd-stub %d", suite, got, major)
		}
	}
}

func FuzzReadThin(f *testing.F) {
	f.Add([]byte(`\EFI\k`), []byte(hashed("k")), []byte("quiet"))
	f.Fuzz(func(t *testing.T, path, hash, cmdline []byte) {
		file := pieces(t, ".linux", string(path), ".linuxh", string(hash), ".cmdline", string(cmdline))
		th, err := ReadThin(file)
		StubOf(file)
		if err == nil && (strings.HasPrefix(th.Kernel.Path, "/") || strings.Contains("/"+th.Kernel.Path+"/", "/../")) {
			t.Errorf("ReadThin() = path %q", th.Kernel.Path)
		}
	})
}
