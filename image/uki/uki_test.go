// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/pe"
)

// build returns an image of sections given as name and contents in turn.
func build(t testing.TB, sections ...string) *pe.File {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0x8664})
	for i := 0; i < len(sections); i += 2 {
		if err := b.Add(pe.NewSection{Name: sections[i], Data: [][]byte{[]byte(sections[i+1])}, Characteristics: pe.SectionRead}); err != nil {
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

// TestTable fixes the order, which decides PCR 11, and the rules that
// everything else is driven by.
func TestTable(t *testing.T) {
	var order, multiple, main, unmeasured, boot []string
	seen := map[string]bool{}
	for _, r := range Rules() {
		order = append(order, r.Name)
		if len(r.Name) > 8 || r.Name[0] != '.' || seen[r.Name] || r.Description == "" || r.Use == "" {
			t.Errorf("rule %+v", r)
		}
		seen[r.Name] = true
		if r.Multiple {
			multiple = append(multiple, r.Name)
		}
		if r.AddonMain {
			main = append(main, r.Name)
			if !r.Addon || r.AddonPCR != PCRKernelConfig {
				t.Errorf("addon rule %+v", r)
			}
		}
		if r.PCR != PCRKernelBoot {
			unmeasured = append(unmeasured, r.Name)
		}
		if r.Use == UseBoot {
			boot = append(boot, r.Name)
		}
		if r.Required != (r.Name == Linux) || r.Profile == (r.Name == ProfileS) || r.Name == Linux && r.Addon {
			t.Errorf("rule %+v", r)
		}
	}
	for _, tc := range []struct {
		name      string
		got, want []string
	}{
		{"order", order, []string{".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrsig", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"}},
		{"multiple", multiple, []string{".dtbauto", ".efifw"}},
		{"addon", main, []string{".cmdline", ".initrd", ".ucode", ".dtb", ".dtbauto"}},
		{"unmeasured", unmeasured, []string{".pcrsig"}},
		{"boot", boot, []string{".linux", ".cmdline", ".initrd", ".ucode", ".dtb", ".dtbauto"}},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// contents returns name=data of a selection.
func contents(list []Section) (s []string) {
	for _, sec := range list {
		s = append(s, sec.Rule.Name+"="+string(sec.Data))
	}
	return s
}

func TestProfiles(t *testing.T) {
	img, err := Read(build(t,
		".text", "stub", ".osrel", "ID=os", ".linux", "kernel", ".cmdline", "base", ".dtbauto", "tree1", ".dtbauto", "tree2", ".initrd", "initrd",
		".profile", "ID=regular\nTITLE=\"Regular boot\"\n", ".pcrsig", "{}",
		".profile", "ID=reset\nTITLE='Factory \"reset\"'\n", ".cmdline", "reset", ".dtbauto", "tree3", ".initrd", "",
		".profile", ""))
	if err != nil {
		t.Fatal(err)
	}
	if img.Addon || len(img.Other) != 1 || img.Other[0].Name != ".text" || len(img.Profiles) != 3 {
		t.Errorf("Read() = addon %v, %d other sections, %d profiles", img.Addon, len(img.Other), len(img.Profiles))
	}
	if p := img.Profiles[1]; p.Number != 1 || p.ID != "reset" || p.Title != `Factory "reset"` {
		t.Errorf("profile @1 = %d, %q, %q", p.Number, p.ID, p.Title)
	}
	if p := img.Profiles[2]; p.ID != "" || p.Title != "" || len(p.Sections) != 1 {
		t.Errorf("profile @2 = %+v", p)
	}
	for _, tc := range []struct {
		n    int
		want []string
	}{
		{Base, []string{".linux=kernel", ".osrel=ID=os", ".cmdline=base", ".initrd=initrd", ".dtbauto=tree1", ".dtbauto=tree2"}},
		{0, []string{".linux=kernel", ".osrel=ID=os", ".cmdline=base", ".initrd=initrd", ".pcrsig={}", ".profile=ID=regular\nTITLE=\"Regular boot\"\n", ".dtbauto=tree1", ".dtbauto=tree2"}},
		{1, []string{".linux=kernel", ".osrel=ID=os", ".cmdline=reset", ".initrd=", ".profile=ID=reset\nTITLE='Factory \"reset\"'\n", ".dtbauto=tree3"}},
	} {
		sel, err := img.Select(tc.n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, contents(sel.Sections)); diff != "" || sel.Profile != tc.n {
			t.Errorf("Select(%d) = profile %d (-want +got):\n%s", tc.n, sel.Profile, diff)
		}
	}
	for _, n := range []int{3, -2, 1 << 30} {
		if _, err := img.Select(n); !errors.Is(err, ErrProfile) {
			t.Errorf("Select(%d) = %v, want %v", n, err, ErrProfile)
		}
	}
	if n, err := img.ProfileByID("reset"); n != 1 || err != nil {
		t.Errorf("ProfileByID(reset) = %d, %v, want 1", n, err)
	}
	for _, id := range []string{"", "none"} {
		if _, err := img.ProfileByID(id); !errors.Is(err, ErrProfile) {
			t.Errorf("ProfileByID(%q) = %v, want %v", id, err, ErrProfile)
		}
	}
	sel, _ := img.Select(1)
	if got := contents(sel.All(DTBAuto)); len(got) != 1 {
		t.Errorf("All(.dtbauto) = %v", got)
	}
	if line, ok, err := sel.Cmdline(); line != "reset" || !ok || err != nil {
		t.Errorf("Cmdline() = %q, %v, %v", line, ok, err)
	}

	plain, err := Read(build(t, ".linux", "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	if sel, err := plain.Select(0); err != nil || sel.Profile != Base {
		t.Errorf("Select(0) without profiles = %+v, %v, want the base", sel, err)
	}
	if _, err := plain.Select(1); !errors.Is(err, ErrProfile) {
		t.Errorf("Select(1) without profiles = %v, want %v", err, ErrProfile)
	}
	sel, _ = plain.Select(Base)
	if line, ok, err := sel.Cmdline(); line != "" || ok || err != nil {
		t.Errorf("Cmdline() without .cmdline = %q, %v, %v", line, ok, err)
	}
}

func TestReadRefuses(t *testing.T) {
	var many []string
	for i := range MaxProfiles + 1 {
		many = append(many, ProfileS, fmt.Sprintf("ID=p%d", i))
	}
	for _, tc := range []struct {
		name     string
		sections []string
		want     error
	}{
		{"no UKI", []string{".text", "x", ".sbat", "x", ".osrel", "x"}, ErrNotUKI},
		{"two kernels", []string{".linux", "a", ".linux", "b"}, ErrDuplicate},
		{"two command lines", []string{".linux", "a", ".cmdline", "b", ".cmdline", "b"}, ErrDuplicate},
		{"two .sbat", []string{".sbat", "x", ".linux", "a", ".sbat", "y"}, ErrDuplicate},
		{"twice in a profile", []string{".linux", "a", ".profile", "", ".cmdline", "b", ".cmdline", "c"}, ErrDuplicate},
		{"257 profiles", append([]string{".linux", "a"}, many...), ErrProfile},
	} {
		if img, err := Read(build(t, tc.sections...)); !errors.Is(err, tc.want) {
			t.Errorf("%s: Read() = %v, %v, want %v", tc.name, img, err, tc.want)
		}
	}
	if img, err := Read(build(t, append([]string{".linux", "a"}, many[:2*MaxProfiles]...)...)); err != nil || len(img.Profiles) != MaxProfiles {
		t.Errorf("Read(256 profiles) = %v", err)
	}
}

func TestAddon(t *testing.T) {
	f := build(t, ".text", "code", ".sbat", "sbat", ".cmdline", "debug\n", ".uname", "6.12.1\n")
	img, err := Read(f)
	if err != nil || !img.Addon || !IsAddon(f) || IsUKI(f) {
		t.Fatalf("Read(addon) = %+v, %v", img, err)
	}
	if f := build(t, ".text", "code"); IsAddon(f) || IsUKI(f) {
		t.Error("a program without sections of the table passes for an addon")
	}
	if f := build(t, ".linux", "k", ".cmdline", "x"); IsAddon(f) || !IsUKI(f) {
		t.Error("a UKI passes for an addon")
	}
}

func TestCmdlineText(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"quiet", "quiet"},
		{"quiet\n", "quiet"},
		{" \t quiet  root=/dev/vda \r\n\x00padding", "quiet  root=/dev/vda"},
		{"a\nb\tc\x01d", "a b c d"},
		{"", ""},
		{"\x00", ""},
		{"name=Grüße", "name=Grüße"},
	} {
		if got, err := CmdlineText([]byte(tc.in)); got != tc.want || err != nil {
			t.Errorf("CmdlineText(%q) = %q, %v, want %q", tc.in, got, err, tc.want)
		}
	}
	if got, err := CmdlineText([]byte("a\xffb")); !errors.Is(err, ErrText) {
		t.Errorf("CmdlineText(not UTF-8) = %q, %v, want %v", got, err, ErrText)
	}
	if got := Text([]byte("6.12.1\n\x00\x00")); got != "6.12.1" {
		t.Errorf("Text() = %q", got)
	}
}

func TestSelector(t *testing.T) {
	for _, tc := range []struct {
		in   string
		n    int
		rest string
		ok   bool
	}{
		{"quiet", 0, "quiet", true},
		{"", 0, "", true},
		{"@3 quiet", 3, "quiet", true},
		{"@3", 3, "", true},
		{"@255 a b", 255, "a b", true},
		{"@256 a", 0, "", false},
		{"@", 0, "", false},
		{"@ 1", 0, "", false},
		{"@1quiet", 0, "", false},
		{"@-1 a", 0, "", false},
		{"@99999999999999999999 a", 0, "", false},
	} {
		n, rest, err := Selector(tc.in)
		if n != tc.n || rest != tc.rest || (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrSelector) {
			t.Errorf("Selector(%q) = %d, %q, %v, want %d, %q, ok %v", tc.in, n, rest, err, tc.n, tc.rest, tc.ok)
		}
	}
}

func TestField(t *testing.T) {
	text := []byte("A=1\n# B=2\n B = x\nC=\"two \\\"words\\\"\"\nD='a\\b'\nA=3\nE=\"\nF\n")
	for key, want := range map[string]string{"A": "3", "C": `two "words"`, "D": `a\b`, "E": `"`} {
		if got, ok := Field(text, key); got != want || !ok {
			t.Errorf("Field(%s) = %q, %v, want %q", key, got, ok, want)
		}
	}
	for _, key := range []string{"B", "F", "Z", ""} {
		if got, ok := Field(text, key); ok {
			t.Errorf("Field(%q) = %q, want none", key, got)
		}
	}
}

// hwids returns a section with a device tree, a firmware and an unknown
// entry.
func hwids() []byte {
	b := make([]byte, 3*28+8)
	le := binary.LittleEndian
	chid := [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	for i, kind := range []uint32{1, 7, 2} {
		e := b[i*28:]
		le.PutUint32(e, kind<<28|28)
		copy(e[4:], chid[:])
	}
	names := len(b)
	b = append(b, "Vendor Laptop\x00vendor,laptop\x00"...)
	le.PutUint32(b[20:], uint32(names))
	le.PutUint32(b[24:], uint32(names+14))
	le.PutUint32(b[2*28+24:], uint32(names+14))
	return b
}

func TestHWIDs(t *testing.T) {
	list, err := ParseHWIDs(hwids())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Type != HWIDDeviceTree || list[0].Name != "Vendor Laptop" || list[0].Compatible != "vendor,laptop" ||
		list[1].Type != HWIDFirmware || list[1].Name != "" || list[1].Compatible != "vendor,laptop" {
		t.Errorf("ParseHWIDs() = %+v", list)
	}
	if got, want := list[0].String(), "00112233-4455-6677-8899-aabbccddeeff"; got != want {
		t.Errorf("String() = %s, want %s", got, want)
	}
	put := func(off int, v uint32) []byte {
		b := hwids()
		binary.LittleEndian.PutUint32(b[off:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"empty":               nil,
		"no end":              hwids()[:84],
		"cut in an entry":     hwids()[:60],
		"size 0":              put(0, 1<<28),
		"size beyond the end": put(28, 7<<28|0x0fffffff),
		"wrong size":          put(0, 1<<28|24),
		"string outside":      put(20, 0xffffffff),
		"endless string":      append(put(20, uint32(len(hwids()))), bytes.Repeat([]byte("x"), 300)...),
	} {
		if list, err := ParseHWIDs(b); !errors.Is(err, ErrHWIDs) {
			t.Errorf("%s: ParseHWIDs() = %v, %v, want %v", name, list, err, ErrHWIDs)
		}
	}
}

// FuzzRead feeds the reader with section names and contents; what it accepts
// must have one kernel and unambiguous sections in every selection.
func FuzzRead(f *testing.F) {
	f.Add([]byte(".linux\x00\x00kernel"), []byte(".profileID=a"), []byte(".cmdline@1 x"))
	f.Add([]byte(".dtbauto1"), []byte(".dtbauto2"), hwids())
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		var parts []string
		for _, p := range [][]byte{a, b, c, a, c} {
			n := min(len(p), 8)
			if n > 0 {
				parts = append(parts, string(p[:n]), string(p[n:]))
			}
		}
		img, err := Read(build(t, parts...))
		ParseHWIDs(c)
		Field(b, "ID")
		Selector(string(c))
		if err != nil {
			return
		}
		for n := Base; n < len(img.Profiles); n++ {
			sel, err := img.Select(n)
			if err != nil {
				t.Fatal(err)
			}
			sel.Cmdline()
			seen := map[string]bool{}
			for _, s := range sel.Sections {
				if seen[s.Rule.Name] && !s.Rule.Multiple {
					t.Errorf("Select(%d) has %s twice", n, s.Rule.Name)
				}
				seen[s.Rule.Name] = true
			}
		}
	})
}
