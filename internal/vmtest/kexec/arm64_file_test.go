// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kexec

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// detached signs a file's bytes into NAME.p7s beside it, both at the root of an initramfs.
func detached(t *testing.T, key *testkit.Key, name string, b []byte) []testkit.File {
	t.Helper()
	path := testkit.WriteFile(t, name, b)
	testkit.Run(t, "", "openssl", "cms", "-sign", "-binary", "-in", path, "-signer", key.CertPEM, "-inkey", key.KeyPEM,
		"-outform", "DER", "-out", path+".p7s", "-md", "sha256")
	return []testkit.File{testkit.Plain(name, b), testkit.Plain(name+".p7s", testkit.ReadFile(t, path+".p7s"))}
}

// link is a kernel of a chain, in the form of an image that the kernel before it loads.
type link struct {
	name string
	// words of the command line, beside those that all have.
	words []string
	// linux is what goes into a UKI, which brings its initrd and command line; or image is given, which does not.
	linux, image string
}

// cmdline is the command line of a link's kernel.
func (l link) cmdline(t *testing.T) string {
	t.Helper()
	return vmkit.Cmdline(t, image.ArchARM64, append([]string{"peel.case=" + l.name}, l.words...)...)
}

// forms are the images that one kernel can be loaded as: Image, zboot, and UKIs of both.
func forms(t *testing.T, key *testkit.Key, kernel string, zboots map[string]string) []link {
	t.Helper()
	signed := testkit.Sign(t, key, kernel)
	list := []link{{name: "image", image: signed}, {name: "uki-image", linux: signed}}
	for _, method := range slices.Sorted(maps.Keys(zboots)) {
		list = append(list, link{name: "zboot-" + method, image: testkit.Sign(t, key, zboots[method])},
			link{name: "uki-zboot-" + method, linux: zboots[method]})
	}
	return list
}

// loadByFile boots a kernel, on which peel verifies the first image, takes it apart and starts what is in it by
// kexec_file_load; there the second, and so on. Nothing is accepted that has no signature, be it the image, its initrd or its
// command line. The last kernel does more steps, for which it has the files.
func loadByFile(t *testing.T, kernel string, key *testkit.Key, links []link, last []guest.Step, files []testkit.File, flags ...string) *vmkit.Run {
	t.Helper()
	const arch = image.ArchARM64
	common := []testkit.File{vmkit.Peel(t, arch), testkit.Plain("cert.pem", testkit.ReadFile(t, key.CertPEM))}
	script := func(name string, steps []guest.Step, files ...testkit.File) []byte {
		return vmkit.Initramfs(t, arch, guest.Script{Name: name, Steps: steps}, append(files, common...)...)
	}
	// Each initrd holds the next image, so the last comes first.
	initrd := script(links[len(links)-1].name, last, files...)
	for i := len(links) - 1; i >= 0; i-- {
		l := links[i]
		load := append([]string{"/bin/peel", "load", "/image.efi", "--cert", "/cert.pem", "--policy", "enforce"}, flags...)
		var files []testkit.File
		path := l.image
		if path == "" {
			path = testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: l.linux, Initrd: initrd, Cmdline: l.cmdline(t), Key: key})
		} else {
			files = append(detached(t, key, "second", initrd), detached(t, key, "cmdline", []byte(l.cmdline(t)))...)
			load = append(load, "--initrd", "/second", "--cmdline", "@/cmdline")
		}
		name := "first"
		if i > 0 {
			name = links[i-1].name
		}
		initrd = script(name, []guest.Step{
			{Name: "refuse " + l.name, Argv: []string{"/bin/peel", "load", "/image.efi", "--policy", "enforce"}},
			{Name: "load " + l.name, Argv: load},
			{Name: "loaded " + l.name, Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
			{Name: "exec " + l.name, Argv: []string{"/bin/peel", "exec"}},
		}, append(files, testkit.Plain("image.efi", testkit.ReadFile(t, path)))...)
	}
	m := vmkit.Config(t, arch)
	m.Kernel, m.MemoryMiB, m.NoACPI = kernel, 1024, true
	m.Cmdline = vmkit.Cmdline(t, arch)
	m.Initrd = testkit.WriteFile(t, "initrd", initrd)
	run := vmkit.Boot(t, m, links[len(links)-1].name)
	for _, l := range links {
		if r := run.Result("refuse " + l.name); r.Status != 3 {
			t.Errorf("%s: peel load without keys: status %d, want 3; it said:\n%s%s", l.name, r.Status, r.Stdout, r.Stderr)
		}
		if r := run.Result("load " + l.name); r.Status != 0 || !strings.Contains(r.Stdout+r.Stderr, "kexec_file_load") {
			t.Errorf("%s: peel load: status %d, want 0 and a word of kexec_file_load; it said:\n%s%s", l.name, r.Status, r.Stdout, r.Stderr)
		}
		if r := run.Result("loaded " + l.name); r.Stdout != "1\n" {
			t.Errorf("%s: kexec_loaded = %q, want 1", l.name, r.Stdout)
		}
		if got, want := run.Boot(l.name).Cmdline, l.cmdline(t); got != want {
			t.Errorf("%s: /proc/cmdline = %q, want %q", l.name, got, want)
		}
	}
	return run
}

// TestVMFileLoadARM64: the arm64 kernel of the zboot image in testdata has both calls; peel is told to use kexec_file_load,
// which takes Images only.
func TestVMFileLoadARM64(t *testing.T) {
	packed, err := filepath.Abs("../../../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	if err != nil {
		t.Fatal(err)
	}
	z, err := zboot.Parse(testkit.ReadFile(t, packed))
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(z.Payload()))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	// The build pads the kernel to the size that it has in memory. With a signature behind that it would be larger, which
	// kexec_file_load refuses as invalid (kernel/kexec_core.c, sanity_check_segment_list).
	f, err := pe.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	end := f.SizeOfHeaders
	for _, s := range f.Sections {
		end = max(end, s.PointerToRawData+s.SizeOfRawData)
	}
	kernel := testkit.WriteFile(t, "Image", plain[:end])
	key := testkit.NewKey(t, "peel test")
	loadByFile(t, kernel, key, forms(t, key, kernel, map[string]string{"gzip": packed}), nil, nil, "--syscall", "file")
}
