// SPDX-License-Identifier: Apache-2.0

package beside

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/cpio"
	"github.com/peelboot/peel/internal/testkit"
)

// volume makes files below a directory and returns it.
func volume(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, n := range names {
		path := filepath.Join(root, n)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n, "/") {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	const extra = "EFI/Linux/x.efi.extra.d/"
	root := volume(t, "EFI/Linux/x+3-1.efi",
		"loader/addons/b.addon.efi", "loader/addons/a.ADDON.EFI", "loader/addons/a.efi", "loader/addons/.hidden.addon.efi",
		"loader/addons/d.addon.efi/", "loader/addons/ü.addon.efi",
		extra+"z.addon.efi", extra+"B.addon.efi", extra+"a.addon.efi",
		extra+"2.cred", extra+"10.cred", "loader/credentials/g.cred", "loader/credentials/g.txt",
		extra+"s.sysext.raw", extra+"plain.raw", extra+"c.confext.raw", "loader/extensions/g.sysext.raw", "loader/extensions/g.confext.raw")
	img := filepath.Join(root, "EFI/Linux/x+3-1.efi")
	if got := RootOf(img); got != root {
		t.Errorf("RootOf(%s) = %q, want %q", img, got, root)
	}
	show := func(f *Found) []string {
		var out []string
		rel := func(path string) string { r, _ := filepath.Rel(root, path); return r }
		for _, p := range f.Addons {
			out = append(out, rel(p))
		}
		for _, g := range f.Groups {
			for _, p := range g.Paths {
				out = append(out, fmt.Sprintf("%s %#o %#o PCR %d %s", g.Archive.Target, g.Archive.Dir, g.Archive.File, g.PCR, rel(p)))
			}
		}
		return out
	}
	own := []string{extra + "B.addon.efi", extra + "a.addon.efi", extra + "z.addon.efi"}
	want := append([]string{"loader/addons/a.ADDON.EFI", "loader/addons/b.addon.efi"}, own...)
	want = append(want,
		".extra/credentials 0500 0400 PCR 12 "+extra+"10.cred",
		".extra/credentials 0500 0400 PCR 12 "+extra+"2.cred",
		".extra/global_credentials 0500 0400 PCR 12 loader/credentials/g.cred",
		".extra/sysext 0555 0444 PCR 13 "+extra+"plain.raw",
		".extra/sysext 0555 0444 PCR 13 "+extra+"s.sysext.raw",
		".extra/global_sysext 0555 0444 PCR 13 loader/extensions/g.sysext.raw",
		".extra/confext 0555 0444 PCR 12 "+extra+"c.confext.raw",
		".extra/global_confext 0555 0444 PCR 12 loader/extensions/g.confext.raw")
	f, err := Find(img, root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, show(f)); diff != "" {
		t.Errorf("Find (-want +got):\n%s", diff)
	}
	if f, err = Find(img, ""); err != nil {
		t.Fatal(err)
	}
	own = append(own,
		".extra/credentials 0500 0400 PCR 12 "+extra+"10.cred",
		".extra/credentials 0500 0400 PCR 12 "+extra+"2.cred",
		".extra/sysext 0555 0444 PCR 13 "+extra+"plain.raw",
		".extra/sysext 0555 0444 PCR 13 "+extra+"s.sysext.raw",
		".extra/confext 0555 0444 PCR 12 "+extra+"c.confext.raw")
	if diff := cmp.Diff(own, show(f)); diff != "" {
		t.Errorf("Find without a root (-want +got):\n%s", diff)
	}
	if f, err = Find(filepath.Join(root, "nothing.efi"), filepath.Join(root, "nowhere")); err != nil || len(show(f)) != 0 {
		t.Errorf("Find beside nothing = %v, %v, want nothing", show(f), err)
	}
}

// What the stubs of systemd's releases take is read out of themselves.
func TestStubOf(t *testing.T) {
	for suite, want := range map[string]string{
		"bookworm": "files .cred .raw " + globalCredentials,
		"trixie":   "addons files smbios .cred .raw .confext.raw os-release profile " + globalAddons + " " + globalCredentials,
		"forky":    "addons files smbios .cred .raw .confext.raw os-release profile " + globalAddons + " " + globalCredentials + " " + globalExtensions,
	} {
		path := testkit.UKI(t, testkit.UKIOptions{Stub: testkit.Stub(t, "amd64", suite), Cmdline: "x", Objcopy: true})
		s := StubOf(image.Detect(testkit.ReadFile(t, path)))
		var got []string
		if s.Addons {
			got = append(got, "addons")
		}
		if s.Files {
			got = append(got, "files")
		}
		if s.SMBIOS {
			got = append(got, "smbios")
		}
		for _, name := range []string{".cred", ".raw", confext, "os-release", "profile", globalAddons, globalCredentials, globalExtensions} {
			if s.names(name) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("StubOf(%s) takes %q, want %q", suite, got, want)
		}
	}
	kernel := image.Detect(testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12")))
	if s := StubOf(kernel); s.Addons || s.Files || s.SMBIOS || s.names(".cred") {
		t.Errorf("StubOf(kernel) = %+v, want nothing", s)
	}
}

func TestExtraDir(t *testing.T) {
	for name, want := range map[string]string{
		"a/x.efi": "a/x.efi.extra.d", "x+3.efi": "x.efi.extra.d", "x+3-2.efi": "x.efi.extra.d", "x+3": "x.extra.d",
		"x+.efi": "x+.efi.extra.d", "x+3-.efi": "x+3-.efi.extra.d", "x+3a.efi": "x+3a.efi.extra.d", "6.1+deb.efi": "6.1+deb.efi.extra.d",
		"x++3.efi": "x++3.efi.extra.d",
	} {
		if got := ExtraDir(name); got != want {
			t.Errorf("ExtraDir(%s) = %s, want %s", name, got, want)
		}
	}
}

// The archive is read back by the package's own reader and by cpio(1).
func TestPack(t *testing.T) {
	b, err := Archive{".extra/credentials", 0o500, 0o400}.Pack(Member{"a.cred", []byte("secret")}, Member{"b.cred", nil})
	if err != nil {
		t.Fatal(err)
	}
	if len(b)%4 != 0 || !bytes.HasSuffix(b, []byte(trailer)) {
		t.Errorf("Pack() = %d bytes, want a multiple of four with the stub's trailer", len(b))
	}
	var got []string
	for r := cpio.NewReader(b); ; {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s %#o %d %d %q", e.Inode, e.Name, e.Mode, e.NLink, e.MTime, e.Data))
	}
	want := []string{
		`1 .extra 040555 1 0 ""`,
		`2 .extra/credentials 040500 1 0 ""`,
		`3 .extra/credentials/a.cred 0100400 1 0 "secret"`,
		`4 .extra/credentials/b.cred 0100400 1 0 ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Pack (-want +got):\n%s", diff)
	}
	path := testkit.WriteFile(t, "a.cpio", b)
	list := testkit.Run(t, filepath.Dir(path), "cpio", "-it", "--quiet", "-F", path)
	if want := ".extra\n.extra/credentials\n.extra/credentials/a.cred\n.extra/credentials/b.cred\n"; string(list) != want {
		t.Errorf("cpio -it = %q, want %q", list, want)
	}
	for _, name := range []string{"", "a/b", "..", "x\x00y"} {
		if _, err := Meta().Pack(Member{name, nil}); !errors.Is(err, ErrPack) {
			t.Errorf("Pack of %q: %v, want ErrPack", name, err)
		}
	}
}

func FuzzExtraDir(f *testing.F) {
	f.Add("x+3-1.efi")
	f.Fuzz(func(t *testing.T, name string) {
		if got := ExtraDir(name); !strings.HasSuffix(got, ".extra.d") {
			t.Errorf("ExtraDir(%q) = %q", name, got)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	data := make([]byte, 16<<20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Meta().Pack(Member{"x.raw", data}); err != nil {
			b.Fatal(err)
		}
	}
}
