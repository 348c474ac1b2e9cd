// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// TestReal reads what ukify and objcopy build: every part must come out byte
// for byte.
func TestReal(t *testing.T) {
	initrd := bytes.Repeat([]byte("initrd\n"), 777)
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12"))
	for name, objcopy := range map[string]bool{"ukify": false, "objcopy": true} {
		path := testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: "quiet console=ttyS0", Objcopy: objcopy})
		f, err := pe.Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		img, err := Read(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sel, err := img.Select(0)
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := sel.Find(Linux); !bytes.Equal(s.Data, kernel) {
			t.Errorf("%s: .linux has %d bytes, want %d", name, len(s.Data), len(kernel))
		}
		if s, _ := sel.Find(Initrd); !bytes.Equal(s.Data, initrd) {
			t.Errorf("%s: .initrd has %d bytes, want %d", name, len(s.Data), len(initrd))
		}
		if line, ok, err := sel.Cmdline(); line != "quiet console=ttyS0" || !ok || err != nil {
			t.Errorf("%s: Cmdline() = %q, %v, %v", name, line, ok, err)
		}
		if img.Addon || len(img.Other) == 0 {
			t.Errorf("%s: addon %v, %d sections of the stub", name, img.Addon, len(img.Other))
		}
	}
	// Neither a loader nor a bare stub is a UKI or an addon.
	for _, path := range []string{testkit.SystemdBoot(t, "amd64", "trixie"), testkit.Stub(t, "amd64", "trixie"), testkit.AddonStub(t, "arm64", "trixie"), testkit.Shim(t)} {
		f, err := pe.Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if IsUKI(f) || IsAddon(f) {
			t.Errorf("%s passes for a UKI or an addon", path)
		}
	}
}

// TestUkifyProfiles reads a multi-profile image with .hwids and .dtbauto as
// ukify builds it, which adds a profile of its own as number 0.
func TestUkifyProfiles(t *testing.T) {
	dir := t.TempDir()
	ids := filepath.Join(dir, "hwids")
	if err := os.Mkdir(ids, 0o755); err != nil {
		t.Fatal(err)
	}
	const json = `{"name": "Test Laptop", "compatible": "peel,laptop", "hwids": ["00112233-4455-6677-8899-aabbccddeeff", "f3e9c8a0-0102-5304-8506-0708090a0b0c"]}`
	if err := os.WriteFile(filepath.Join(ids, "laptop.json"), []byte(json), 0o644); err != nil {
		t.Fatal(err)
	}
	trees := []string{testkit.WriteFile(t, "a.dtb", []byte("tree a")), testkit.WriteFile(t, "b.dtb", []byte("tree b"))}
	profile := func(name, id, cmdline string) string {
		out := filepath.Join(dir, name)
		testkit.Run(t, dir, "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--efi-arch=x64", "--output="+out,
			"--profile=ID="+id+"\nTITLE=\"Boot "+id+"\"", "--cmdline="+cmdline)
		return out
	}
	path := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "base", Extra: []string{
		"--hwids=" + ids, "--devicetree-auto=" + trees[0], "--devicetree-auto=" + trees[1],
		"--join-profile=" + profile("one.efi", "one", "first"), "--join-profile=" + profile("two.efi", "two", "second"),
	}})
	f, err := pe.Parse(testkit.ReadFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	img, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range img.Profiles {
		sel, err := img.Select(p.Number)
		if err != nil {
			t.Fatal(err)
		}
		line, _, err := sel.Cmdline()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.ID, p.Title, line)
	}
	if diff := cmp.Diff([]string{"main", "", "base", "one", "Boot one", "first", "two", "Boot two", "second"}, got); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	sel, err := img.Select(Base)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".dtbauto=tree a", ".dtbauto=tree b"}, contents(sel.All(DTBAuto))); diff != "" {
		t.Errorf("device trees (-want +got):\n%s", diff)
	}
	sec, _ := sel.Find(HWIDs)
	list, err := ParseHWIDs(sec.Data)
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, h := range list {
		got = append(got, h.String()+" "+h.Name+" "+h.Compatible)
	}
	want := []string{"00112233-4455-6677-8899-aabbccddeeff Test Laptop peel,laptop", "f3e9c8a0-0102-5304-8506-0708090a0b0c Test Laptop peel,laptop"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hardware IDs (-want +got):\n%s", diff)
	}
}

// TestUkifyAddon reads an addon as ukify builds it.
func TestUkifyAddon(t *testing.T) {
	out := filepath.Join(t.TempDir(), "debug.addon.efi")
	testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--efi-arch=x64", "--cmdline=debug", "--output="+out)
	f, err := pe.Parse(testkit.ReadFile(t, out))
	if err != nil {
		t.Fatal(err)
	}
	img, err := Read(f)
	if err != nil || !img.Addon {
		t.Fatalf("Read(addon) = %+v, %v", img, err)
	}
	sel, err := img.Select(Base)
	if err != nil {
		t.Fatal(err)
	}
	if line, ok, err := sel.Cmdline(); line != "debug" || !ok || err != nil {
		t.Errorf("Cmdline() = %q, %v, %v", line, ok, err)
	}
}

// TestStubble reads an image with Ubuntu's stub and the hardware ids of all machines that it knows.
func TestStubble(t *testing.T) {
	stub, sbat, ids := testkit.Stubble(t)
	tree := testkit.WriteFile(t, "a.dtb", []byte("tree"))
	path := testkit.UKI(t, testkit.UKIOptions{Stub: stub, Cmdline: "quiet", Extra: []string{"--sbat=@" + sbat, "--hwids=" + ids, "--devicetree-auto=" + tree}})
	f, err := pe.Parse(testkit.ReadFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if got := StubOf(f); got.Name != StubStubble || got.Major() == 0 {
		t.Errorf("StubOf() = %v, want stubble and its version", got)
	}
	img, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	sel, err := img.Select(Base)
	if err != nil {
		t.Fatal(err)
	}
	sec, _ := sel.Find(HWIDs)
	list, err := ParseHWIDs(sec.Data)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(ids, "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files of hardware ids, %v, want twenty and more", len(files), err)
	}
	names := map[string]bool{}
	for _, h := range list {
		if h.Name == "" || h.Compatible == "" {
			t.Errorf("%s has no name or no device tree", h)
		}
		names[h.Name] = true
	}
	if len(list) < 3*len(files) || len(names) < 20 {
		t.Errorf("%d ids of %d machines out of %d files, want several each", len(list), len(names), len(files))
	}
}
