// SPDX-License-Identifier: Apache-2.0

package sbat_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/trust/sbat"
)

const section = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n" +
	"grub,3,Free Software Foundation,grub,2.06,https://www.gnu.org/software/grub/\n" +
	"grub.debian,4,Debian,grub2,2.06-3,https://tracker.debian.org/pkg/grub2\n"

func TestParseSection(t *testing.T) {
	got, err := sbat.ParseSection([]byte(section + "\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	want := []sbat.Entry{
		{"sbat", 1, "SBAT Version", "sbat", "1", "https://github.com/rhboot/shim/blob/main/SBAT.md"},
		{"grub", 3, "Free Software Foundation", "grub", "2.06", "https://www.gnu.org/software/grub/"},
		{"grub.debian", 4, "Debian", "grub2", "2.06-3", "https://tracker.debian.org/pkg/grub2"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ParseSection() mismatch (-want +got):\n%s", d)
	}
	for _, c := range []struct{ name, text string }{
		{"empty", ""}, {"only padding", "\x00\x00"}, {"five fields", "sbat,1,a,b,c\n"},
		{"no sbat line", "grub,3,a,b,c,d\n"}, {"generation 0", "sbat,0,a,b,c,d\n"}, {"generation -1", "sbat,-1,a,b,c,d\n"},
		{"generation with sign", "sbat,+1,a,b,c,d\n"}, {"generation with space", "sbat, 1,a,b,c,d\n"},
		{"generation beyond 31 bits", "sbat,2147483648,a,b,c,d\n"}, {"generation 1x", "sbat,1x,a,b,c,d\n"},
		{"no component", "sbat,1,a,b,c,d\n,1,a,b,c,d\n"},
		{"zero byte inside", "sbat,1,a,b,c,d\n\x00grub,1,a,b,c,d\n"},
		{"escape", "sbat,1,a,b,c,\x1b[2J\n"},
		{"too many lines", strings.Repeat("sbat,1,a,b,c,d\n", 600)},
		{"too long", "sbat,1,a,b,c," + strings.Repeat("d", 70000)},
	} {
		if _, err := sbat.ParseSection([]byte(c.text)); !errors.Is(err, sbat.ErrSyntax) {
			t.Errorf("ParseSection(%s) = %v, want ErrSyntax", c.name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	entries, err := sbat.ParseSection([]byte(section))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		level string
		want  error
	}{
		{"", nil},
		{"sbat,1,2024010900\n", nil},
		{"sbat,1,2024010900\nshim,4\ngrub,3\n", nil},
		{"sbat,1,2024010900\nshim,4\ngrub,4\n", sbat.ErrRevoked},
		{"sbat,1,2024010900\ngrub.debian,5\n", sbat.ErrRevoked},
		{"sbat,2,2024010900\n", sbat.ErrRevoked},
	} {
		lv, err := sbat.ParseLevel([]byte(c.level))
		if err != nil {
			t.Fatalf("ParseLevel(%q) = %v", c.level, err)
		}
		if err := lv.Check(entries); !errors.Is(err, c.want) {
			t.Errorf("Check(%q) = %v, want %v", c.level, err, c.want)
		}
	}
	// An image that names a component twice is held to both.
	twice := append(entries, sbat.Entry{Component: "grub", Generation: 9})
	lv := sbat.Level{Minimums: []sbat.Minimum{{"grub", 5}}}
	if err := lv.Check(twice); !errors.Is(err, sbat.ErrRevoked) {
		t.Errorf("Check(component twice) = %v, want ErrRevoked", err)
	}
}

func TestParseLevel(t *testing.T) {
	lv, err := sbat.ParseLevel([]byte("sbat,1,2024010900\nshim,4\n\x00"))
	want := sbat.Level{Date: "2024010900", Minimums: []sbat.Minimum{{"sbat", 1}, {"shim", 4}}}
	if err != nil || !cmp.Equal(lv, want) {
		t.Errorf("ParseLevel() = %+v, %v, want %+v", lv, err, want)
	}
	for _, text := range []string{"sbat\n", ",1\n", "sbat,x\n"} {
		if _, err := sbat.ParseLevel([]byte(text)); !errors.Is(err, sbat.ErrSyntax) {
			t.Errorf("ParseLevel(%q) = %v, want ErrSyntax", text, err)
		}
	}
}

func TestMerge(t *testing.T) {
	a := sbat.Level{Date: "2023", Minimums: []sbat.Minimum{{"sbat", 1}, {"shim", 4}, {"grub", 2}}}
	b := sbat.Level{Date: "2024", Minimums: []sbat.Minimum{{"grub", 3}, {"shim", 2}, {"systemd", 1}}}
	want := sbat.Level{Date: "2024", Minimums: []sbat.Minimum{{"sbat", 1}, {"shim", 4}, {"grub", 3}, {"systemd", 1}}}
	if got := a.Merge(b); !cmp.Equal(got, want) {
		t.Errorf("Merge() = %+v, want %+v", got, want)
	}
	if a.Minimums[2].Generation != 2 {
		t.Error("Merge() changed its receiver")
	}
}

func FuzzSBAT(f *testing.F) {
	f.Add([]byte(section), []byte("sbat,1,2024010900\nshim,4\ngrub,3\n"))
	f.Add([]byte("sbat,1,a,b,c,d"), []byte(""))
	f.Fuzz(func(t *testing.T, s, l []byte) {
		entries, err := sbat.ParseSection(s)
		if err != nil {
			return
		}
		lv, err := sbat.ParseLevel(l)
		if err != nil {
			return
		}
		if err := lv.Check(entries); err == nil {
			for _, e := range entries {
				for _, m := range lv.Minimums {
					if e.Component == m.Component && e.Generation < m.Generation {
						t.Errorf("Check() = nil with %v below %v", e, m)
					}
				}
			}
		}
	})
}
