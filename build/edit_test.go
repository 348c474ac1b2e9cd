// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
)

// names returns the names of the sections that the table or the test knows.
func names(t testing.TB, path string) (out []string) {
	t.Helper()
	for _, s := range parsePE(t, path).Sections {
		if _, ok := uki.RuleFor(s.Name); ok || s.Name == ".custom" {
			out = append(out, s.Name)
		}
	}
	return out
}

func find(t testing.TB, path, name string) string {
	t.Helper()
	f := parsePE(t, path)
	s, ok := f.Find(name)
	if !ok {
		t.Fatalf("%s has no section %s", path, name)
	}
	return string(f.Data(s))
}

// spec is a UKI with most kinds of section.
func spec(t testing.TB) *UKI {
	t.Helper()
	return &UKI{
		Stub: File(testkit.Stub(t, "amd64", "trixie")), Linux: File(testkit.Kernel(t, "amd64", "6.12")),
		Initrds: []Content{Text("initrd contents")}, Cmdline: Text("quiet"), OSRelease: Text("ID=x\n"), Uname: Text("1.2.3"),
		DTBAuto: []Content{Text("tree a"), Text("tree b")}, Splash: Text("BM"), PCRPKey: Text("key"),
	}
}

// Sections are replaced, added and dropped; the rest stays, and editing back
// gives the first image again.
func TestEdit(t *testing.T) {
	k := testkit.NewKey(t, "db")
	sig := Signature{Key: sign.Key{Signer: k.Signer, Certificate: k.Cert}}
	plain := write(t, spec(t))
	signed := write(t, spec(t), sig)
	for _, c := range []struct {
		name  string
		edit  Edit
		names []string
		check map[string]string
	}{
		{"replace", Edit{Set: []NamedContent{{".cmdline", Text("other line")}}},
			[]string{".sbat", ".osrel", ".cmdline", ".dtbauto", ".dtbauto", ".uname", ".splash", ".pcrpkey", ".linux", ".initrd"},
			map[string]string{".cmdline": "other line", ".initrd": "initrd contents"}},
		{"grow by pages", Edit{Set: []NamedContent{{".cmdline", Bytes(bytes.Repeat([]byte("x"), 10000))}}},
			[]string{".sbat", ".osrel", ".cmdline", ".dtbauto", ".dtbauto", ".uname", ".splash", ".pcrpkey", ".linux", ".initrd"},
			map[string]string{".cmdline": string(bytes.Repeat([]byte("x"), 10000)), ".uname": "1.2.3"}},
		{"add and drop", Edit{Set: []NamedContent{{".custom", Text("c")}, {".pcrsig", Text("{}")}}, Drop: []string{".dtbauto", ".splash"}},
			[]string{".sbat", ".osrel", ".cmdline", ".uname", ".pcrpkey", ".linux", ".initrd", ".custom", ".pcrsig"},
			map[string]string{".custom": "c", ".pcrsig": "{}"}},
		{"several", Edit{Set: []NamedContent{{".dtbauto", Text("one")}, {".dtbauto", Text("two")}, {".dtbauto", Text("three")}}},
			[]string{".sbat", ".osrel", ".cmdline", ".dtbauto", ".dtbauto", ".dtbauto", ".uname", ".splash", ".pcrpkey", ".linux", ".initrd"},
			map[string]string{".dtbauto": "one"}},
		{"sbat", Edit{Set: []NamedContent{{".sbat", Text("sbat,1,SBAT Version,sbat,1,https://x\nme,2,Me,me,1,https://y\n")}}},
			[]string{".sbat", ".osrel", ".cmdline", ".dtbauto", ".dtbauto", ".uname", ".splash", ".pcrpkey", ".linux", ".initrd"},
			map[string]string{".sbat": "sbat,1,SBAT Version,sbat,1,https://x\nme,2,Me,me,1,https://y\n"}},
		{"no sbat", Edit{Drop: []string{".sbat"}},
			[]string{".osrel", ".cmdline", ".dtbauto", ".dtbauto", ".uname", ".splash", ".pcrpkey", ".linux", ".initrd"}, nil},
	} {
		c.edit.Profile = uki.Base
		var both [][]byte
		for _, from := range []string{plain, signed} {
			c.edit.Image = File(from)
			p := write(t, &c.edit)
			if diff := cmp.Diff(c.names, names(t, p)); diff != "" {
				t.Errorf("%s: sections (-want +got):\n%s", c.name, diff)
			}
			for n, want := range c.check {
				if got := find(t, p, n); got != want {
					t.Errorf("%s: %s = %q, want %q", c.name, n, got, want)
				}
			}
			both = append(both, testkit.ReadFile(t, p))
		}
		if !bytes.Equal(both[0], both[1]) {
			t.Errorf("%s: a signed image gave another result", c.name)
		}
	}
	there := write(t, &Edit{Image: File(signed), Profile: uki.Base, Set: []NamedContent{{".cmdline", Bytes(bytes.Repeat([]byte("y"), 5000))}}})
	back := write(t, &Edit{Image: File(there), Profile: uki.Base, Set: []NamedContent{{".cmdline", Text("quiet")}}})
	if !bytes.Equal(testkit.ReadFile(t, back), testkit.ReadFile(t, plain)) {
		t.Error("editing there and back gave another image")
	}
	again := write(t, &Edit{Image: File(plain), Profile: uki.Base, Set: []NamedContent{{".cmdline", Text("quiet")}}}, sig)
	if !bytes.Equal(testkit.ReadFile(t, again), testkit.ReadFile(t, signed)) {
		t.Error("signing the edited image gave another one than building and signing")
	}
}

// Profiles are edited apart from the base.
func TestEditProfile(t *testing.T) {
	addon := File(testkit.AddonStub(t, "amd64", "trixie"))
	u := spec(t)
	for _, id := range []string{"one", "two"} {
		u.JoinProfiles = append(u.JoinProfiles, File(write(t, &UKI{Stub: addon, Profile: Text("ID=" + id), Cmdline: Text(id)})))
	}
	p := write(t, u)
	for _, c := range []struct {
		profile int
		want    []string // command lines of base, 0, 1, 2
	}{
		{uki.Base, []string{"new", "new", "one", "two"}}, {0, []string{"quiet", "new", "one", "two"}},
		{1, []string{"quiet", "quiet", "new", "two"}}, {2, []string{"quiet", "quiet", "one", "new"}},
	} {
		f := parsePE(t, write(t, &Edit{Image: File(p), Profile: c.profile, Set: []NamedContent{{".cmdline", Text("new")}}}))
		img, err := uki.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for n := uki.Base; n < 3; n++ {
			sel, err := img.Select(n)
			if err != nil {
				t.Fatal(err)
			}
			line, _, err := sel.Cmdline()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("profile %d (-want +got):\n%s", c.profile, diff)
		}
	}
	if _, err := (&Edit{Image: File(p), Profile: 3, Drop: []string{".cmdline"}}).Build(context.Background()); !errors.Is(err, uki.ErrProfile) {
		t.Errorf("Build(profile 3) = %v, want %v", err, uki.ErrProfile)
	}
}

func TestEditErrors(t *testing.T) {
	p := write(t, spec(t))
	for _, c := range []struct {
		name string
		edit Edit
		want error
	}{
		{"none", Edit{}, ErrMissing},
		{"no image", Edit{Image: Text("This is no image.")}, pe.ErrNotPE},
		{"no UKI", Edit{Image: File(testkit.Stub(t, "amd64", "trixie"))}, uki.ErrNotUKI},
		{"drop code", Edit{Image: File(p), Drop: []string{".text"}}, ErrProtected},
		{"set code", Edit{Image: File(p), Set: []NamedContent{{".sdmagic", Text("x")}}}, ErrProtected},
		{"drop what is not there", Edit{Image: File(p), Drop: []string{".ucode"}}, ErrNoSection},
		{"drop the kernel", Edit{Image: File(p), Drop: []string{".linux", ".cmdline", ".initrd", ".dtbauto"}}, ErrLint},
		{"set .profile", Edit{Image: File(p), Set: []NamedContent{{".profile", Text("x")}}}, ErrProtected},
		{"twice", Edit{Image: File(p), Set: []NamedContent{{".cmdline", Text("x")}, {".cmdline", Text("y")}}}, ErrDuplicate},
		{"empty", Edit{Image: File(p), Set: []NamedContent{{".cmdline", Text("")}}}, ErrPart},
		{"long name", Edit{Image: File(p), Set: []NamedContent{{".cmdlines", Text("x")}}}, ErrName},
		{"missing file", Edit{Image: File(p), Set: []NamedContent{{".cmdline", File("/nonexistent")}}}, os.ErrNotExist},
	} {
		dir := t.TempDir()
		c.edit.Profile = uki.Base
		if err := tryWrite(t, &c.edit, filepath.Join(dir, "out")); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		leftovers(t, dir)
	}
}
