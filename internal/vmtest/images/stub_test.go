// SPDX-License-Identifier: Apache-2.0

package images

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

const x86 = image.ArchX86_64

// volume is what the tests put on an EFI system partition: paths of files by names below its root.
type volume map[string]string

// disk makes a FAT image of the volume.
func (v volume) disk(t *testing.T) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "esp.img")
	size := int64(40 << 20)
	for _, f := range v {
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += fi.Size() + 1<<20
	}
	if err := os.WriteFile(img, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, size&^(1<<20-1)); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "", "mformat", "-i", img, "-F", "::")
	made := map[string]bool{".": true}
	var dir func(d string)
	dir = func(d string) {
		if made[d] {
			return
		}
		made[d] = true
		dir(path.Dir(d))
		testkit.Run(t, "", "mmd", "-i", img, "::/"+d)
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		dir(path.Dir(name))
		testkit.Run(t, "", "mcopy", "-i", img, v[name], "::/"+name)
	}
	return img
}

// files are those of an initramfs that has the volume as a directory.
func (v volume) files(t *testing.T, below string) []testkit.File {
	t.Helper()
	var list []testkit.File
	for _, name := range slices.Sorted(maps.Keys(v)) {
		list = append(list, testkit.Plain(below+"/"+name, testkit.ReadFile(t, v[name])))
	}
	return list
}

// addon makes and signs an addon with ukify.
func addon(t *testing.T, key *testkit.Key, cmdline string, initrd []byte) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.addon.efi")
	testkit.Run(t, "", "ukify", "build", "--efi-arch=x64", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--cmdline="+cmdline,
		"--initrd="+testkit.WriteFile(t, "initrd", initrd), "--output="+out)
	return testkit.Sign(t, key, out)
}

// archive is an uncompressed initial RAM disk: a file of its own, and one that all have.
func archive(t *testing.T, name string) []byte {
	t.Helper()
	return testkit.Initramfs(t, testkit.Plain("from/"+name, []byte(name)), testkit.Plain("from/last", []byte(name+"\n")))
}

// TestLikeItsStub: a UKI with two profiles, two addons of its own and one for all images, credentials and extensions, on
// a machine whose host has a word for the command line, boots by peel exactly as by its own stub under UEFI: the same command
// line and the same files in the initial RAM disk.
func TestLikeItsStub(t *testing.T) {
	key := testkit.NewKey(t, "peel test")
	look := guest.Script{Name: "booted", Steps: []guest.Step{
		{Name: "extra", Argv: []string{"@ls", "/.extra"}},
		{Name: "os-release", Argv: []string{"@cat", "/.extra/os-release"}},
		{Name: "profile", Argv: []string{"@cat", "/.extra/profile"}},
		{Name: "credential", Argv: []string{"@cat", "/.extra/credentials/a.cred"}},
		{Name: "from", Argv: []string{"@ls", "/from"}},
		{Name: "last", Argv: []string{"@cat", "/from/last"}},
	}}
	dir := t.TempDir()
	profile := func(name, text, cmdline string) string {
		out := filepath.Join(dir, name)
		testkit.Run(t, "", "ukify", "build", "--efi-arch=x64", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--profile="+text, "--cmdline="+cmdline, "--output="+out)
		return out
	}
	cmdline := func(word string) string { return vmkit.Cmdline(t, x86, word, `q="a b"`) }
	uki := testkit.UKI(t, testkit.UKIOptions{
		Name: "linux.efi", Initrd: vmkit.Initramfs(t, x86, look), Cmdline: cmdline("base"), Key: key,
		Extra: []string{"--profile=ID=main\nTITLE=Main", "--join-profile=" + profile("p1.efi", "ID=debug\nTITLE=Debug", cmdline("debug"))},
	})
	write := func(text string) string { return testkit.WriteFile(t, "part", []byte(text)) }
	const extra = "EFI/Linux/linux.efi.extra.d/"
	v := volume{
		"EFI/Linux/linux.efi":        uki,
		extra + "b.addon.efi":        addon(t, key, "second \t", archive(t, "b")),
		extra + "a.addon.efi":        addon(t, key, "first", archive(t, "a")),
		"loader/addons/z.addon.efi":  addon(t, key, "global\n", archive(t, "z")),
		extra + "a.cred":             write("secret"),
		extra + "x.sysext.raw":       write("system extension"),
		extra + "y.confext.raw":      write("configuration extension"),
		"loader/credentials/g.cred":  write("global secret"),
		"loader/extensions/g.raw":    write("global extension"),
		extra + "not-an-addon.efi":   write("ignored"),
		"loader/loader.conf":         write("timeout 0\ndefault chosen.conf\n"),
		"loader/entries/chosen.conf": write("title chosen\nefi /EFI/Linux/linux.efi\noptions @1\n"),
		"EFI/BOOT/BOOTX64.EFI":       testkit.SystemdBoot(t, "amd64", "trixie"),
	}

	host := []string{"-smbios", "type=11,value=io.systemd.credential:x=y,value=io.systemd.stub.kernel-cmdline-extra= host word"}

	// By its own stub, started by systemd-boot, started by firmware.
	c := vmkit.Config(t, x86)
	c.MemoryMiB = 1024
	c.Firmware = vmkit.Firmware(t, x86, false)
	c.Disks = []string{v.disk(t)}
	c.Extra = host
	stub := vmkit.Boot(t, c, "booted")

	// By peel, where nothing boots without a signature but what the host says, which cannot have one.
	for _, name := range []string{extra + "a.cred", extra + "x.sysext.raw", extra + "y.confext.raw", "loader/credentials/g.cred", "loader/extensions/g.raw"} {
		sig := filepath.Join(t.TempDir(), "p7s")
		testkit.Run(t, "", "openssl", "cms", "-sign", "-binary", "-in", v[name], "-signer", key.CertPEM, "-inkey", key.KeyPEM, "-outform", "DER", "-out", sig, "-md", "sha256")
		v[name+".p7s"] = sig
	}
	files := append(v.files(t, "esp"), vmkit.Peel(t, x86), testkit.Plain("policy.toml", []byte("[outside]\ncmdline = \"allow\"\n")),
		testkit.Plain("cert.pem", testkit.ReadFile(t, key.CertPEM)))
	c = vmkit.Config(t, x86)
	c.MemoryMiB = 1024
	c.Kernel = testkit.Kernel(t, "amd64", "6.12")
	c.Cmdline = vmkit.Cmdline(t, x86)
	c.Extra = host
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, x86, guest.Script{Name: "first", Steps: []guest.Step{
		{Name: "strict", Argv: []string{"/bin/peel", "load", "--dry-run", "/esp/EFI/Linux/linux.efi", "--profile", "debug", "--cert", "/cert.pem", "--policy", "enforce"}},
		{Name: "load", Argv: []string{"/bin/peel", "load", "/esp/EFI/Linux/linux.efi", "--profile", "debug", "--cert", "/cert.pem", "--policy", "enforce",
			"--policy-file", "/policy.toml"}},
		{Name: "exec", Argv: []string{"/bin/peel", "exec"}},
	}}, files...))
	peel := vmkit.Boot(t, c, "booted")
	// The stub of systemd 257 does not know /loader/extensions.
	if r := peel.Result("load"); r.Status != 0 || r.Stderr != "" {
		t.Errorf("peel load: status %d, %q, want no word of anything left out", r.Status, r.Stderr)
	}

	if r := peel.Result("strict"); r.Status != 0 || !strings.Contains(r.Stderr, "SMBIOS") {
		t.Errorf("peel load --dry-run where command lines need signatures: status %d, %q, want what the host says left out", r.Status, r.Stderr)
	}

	want := cmdline("debug") + " global first second host word"
	for name, run := range map[string]*vmkit.Run{"stub": stub, "peel": peel} {
		if got := run.Boot("booted").Cmdline; got != want {
			t.Errorf("%s: /proc/cmdline = %q, want %q", name, got, want)
		}
		if got := run.Result("last").Stdout; got != "b\n" {
			t.Errorf("%s: the addon that wins is %q, want b", name, got)
		}
	}
	for _, s := range look.Steps {
		r := stub.Result(s.Name)
		if r.Status != 0 || strings.TrimSpace(r.Stdout) == "" {
			t.Errorf("stub: %s: status %d, %q %q, want something to compare with", s.Name, r.Status, r.Stdout, r.Stderr)
		}
		if diff := cmp.Diff(r, peel.Result(s.Name)); diff != "" {
			t.Errorf("%s (-stub +peel):\n%s", s.Name, diff)
		}
	}
}
