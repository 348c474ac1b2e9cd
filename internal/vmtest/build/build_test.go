// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/keyset"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/vm"
)

type builder interface {
	Build(context.Context) (*build.Image, error)
}

// write makes an image into a file.
func write(t *testing.T, b builder, sigs ...build.Signature) string {
	t.Helper()
	im, err := b.Build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	p := filepath.Join(t.TempDir(), "image.efi")
	if err := im.WriteFile(context.Background(), p, build.FileOptions{Sign: sigs}); err != nil {
		t.Fatal(err)
	}
	return p
}

// firmware is UEFI firmware with Secure Boot on and the keys of s enrolled.
func firmware(t *testing.T, a image.Arch, s *keyset.Set) *vm.Firmware {
	t.Helper()
	f := vmkit.Firmware(t, a, true)
	plain := vmkit.Firmware(t, a, false)
	dir := t.TempDir()
	files, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range files {
		if err := os.WriteFile(filepath.Join(dir, x.Name), x.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := s.Owner.String()
	f.Vars = filepath.Join(dir, "VARS.fd")
	testkit.Run(t, dir, "virt-fw-vars", "--input", plain.Vars, "--output", f.Vars, "--secure-boot",
		"--set-pk", g, "PK.pem", "--add-kek", g, "KEK.pem", "--add-db", g, "db.pem")
	return f
}

// Firmware with Secure Boot on and keys that peel made starts a UKI that peel
// built and signed, and refuses it unsigned, changed, or signed by the wrong
// one of the keys.
func TestSecureBoot(t *testing.T) {
	for _, tt := range []struct {
		arch image.Arch
		deb  string
	}{{image.ArchX86_64, "amd64"}, {image.ArchARM64, "arm64"}} {
		t.Run(tt.deb, func(t *testing.T) {
			s, err := keyset.New(keyset.Options{Name: "vm test", Time: time.Now().Add(-time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			fw := firmware(t, tt.arch, s)
			initrd := vmkit.Initramfs(t, tt.arch, guest.Script{Name: "built", Steps: nil})
			cmdline := vmkit.Cmdline(t, tt.arch, `peel.marker="built by peel"`)
			u := &build.UKI{
				Stub: build.File(testkit.Stub(t, tt.deb, "trixie")), Linux: build.File(testkit.Kernel(t, tt.deb, "6.12")),
				Initrds: []build.Content{build.Bytes(initrd)}, Cmdline: build.Text(cmdline), OSRelease: build.Text("ID=peel-test\n"),
			}
			// The stub has firmware check the kernel inside as well.
			db := build.Signature{Key: s.DB}
			u.SignKernel = []build.Signature{db}
			c := vmkit.Config(t, tt.arch)
			c.MemoryMiB = 1024
			c.Firmware = fw
			c.Kernel = write(t, u, db)
			run := vmkit.Boot(t, c, "built")
			b := run.Boot("built")
			// Debian's kernels lock themselves down when Secure Boot is on.
			if b.Cmdline != cmdline || !b.EFI || b.Lockdown != "integrity" {
				t.Errorf("booted %+v, want EFI, lockdown by Secure Boot, and the image's command line %q", *b, cmdline)
			}

			good := testkit.ReadFile(t, c.Kernel)
			changed := bytes.Clone(good)
			changed[len(changed)/2] ^= 1
			for name, image := range map[string]string{
				"unsigned": write(t, u), "KEK": write(t, u, build.Signature{Key: s.KEK}),
				"changed": testkit.WriteFile(t, "changed.efi", changed),
			} {
				c.Kernel = image
				refused(t, c, name)
			}
		})
	}
}

// refused boots an image that firmware must not start.
func refused(t *testing.T, c vm.Config, name string) {
	t.Helper()
	m := vmkit.Start(t, c)
	if _, err := m.Expect(context.Background(), regexp.MustCompile(`(?i)access denied|security violation|BdsDxe: No bootable option|Linux version|\{"Boot"`), vmkit.Timeout); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	out := m.Console()
	if regexp.MustCompile(`Linux version|EFI stub|"boot"`).MatchString(out) {
		t.Errorf("%s image started:\n%s", name, out)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// zbootSource returns the zboot image in testdata and the arm64 kernel in it.
func zbootSource(t *testing.T) (zboot, kernel []byte) {
	t.Helper()
	zboot = testkit.ReadFile(t, filepath.Join(testkit.ModuleDir(t), "image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi"))
	r, err := gzip.NewReader(bytes.NewReader(zboot[46752:]))
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	if kernel, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return zboot, kernel
}

// A zboot image that peel made and signed boots under AAVMF, with Secure
// Boot and without, and by QEMU's own loader.
func TestZboot(t *testing.T) {
	const arch = image.ArchARM64
	zb, kernel := zbootSource(t)
	s, err := keyset.New(keyset.Options{Name: "vm test", Time: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	db := build.Signature{Key: s.DB}
	// What gzip makes of the kernel fits to the byte.
	packed := testkit.Run(t, "", "gzip", "-9nc", testkit.WriteFile(t, "Image", kernel))
	z := &build.Zboot{Kernel: build.Bytes(packed), From: build.Bytes(zb)}
	// Packed by ourselves, with a signature more in it, and zeros behind it.
	inner := &build.SignInner{Image: build.Bytes(zb), Sign: []build.Signature{db}}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, vmkit.Initramfs(t, arch, guest.Script{Name: "zboot"}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		kernel   string
		firmware *vm.Firmware
	}{
		{"AAVMF", write(t, z), vmkit.Firmware(t, arch, false)},
		{"AAVMF inner signature", write(t, inner), vmkit.Firmware(t, arch, false)},
		{"AAVMF Secure Boot", write(t, z, db), firmware(t, arch, s)},
		{"QEMU -kernel", write(t, z), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := vmkit.Config(t, arch)
			c.Firmware, c.Kernel, c.Initrd = tt.firmware, tt.kernel, initrd
			c.NoACPI = true
			c.Cmdline = vmkit.Cmdline(t, arch, "peel.zboot=1")
			if b := vmkit.Boot(t, c, "zboot").Boot("zboot"); b.EFI != (tt.firmware != nil) {
				t.Errorf("booted %+v, want EFI %v", *b, tt.firmware != nil)
			}
		})
	}
}
