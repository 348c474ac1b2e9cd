// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
)

// kernelIn takes an image apart as load does and returns the kernel.
func kernelIn(t *testing.T, name string, b []byte) *image.Payload {
	t.Helper()
	im, err := peel.Read(bytes.NewReader(b), name, peel.Options{Verifier: lenient()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	boot, err := im.Prepare(context.Background(), peel.Additions{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { boot.Close() })
	return boot.Payload
}

// TestZbootDebian: the zboot kernel that Debian ships comes out as the Image that zstd makes of its payload.
func TestZbootDebian(t *testing.T) {
	b := testkit.ReadFile(t, testkit.Kernel(t, "loong64", "new"))
	z, err := zboot.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := testkit.Run(t, "", "zstd", "-dc", testkit.WriteFile(t, "payload.zst", z.Payload()))
	p := kernelIn(t, "vmlinuz", b)
	if p.Arch != image.ArchLoongArch64 || image.Detect(p.Kernel.Data).Kind != image.KindImage || !bytes.Equal(p.Kernel.Data, want) {
		t.Errorf("kernel of %d bytes for %s, want the Image of %d bytes for loongarch64", len(p.Kernel.Data), p.Arch, len(want))
	}
}

// TestZbootMethods: a real kernel in a real zboot image, packed by the reference tools of all methods that kernels have used,
// comes out as it was.
func TestZbootMethods(t *testing.T) {
	file := testkit.ReadFile(t, "image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	z, err := zboot.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	kernel := testkit.WriteFile(t, "Image", testkit.Run(t, "", "gzip", "-dc", testkit.WriteFile(t, "payload.gz", z.Payload())))
	want := testkit.ReadFile(t, kernel)
	for _, c := range []struct {
		method string // as the header spells it
		argv   []string
	}{
		{"gzip", []string{"gzip", "-n", "-9", "-c"}},
		{"zstd", []string{"zstd", "--ultra", "-22", "-q", "-c"}},
		{"zstd22", []string{"zstd", "--ultra", "-22", "--long=27", "-q", "-c"}},
		{"xzkern", []string{"xz", "--check=crc32", "--arm64", "--lzma2=dict=128MiB", "-c"}},
		{"xzkern", []string{"xz", "--check=crc32", "--lzma2=dict=32MiB", "-c"}},
		{"lzma", []string{"lzma", "-9", "-c"}},
		{"lz4", []string{"lz4", "-l", "-9", "-c"}},
		{"lzo", []string{"lzop", "-9", "-c"}},
		{"bzip2", []string{"bzip2", "-9", "-c"}},
	} {
		packed := testkit.Run(t, "", c.argv[0], append(c.argv[1:], kernel)...)
		b := append(bytes.Clone(file), packed...)
		if err := zboot.SetPayload(b, uint32(len(file)), uint32(len(packed))); err != nil {
			t.Fatal(err)
		}
		copy(b[24:0x38], append([]byte(c.method), make([]byte, 0x38-24)...))
		if got := kernelIn(t, c.method, b).Kernel.Data; !bytes.Equal(got, want) {
			t.Errorf("%v: kernel of %d bytes, want the one of %d bytes that was packed", c.argv, len(got), len(want))
		}
	}
}
