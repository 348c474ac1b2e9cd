// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/inspect"
	"github.com/peelboot/peel/internal/testkit"
)

// zboot is a real zboot image of arm64.
func zbootImage(t *testing.T) string {
	return filepath.Join(testkit.ModuleDir(t), "image", "zboot", "testdata", "vmlinuz-arm64-6.12-gzip.efi")
}

func TestExtractLayers(t *testing.T) {
	key := testkit.NewKey(t, "site")
	uki := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: zbootImage(t), Initrd: []byte("initrd"), Cmdline: "quiet", Key: key})
	dir := t.TempDir()
	call(t, "extract", uki, "-o", dir, "--layers", "--cert", key.CertPEM).want(t, "extract --layers", 0, "layer.0.uki", "layer.1.zboot", "layer.2.image")
	for name, from := range map[string]string{"layer.0.uki": uki, "layer.1.zboot": zbootImage(t), "layer.2.image": filepath.Join(dir, "kernel")} {
		if got, want := testkit.ReadFile(t, filepath.Join(dir, name)), testkit.ReadFile(t, from); !bytes.Equal(got, want) {
			t.Errorf("%s = %d bytes, want the %d of %s", name, len(got), len(want), from)
		}
	}
}

func TestDiff(t *testing.T) {
	a := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet root=a"})
	b := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet root=b"})
	call(t, "diff", a, a).want(t, "diff of equal files", 0)
	call(t, "diff", a, b).want(t, "diff", 1, "changed  .cmdline", "-root=a", "+root=b")
	o := call(t, "diff", "--json", a, b)
	o.want(t, "diff --json", 1)
	var d inspect.Diff
	if err := json.Unmarshal([]byte(o.stdout), &d); err != nil || d.Schema != inspect.DiffSchema || d.Equal || len(d.Changes) != 1 {
		t.Errorf("diff --json: %v, %+v, want one change", err, d)
	}
	if o.err != "" {
		t.Errorf("diff --json: %q on standard error, want nothing", o.err)
	}
	o = call(t, "diff", a, filepath.Join(t.TempDir(), "none"))
	o.want(t, "diff with no file", 2, "no such file")
}

// A root of a machine with hardware ids, of which an image holds one.
func TestHardware(t *testing.T) {
	root := t.TempDir()
	dmi := filepath.Join(root, "sys/class/dmi/id")
	if err := os.MkdirAll(dmi, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"sys_vendor": "LENOVO", "product_family": "IdeaPad 5 2-in-1 14Q8X9", "product_name": "83GH"} {
		if err := os.WriteFile(filepath.Join(dmi, name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	tree := func(name string) string {
		src := testkit.WriteFile(t, name+".dts", []byte(`/dts-v1/; / { compatible = "`+name+`"; };`))
		out := filepath.Join(dir, name+".dtb")
		testkit.Run(t, dir, "dtc", "-O", "dtb", "-o", out, src)
		return out
	}
	hwids := filepath.Join(dir, "hwids")
	if err := os.Mkdir(hwids, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"vendor,lenovo": "eb458c6d-45b2-5299-95b7-87723235240e", "vendor,other": "b6d4eee8-30f3-564a-8246-e83935cf8dbb"} {
		text := `{"type": "devicetree", "name": "x", "compatible": "` + name + `", "hwids": ["` + id + `"]}`
		if err := os.WriteFile(filepath.Join(hwids, name+".json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	key := testkit.NewKey(t, "site")
	uki := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: zbootImage(t), Cmdline: "quiet", Key: key, Extra: []string{
		"--devicetree-auto=" + tree("vendor,other"), "--devicetree-auto=" + tree("vendor,lenovo"), "--hwids=" + hwids}})
	call(t, "inspect", uki).want(t, "inspect", 0, "for vendor,lenovo", "for vendor,other", "2 hardware ids", "stub          systemd-stub 257")
	// What the tree says shows in the plan: the host has no tree of its own.
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"--root", root}, 0, `"origin": "uki.signed.efi/.dtb"`},
		{[]string{"--root", t.TempDir()}, 0, ""},
		{[]string{"--root", root, "--hwid", "zz"}, exitUsage, "not a hardware id"},
	} {
		o := call(t, append([]string{"load", "--dry-run", "--json", uki, "--cert", key.CertPEM}, c.args...)...)
		o.want(t, "load --dry-run", c.code, c.say)
	}
	for args, want := range map[string]string{"": "vendor,lenovo", "b6d4eee8-30f3-564a-8246-e83935cf8dbb": "vendor,other"} {
		f := loadFlags{}
		if args != "" {
			f.hwids = []string{args}
		}
		if got := chosenTree(t, &f, root, uki, key); got != want {
			t.Errorf("device tree with --hwid %q is for %q, want %q", args, got, want)
		}
	}
}

// chosenTree is the machine that the device tree is for which an image chooses.
func chosenTree(t *testing.T, f *loadFlags, root, path string, key *testkit.Key) string {
	t.Helper()
	a := &app{root: root, err: os.Stderr}
	m, err := a.machine()
	if err != nil {
		t.Fatal(err)
	}
	f.judge.certs = []string{key.CertPEM}
	o, err := f.options(a, m)
	if err != nil {
		t.Fatal(err)
	}
	im, err := peel.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	b, err := im.Prepare(context.Background(), peel.Additions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Payload.DTB == nil {
		return ""
	}
	tree, err := fdt.Parse(b.Payload.DTB.Data)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tree.Root.Text("compatible")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAddonFlags(t *testing.T) {
	key := testkit.NewKey(t, "site")
	uki := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "base", Key: key, Extra: nil})
	addon := filepath.Join(t.TempDir(), "x.addon.efi")
	testkit.Run(t, "", "ukify", "build", "--efi-arch=x64", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--cmdline=added", "--output="+addon)
	signed := testkit.Sign(t, key, addon)
	extra := uki + ".extra.d"
	if err := os.Mkdir(extra, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(extra, "a.addon.efi"), testkit.ReadFile(t, signed), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(extra, "b.addon.efi"), testkit.ReadFile(t, addon), 0o644); err != nil {
		t.Fatal(err)
	}
	dry := func(args ...string) outcome {
		return call(t, append([]string{"load", uki, "--dry-run", "--cert", key.CertPEM}, args...)...)
	}
	dry().want(t, "addons beside", 0, "cmdline   base added\n", "b.addon.efi is left out: ", "not signed")
	dry("--no-beside").want(t, "--no-beside", 0, "cmdline   base\n")
	dry("--no-beside", "--addon", signed, "--addon", signed).want(t, "--addon", 0, "cmdline   base added added\n")
	dry("--addon", addon).want(t, "--addon unsigned", exitRefused, addon, "not signed")
	dry("--profile", "nope").want(t, "--profile nope", exitFailed)
	dry("--json").want(t, "--json", 0, `"left_out"`, `"cmdline": "base added"`)
	call(t, "load", uki, "--dry-run", "--cert", key.CertPEM, "--policy", "warn").want(t, "warn", 0, "cmdline   base added added\n", "b.addon.efi is not verified")
}
