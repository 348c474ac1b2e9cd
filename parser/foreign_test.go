// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

const zbootData = "../image/zboot/testdata/"

// zboots are real zboot images and the digests of the kernels in them.
var zboots = []struct{ file, sha256 string }{
	{"vmlinuz-arm64-6.12-gzip.efi", "62380a49bbcd286e011b4723b39c1beb4ed0d452842e99cbb54b14845137ab12"},
	{"vmlinuz-arm64-6.1-xz.efi", "89705bf3c5629f6e3c73ab83fcbd873cb786dd54423f7a3e843cc466a4ba3e90"},
	{"vmlinuz-arm64-6.1-lzo.efi", "d69585ec58bc1aa6b143622813fde02156f92a63fbd9eb255a97b153d56875b5"},
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// container packs programs, the first for the outermost layer's first try.
func container(t testing.TB, programs ...[]byte) []byte {
	t.Helper()
	b, err := BuildContainer(programs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func nested(t testing.TB, inner []byte, programs ...[]byte) []byte {
	t.Helper()
	b, err := BuildContainer(programs, inner)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sources lists which program took each layer apart.
func sources(r *Result) string {
	var s []string
	for _, l := range r.Layers {
		s = append(s, string(l.Source)+":"+string(l.Generation))
	}
	return strings.Join(s, " ")
}

// TestForeignZboot runs parsers in the manner of the series on real images, in
// every generation and both forms.
func TestForeignZboot(t *testing.T) {
	for _, gen := range []struct {
		flag string
		want Generation
	}{{"-DV7", GenV7}, {"-DV6", GenV6}, {"-DLATER", GenLater}} {
		object, skeleton := build(t, "testdata/foreign/zboot.c", gen.flag)
		for form, program := range map[string][]byte{"object": object, "skeleton": skeleton} {
			for _, z := range zboots {
				t.Run(string(gen.want)+"/"+form+"/"+z.file, func(t *testing.T) {
					r, err := Run(context.Background(), testkit.ReadFile(t, zbootData+z.file), Options{Programs: container(t, program)})
					if err != nil {
						t.Fatal(err)
					}
					if got := sum(r.Payload.Kernel.Data); got != z.sha256 {
						t.Errorf("kernel sha256 %s, want %s", got, z.sha256)
					}
					if got, want := sources(r), "operator:"+string(gen.want)+" stock:peel"; got != want {
						t.Errorf("layers by %q, want %q", got, want)
					}
				})
			}
		}
	}
}

// TestForeignUKI runs a UKI parser in the manner of the series: it copies each
// part through its record.
func TestForeignUKI(t *testing.T) {
	initrd := bytes.Repeat([]byte("initrd"), 5000)
	uki := testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: "root=/dev/vda quiet"}))
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12"))
	object, skeleton := build(t, "testdata/foreign/uki.c")
	for form, program := range map[string][]byte{"object": object, "skeleton": skeleton} {
		t.Run(form, func(t *testing.T) {
			r, err := Run(context.Background(), uki, Options{Programs: container(t, program)})
			if err != nil {
				t.Fatal(err)
			}
			p := r.Payload
			if !bytes.Equal(p.Kernel.Data, kernel) {
				t.Errorf("kernel of %#x bytes, want the %#x bytes that went in", len(p.Kernel.Data), len(kernel))
			}
			if len(p.Initrds) != 1 || !bytes.Equal(p.Initrds[0].Data, initrd) {
				t.Errorf("%d initrds, want the one that went in", len(p.Initrds))
			}
			if p.Cmdline != "root=/dev/vda quiet" {
				t.Errorf("Cmdline = %q, want root=/dev/vda quiet", p.Cmdline)
			}
			if got, want := sources(r), "operator:v7 stock:peel"; got != want {
				t.Errorf("layers by %q, want %q", got, want)
			}
		})
	}
}

// TestForeignNested is uki.bpf of the series on arm64, {.bpf.1: UKI parser,
// .bpf.nested: zboot.bpf}, on a UKI that holds a zboot image: programs alone
// lead to the Image. The series calls that "theoretically not yet tested".
func TestForeignNested(t *testing.T) {
	_, uki := build(t, "testdata/foreign/uki.c")
	_, zboot := build(t, "testdata/foreign/zboot.c")
	programs := nested(t, container(t, zboot), uki)
	for _, z := range zboots {
		img := makeUKI(t, pe.Options{Machine: 0xaa64}, section(".linux", testkit.ReadFile(t, zbootData+z.file)),
			section(".initrd", []byte("the initrd")), section(".cmdline", []byte("console=ttyAMA0\x00")))
		for how, opts := range map[string]Options{"series": {Programs: programs}, "stock": {}} {
			t.Run(how+"/"+z.file, func(t *testing.T) {
				opts.Name = "uki.efi"
				r, err := Run(context.Background(), img, opts)
				if err != nil {
					t.Fatal(err)
				}
				p := r.Payload
				if got := sum(p.Kernel.Data); got != z.sha256 {
					t.Errorf("kernel sha256 %s, want %s", got, z.sha256)
				}
				if p.Kernel.Origin != "uki.efi/.linux/payload" || p.Arch != image.ArchARM64 || p.Cmdline != "console=ttyAMA0" || len(p.Initrds) != 1 {
					t.Errorf("got %s, %s, %q, %d initrds", p.Kernel.Origin, p.Arch, p.Cmdline, len(p.Initrds))
				}
				want := "operator:v7 operator:v7 stock:peel"
				if how == "stock" {
					want = "stock:peel stock:peel stock:peel"
				}
				if got := sources(r); got != want {
					t.Errorf("layers by %q, want %q", got, want)
				}
			})
		}
	}
}

// TestForeignShortPayload: the series' zboot parsers leave out the last four
// bytes. For gzip that is the output's size and can be done without; for
// others the stream is cut and the message says why.
func TestForeignShortPayload(t *testing.T) {
	object, _ := build(t, "testdata/foreign/zboot.c", "-DSHORT=4")
	for _, z := range zboots {
		r, err := Run(context.Background(), testkit.ReadFile(t, zbootData+z.file), Options{Programs: object, NoStock: false})
		switch {
		case strings.Contains(z.file, "gzip"):
			if err != nil {
				t.Errorf("%s: %v, want success", z.file, err)
			} else if got, want := sources(r), "operator:v7 stock:peel"; got != want {
				t.Errorf("%s: layers by %q, want %q", z.file, got, want)
			}
		case err == nil:
			t.Errorf("%s: layers by %q, want an error: the operator's program failed", z.file, sources(r))
		case !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), "four bytes"):
			t.Errorf("%s: error %v, want one that tells of the four bytes", z.file, err)
		}
	}
}

// TestOwnSection: a v6 image brings its parser in .bpf, which goes before the
// operator's and the stock ones.
func TestOwnSection(t *testing.T) {
	_, skeleton := build(t, "testdata/foreign/zboot.c", "-DV6")
	z := testkit.ReadFile(t, zbootData+zboots[0].file)
	f, err := pe.Parse(z)
	if err != nil {
		t.Fatal(err)
	}
	img := withSection(t, f, ".bpf", skeleton)
	r, err := Run(context.Background(), img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sources(r), "image:v6 stock:peel"; got != want {
		t.Errorf("layers by %q, want %q", got, want)
	}
	if got := sum(r.Payload.Kernel.Data); got != zboots[0].sha256 {
		t.Errorf("kernel sha256 %s, want %s", got, zboots[0].sha256)
	}
	if r, err = Run(context.Background(), img, Options{IgnoreOwn: true}); err != nil {
		t.Fatal(err)
	} else if got, want := sources(r), "stock:peel stock:peel"; got != want {
		t.Errorf("IgnoreOwn: layers by %q, want %q", got, want)
	}
}
