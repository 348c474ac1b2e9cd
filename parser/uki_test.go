// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser/stock"
)

// forms are the two forms in which the stock programs are shipped.
func forms() map[string][][]byte {
	return map[string][][]byte{"object": stock.Objects(), "skeleton": stock.Skeletons()}
}

// TestRealUKI takes apart what ukify and objcopy make of a systemd stub and a
// Debian kernel.
func TestRealUKI(t *testing.T) {
	kernel, err := os.ReadFile(testkit.Kernel(t, "amd64", "6.12"))
	if err != nil {
		t.Fatal(err)
	}
	initrd := bytes.Repeat([]byte("initrd of the test "), 1000)
	const cmdline = "console=ttyS0 quiet peel.test=1"
	for _, tool := range []string{"ukify", "objcopy"} {
		path := testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: cmdline, Objcopy: tool == "objcopy"})
		uki := testkit.ReadFile(t, path)
		for form, programs := range forms() {
			t.Run(tool+"/"+form, func(t *testing.T) {
				p, err := Decompose(context.Background(), uki, Options{Name: "uki.efi", Stock: programs})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p.Kernel.Data, kernel) {
					t.Errorf("kernel of %#x bytes, want the %#x bytes that went in", len(p.Kernel.Data), len(kernel))
				}
				if p.Kernel.Origin != "uki.efi/.linux" {
					t.Errorf("kernel from %q, want uki.efi/.linux", p.Kernel.Origin)
				}
				if len(p.Initrds) != 1 || !bytes.Equal(p.Initrds[0].Data, initrd) {
					t.Errorf("%d initrds, want the one that went in", len(p.Initrds))
				}
				if p.Cmdline != cmdline {
					t.Errorf("Cmdline = %q, want %q", p.Cmdline, cmdline)
				}
				if p.Arch != image.ArchX86_64 {
					t.Errorf("Arch = %q, want %q", p.Arch, image.ArchX86_64)
				}
				var kinds []image.Kind
				for _, l := range p.Layers {
					kinds = append(kinds, l.Kind)
				}
				if len(kinds) != 2 || kinds[0] != image.KindUKI || kinds[1] != image.KindBzImage {
					t.Errorf("layers %v, want uki, bzimage", kinds)
				}
				// Without a decompression no byte is copied.
				if f, _ := pe.Parse(uki); f != nil {
					s, _ := f.Find(".linux")
					if &p.Kernel.Data[0] != &f.Data(s)[0] {
						t.Error("the kernel is a copy, want a view of the image")
					}
				}
			})
		}
	}
}

// BenchmarkUKI is the time of a whole parse, the opening of programs included.
func BenchmarkUKI(b *testing.B) {
	path := testkit.UKI(b, testkit.UKIOptions{Initrd: make([]byte, 1<<20), Cmdline: "quiet"})
	uki := testkit.ReadFile(b, path)
	b.SetBytes(int64(len(uki)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decompose(context.Background(), uki, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPaddedSignedKernel: zboot pads the kernel inside to its size in memory.
// A signed one is cut to the end of its certificate table, so that its own
// signature verifies; what is not padding stays.
func TestPaddedSignedKernel(t *testing.T) {
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12"))
	padded := append(bytes.Clone(kernel), make([]byte, 100001)...)
	p, err := Decompose(context.Background(), padded, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Kernel.Data, kernel) {
		t.Errorf("kernel of %#x bytes, want %#x without the padding", len(p.Kernel.Data), len(kernel))
	}
	padded[len(padded)-1] = 1
	if p, err = Decompose(context.Background(), padded, Options{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Kernel.Data, padded) {
		t.Errorf("kernel of %#x bytes, want all %#x: the tail is not padding", len(p.Kernel.Data), len(padded))
	}
}
