// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// made makes a PE image of name, contents, name, contents …
func made(t testing.TB, s ...string) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0xaa64})
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
	return out.Bytes()
}

func compare(a, b []byte) *Diff {
	return Compare(Describe("a", a, Options{}), Describe("b", b, Options{}))
}

// summary is a Diff in short.
func summary(d *Diff) []string {
	var out []string
	for _, c := range d.Changes {
		s := c.Change + " " + c.What + " " + c.Path
		for _, f := range c.Facts {
			s += fmt.Sprintf(" %s:%s>%s", f.Name, f.A, f.B)
		}
		out = append(out, strings.TrimSpace(s+" "+strings.Join(c.Lines, " ")))
	}
	return out
}

func TestCompare(t *testing.T) {
	kernel := func(version string) string {
		k := make([]byte, 64, 256)
		copy(k[56:], "ARM\x64")
		k[17] = 1 // 256 bytes in memory
		k = append(k, "Linux version "+version+" (x) #1\n\x00"...)
		return string(append(k, make([]byte, 256-len(k))...))
	}
	base := []string{".osrel", "ID=x\nVERSION_ID=1\n", ".cmdline", "quiet root=a ro", ".initrd", "initrd", ".linux", kernel("6.1.0")}
	profile := append(slices.Clone(base), ".profile", "ID=p", ".cmdline", "p")
	with := func(s []string, at int, v string) []string {
		s = slices.Clone(s)
		s[at] = v
		return s
	}
	for _, c := range []struct {
		name string
		a, b []byte
		want []string
	}{
		{"equal", made(t, base...), made(t, base...), nil},
		{"command line", made(t, base...), made(t, with(base, 3, "quiet root=b ro debug")...), []string{
			"changed section .cmdline -root=a +root=b +debug"}},
		{"lines", made(t, base...), made(t, with(base, 1, "ID=x\nNAME=y\nVERSION_ID=1\n")...), []string{"changed section .osrel +NAME=y"}},
		{"kernel", made(t, base...), made(t, with(base, 7, kernel("6.2.0"))...), []string{
			"changed section .linux",
			"changed layer .linux kernel.version:Linux version 6.1.0 (x) #1>Linux version 6.2.0 (x) #1 kernel.release:6.1.0>6.2.0"}},
		{"profile added", made(t, base...), made(t, profile...), []string{"added section @0/.profile +ID=p", "added section @0/.cmdline +p"}},
		{"profile removed", made(t, profile...), made(t, base...), []string{"removed section @0/.profile -ID=p", "removed section @0/.cmdline -p"}},
		{"in a profile", made(t, profile...), made(t, with(profile, 11, "q")...), []string{"changed section @0/.cmdline -p +q"}},
		{"initrd", made(t, base...), made(t, with(base, 5, "other")...), []string{"changed section .initrd"}},
		{"gone", made(t, base...), made(t, base[2:]...), []string{"removed section .osrel -ID=x -VERSION_ID=1"}},
		{"kind", made(t, base...), []byte(kernel("6.1.0")), []string{
			"changed layer . kind:uki>image kernel.version:>Linux version 6.1.0 (x) #1 kernel.release:>6.1.0 kernel.protocol:>image kernel.memory_size:0>256" +
				" pe.machine:0xaa64> pe.pe32_plus:true>false pe.subsystem:10>0",
			"removed section .osrel -ID=x -VERSION_ID=1", "removed section .cmdline -quiet -root=a -ro", "removed section .initrd", "removed section .linux"}},
		{"data", []byte("some data"), []byte("other data"), []string{"changed rest ."}},
	} {
		d := compare(c.a, c.b)
		if diff := cmp.Diff(c.want, summary(d)); diff != "" {
			t.Errorf("%s: Compare (-want +got):\n%s", c.name, diff)
		}
		if want := len(c.want) == 0; d.Equal != want {
			t.Errorf("%s: Equal = %v, want %v", c.name, d.Equal, want)
		}
		var out bytes.Buffer
		if err := d.WriteText(&out); err != nil || (out.Len() == 0) != d.Equal {
			t.Errorf("%s: WriteText = %v, %q", c.name, err, out.String())
		}
	}
}

// Real images: signing changes nothing but the signature, and a rebuilt zboot
// kernel differs in its payload.
func TestCompareReal(t *testing.T) {
	key := testkit.NewKey(t, "site")
	path := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet"})
	plain, signed := testkit.ReadFile(t, path), testkit.ReadFile(t, testkit.Sign(t, key, path))
	got := summary(compare(plain, signed))
	if len(got) != 1 || !strings.HasPrefix(got[0], "added signature . signature:>authenticode sha256 CN=site") {
		t.Errorf("Compare(unsigned, signed) = %q, want one added signature", got)
	}
	z := testkit.ReadFile(t, "../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	old := testkit.ReadFile(t, "../image/zboot/testdata/vmlinuz-arm64-6.1-xz.efi")
	got = summary(compare(old, z))
	if s := strings.Join(got, "\n"); !strings.Contains(s, "changed layer payload method:xz>gzip") || !strings.Contains(s, "zboot.method:xzkern>gzip") {
		t.Errorf("Compare of two zboot images = %q, want method and payload", got)
	}
}

func FuzzTextDiff(f *testing.F) {
	f.Add("a\nb\nc", "a\nx\nc")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 4096 {
			return
		}
		// What is taken away and what is added account for the difference.
		balance := 0
		for _, l := range textDiff(".osrel", a, b) {
			if l[0] == '-' {
				balance--
			} else {
				balance++
			}
		}
		count := func(s string) int {
			if s = strings.TrimRight(s, "\n"); s == "" {
				return 0
			}
			return strings.Count(s, "\n") + 1
		}
		if want := count(b) - count(a); balance != want {
			t.Errorf("textDiff(%q, %q) adds %d lines, want %d", a, b, balance, want)
		}
	})
}
