// SPDX-License-Identifier: Apache-2.0

package images

import (
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

const arm64 = image.ArchARM64

// zbootOf wraps an arm64 Image as the kernel's build does, and returns the path: the PE file is one that it made, with
// another kernel.
func zbootOf(t *testing.T, kernel string) string {
	t.Helper()
	return zbootWith(t, testkit.Gzip(t, testkit.ReadFile(t, kernel)))
}

// zbootWith is zbootOf for a kernel that is compressed already; its method is told by its bytes, not by the header.
func zbootWith(t *testing.T, packed []byte) string {
	t.Helper()
	b := testkit.ReadFile(t, "../../../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	at := len(b)
	b = append(b, packed...)
	if err := zboot.SetPayload(b, uint32(at), uint32(len(packed))); err != nil {
		t.Fatal(err)
	}
	return testkit.WriteFile(t, "vmlinuz.efi", b)
}

// TestARM64: on a machine that has kexec_load alone, the static peel verifies images of every nesting, takes them apart and
// starts their kernels; each answers with its own marker.
func TestARM64(t *testing.T) {
	key := testkit.NewKey(t, "peel test")
	kernel := testkit.Kernel(t, "arm64", "6.12")
	packed := zbootOf(t, kernel)
	uki := func(linux, marker string, initrd []byte) string {
		return testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: linux, Initrd: initrd, Cmdline: vmkit.Cmdline(t, arm64, marker), Key: key})
	}
	for _, tt := range []struct {
		name, marker string
		image        func(initrd []byte) string
		outside      bool
	}{
		{"uki-image", "peel.case=a", func(rd []byte) string { return uki(kernel, "peel.case=a", rd) }, false},
		{"uki-zboot", "peel.case=b", func(rd []byte) string { return uki(packed, "peel.case=b", rd) }, false},
		{"zboot", "peel.case=c", func([]byte) string { return packed }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			initrd := vmkit.Initramfs(t, arm64, guest.Script{Name: tt.name})
			files := []testkit.File{vmkit.Peel(t, arm64), testkit.Plain("cert.pem", testkit.ReadFile(t, key.CertPEM)),
				testkit.Plain("image.efi", testkit.ReadFile(t, tt.image(initrd)))}
			load := []string{"/bin/peel", "load", "/image.efi", "--cert", "/cert.pem"}
			if tt.outside {
				files = append(files, testkit.Plain("initrd2", initrd))
				load = append(load, "--policy", "warn", "--initrd", "/initrd2", "--cmdline", vmkit.Cmdline(t, arm64, tt.marker))
			}
			c := vmkit.Config(t, arm64)
			c.MemoryMiB = 1024
			c.Kernel = kernel
			c.Cmdline = vmkit.Cmdline(t, arm64)
			c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arm64, guest.Script{Name: "first", Steps: []guest.Step{
				{Name: "refuse", Argv: []string{"/bin/peel", "load", "/image.efi", "--policy", "enforce"}},
				{Name: "load", Argv: load},
				{Name: "exec", Argv: []string{"/bin/peel", "exec"}},
			}}, files...))
			run := vmkit.Boot(t, c, tt.name)
			if r := run.Result("refuse"); r.Status != 3 {
				t.Errorf("peel load without keys: status %d, want 3; it said:\n%s%s", r.Status, r.Stdout, r.Stderr)
			}
			if r := run.Result("load"); r.Status != 0 {
				t.Errorf("peel load: status %d, want 0; it said:\n%s%s", r.Status, r.Stdout, r.Stderr)
			}
			if got, want := run.Boot(tt.name).Cmdline, vmkit.Cmdline(t, arm64, tt.marker); got != want {
				t.Errorf("/proc/cmdline = %q, want %q", got, want)
			}
		})
	}
}
