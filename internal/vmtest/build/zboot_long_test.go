// SPDX-License-Identifier: Apache-2.0

//go:build long

package build

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"testing"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// certificate returns the place of the first X.509 certificate in b: that of
// the kernel's own keyring, without which it boots as well.
func certificate(t *testing.T, b []byte) []byte {
	t.Helper()
	for i := 0; i+4 < len(b); i++ {
		at := bytes.Index(b[i:], []byte{0x30, 0x82})
		if at < 0 || i+at+4 > len(b) {
			break
		}
		i += at
		n := 4 + int(binary.BigEndian.Uint16(b[i+2:]))
		if i+n > len(b) {
			continue
		}
		if _, err := x509.ParseCertificate(b[i : i+n]); err == nil {
			return b[i : i+n]
		}
	}
	t.Fatal("no certificate in the kernel")
	return nil
}

// A kernel of ours in the place of the one in Debian's loongarch64 zboot image,
// zstd with a decompressor of Debian's: the room that is left over is a frame
// which that skips.
func TestZbootZstd(t *testing.T) {
	const arch = image.ArchLoongArch64
	from := testkit.ReadFile(t, testkit.Kernel(t, "loong64", "new"))
	old, err := zboot.Parse(from)
	if err != nil {
		t.Fatal(err)
	}
	kernel := testkit.Run(t, "", "zstd", "-dc", testkit.WriteFile(t, "payload", old.Payload()))
	clear(certificate(t, kernel))
	// A file of which zstd does not know the size before, as a kernel's build has it.
	packed := testkit.Run(t, "", "zstd", "--ultra", "-22", "--no-content-size", "-c", testkit.WriteFile(t, "Image", kernel))
	c := vmkit.Config(t, arch)
	c.MemoryMiB = 1024
	c.Firmware = vmkit.Firmware(t, arch, false)
	c.Kernel = write(t, &build.Zboot{Kernel: build.Bytes(packed), From: build.Bytes(from)})
	z, err := zboot.Parse(testkit.ReadFile(t, c.Kernel))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(z.Payload()), len(old.Payload()); got != want || len(packed) >= want-8 {
		t.Fatalf("payload of %d bytes with a stream of %d, want %d and a frame to skip", got, len(packed), want)
	}
	c.Cmdline = vmkit.Cmdline(t, arch, "peel.zboot=1")
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "zboot"}))
	if b := vmkit.Boot(t, c, "zboot").Boot("zboot"); !b.EFI {
		t.Errorf("booted %+v, want EFI", *b)
	}
}
