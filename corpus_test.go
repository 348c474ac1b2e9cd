// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/inspect"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/trust"
)

// heapBudget is what one image of the corpus may allocate on the heap in all,
// beside copies of itself.
const heapBudget = 48 << 20

// lenient opens without judging, so that what is broken is found by readers.
func lenient() *trust.Verifier {
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Policy.SetMode(trust.Off, "test")
	return v
}

// attempt takes an image apart as load would, and describes it, within the
// budget. It returns why it does not boot.
func attempt(t *testing.T, name string, b []byte) error {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	im, err := peel.Read(bytes.NewReader(b), name, peel.Options{Verifier: lenient(), Limits: parser.Limits{Kernel: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	boot, err := im.Prepare(context.Background(), peel.Additions{})
	if err == nil {
		boot.Close()
	}
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, heapBudget+4*uint64(len(b)); got > most {
		t.Errorf("%s: %d bytes of heap, want at most %d", name, got, most)
	}
	// What cannot boot can be looked at.
	var out bytes.Buffer
	if werr := inspect.Describe(name, b, inspect.Options{Limit: 64 << 20}).WriteText(&out); werr != nil {
		t.Errorf("%s: inspect: %v", name, werr)
	}
	return err
}

// build makes a PE image of name, contents, name, contents ...
func build(t *testing.T, s ...any) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0xaa64})
	for i := 0; i+1 < len(s); i += 2 {
		data, ok := s[i+1].([]byte)
		if !ok {
			data = []byte(s[i+1].(string))
		}
		if err := b.Add(pe.NewSection{Name: s[i].(string), Data: [][]byte{data}, Characteristics: pe.SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// smallImage is an arm64 kernel of a header.
func smallImage() []byte {
	k := make([]byte, 4096)
	copy(k[56:], "ARM\x64")
	binary.LittleEndian.PutUint64(k[16:], 4096)
	return k
}

// smallELF is an arm64 vmlinux of one segment.
func smallELF() []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56+64)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)   // executable
	le.PutUint16(b[18:], 183) // AArch64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], 0x40000000)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	p := b[64:]
	le.PutUint32(p, 1)
	le.PutUint32(p[4:], 5)
	le.PutUint64(p[8:], 120)
	le.PutUint64(p[16:], 0x40000000)
	le.PutUint64(p[24:], 0x40000000)
	le.PutUint64(p[32:], 64)
	le.PutUint64(p[40:], 64)
	le.PutUint64(p[48:], 4096)
	return b
}

func gz(t *testing.T, b []byte) []byte { return testkit.Gzip(t, b) }

// zeros is a gzip stream of that many zeros.
func zeros(t *testing.T, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for ; n > 0; n -= len(block) {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestCorpus: malformed images of every kind, each with the error that names
// what is wrong.
func TestCorpus(t *testing.T) {
	le := binary.LittleEndian
	good := build(t, ".osrel", "ID=x", ".cmdline", "quiet", ".initrd", "initrd", ".linux", smallImage())
	if err := attempt(t, "good.efi", good); err != nil {
		t.Fatalf("the image that all are made of: %v", err)
	}
	f, err := pe.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	header := int(le.Uint32(good[0x3c:]))
	table := header + 24 + int(le.Uint16(good[header+20:]))
	row := func(i, field int) int { return table + 40*i + field }
	edit := func(b []byte, do func([]byte)) []byte { b = bytes.Clone(b); do(b); return b }
	put32 := func(b []byte, at int, v uint32) []byte { return edit(b, func(b []byte) { le.PutUint32(b[at:], v) }) }
	put16 := func(b []byte, at int, v uint16) []byte { return edit(b, func(b []byte) { le.PutUint16(b[at:], v) }) }
	nest := func(n int, wrap func([]byte) []byte) []byte {
		b := smallImage()
		for range n {
			b = wrap(b)
		}
		return b
	}
	z := testkit.ReadFile(t, "image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	bz := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12"))
	zpayload := le.Uint32(z[8:])
	zsize := le.Uint32(z[12:])
	profiles := []any{".linux", smallImage()}
	for i := range uki.MaxProfiles + 1 {
		profiles = append(profiles, ".profile", fmt.Sprintf("ID=%d", i))
	}
	elf := smallELF()

	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		// PE
		{"65535 sections", put16(good, header+6, 65535), pe.ErrSectionCount},
		{"no sections", put16(good, header+6, 0), parser.ErrNoParser},
		{"section beyond the file", put32(good, row(3, 16), uint32(len(good))), pe.ErrSectionBounds},
		{"section whose end wraps", put32(put32(good, row(3, 20), 0xfffffe00), row(3, 16), 0x400), pe.ErrSectionBounds},
		{"sections over each other", put32(good, row(3, 20), f.Sections[1].PointerToRawData), pe.ErrSectionOverlap},
		{"addresses over each other", put32(good, row(3, 12), f.Sections[1].VirtualAddress), pe.ErrSectionOverlap},
		{"address that wraps", put32(put32(good, row(3, 12), 0xfffff000), row(3, 8), 0x2000), pe.ErrSectionMemory},
		{"PE header beyond the file", put32(good, 0x3c, 0xfffffff0), pe.ErrNotPE},
		{"optional header too long", put16(good, header+20, 0xffff), pe.ErrTruncated},
		{"certificates beyond the file", put32(put32(good, header+24+144, uint32(len(good))), header+24+148, 64), pe.ErrCertTable},
		// UKI
		{"two kernels", build(t, ".linux", smallImage(), ".linux", smallImage()), uki.ErrDuplicate},
		{"two command lines", build(t, ".linux", smallImage(), ".cmdline", "a", ".cmdline", "b"), uki.ErrDuplicate},
		{"257 profiles", build(t, profiles...), uki.ErrProfile},
		{"empty kernel", put32(good, row(3, 8), 0), parser.ErrBroken},
		{"kernel that is text", build(t, ".linux", "hello"), parser.ErrNoParser},
		{"kernel that is an addon", build(t, ".linux", build(t, ".cmdline", "x")), parser.ErrNoParser},
		{"broken kernel", build(t, ".linux", z[:len(z)/2]), parser.ErrBroken},
		{"addon", build(t, ".cmdline", "x"), peel.ErrNotImage},
		{"thin without a digest", build(t, ".linux", `\k`, ".linuxh", "short"), uki.ErrThin},
		{"thin that leads out", build(t, ".linux", `\..\k`, ".linuxh", make([]byte, 32)), uki.ErrThin},
		{"thin nowhere", build(t, ".linux", `\k`, ".linuxh", make([]byte, 32)), peel.ErrNoVolume},
		// zboot
		{"payload that wraps", put32(put32(z, 8, 0xfffffff0), 12, 0x20), zboot.ErrPayload},
		{"payload beyond the file", put32(z, 12, uint32(len(z))), zboot.ErrPayload},
		{"payload of nothing", put32(z, 12, 0), zboot.ErrPayload},
		{"method without an end", edit(z, func(b []byte) { copy(b[24:0x38], bytes.Repeat([]byte("g"), 32)) }), zboot.ErrMethod},
		{"stream cut off", put32(z, 12, zsize/2), inflate.ErrTruncated},
		{"stream damaged", edit(z, func(b []byte) { b[zpayload+zsize/2] ^= 0x55 }), inflate.ErrCorrupt},
		{"stream of another method", edit(z, func(b []byte) { copy(b[zpayload:], "\x28\xb5\x2f\xfd") }), inflate.ErrCorrupt},
		// kernels
		{"bzImage of no setup", edit(bz, func(b []byte) { b[0x1f1] = 255 })[:64<<10], linux.ErrTruncated},
		{"segments beyond the file", edit(elf, func(b []byte) { le.PutUint64(b[64+32:], 1<<40) }), linux.ErrTruncated},
		{"segments that wrap", edit(elf, func(b []byte) { le.PutUint64(b[64+8:], ^uint64(0)-8) }), linux.ErrTruncated},
		{"65535 program headers", put16(elf, 56, 65535), linux.ErrLimit},
		// bombs
		{"bomb", zeros(t, 256<<20), inflate.ErrLimit},
		{"bomb in a UKI", build(t, ".linux", zeros(t, 256<<20)), inflate.ErrLimit},
		{"bomb in a bomb", gz(t, zeros(t, 256<<20)), inflate.ErrLimit},
		{"streams in streams", nest(8, func(b []byte) []byte { return gz(t, b) }), parser.ErrLimit},
		{"UKIs in UKIs", nest(8, func(b []byte) []byte { return build(t, ".linux", b) }), parser.ErrLimit},
		{"UKIs in streams in UKIs", nest(4, func(b []byte) []byte { return build(t, ".linux", gz(t, b)) }), parser.ErrLimit},
		// none of all
		{"nothing", nil, peel.ErrNotImage},
		{"text", []byte("hello\n"), peel.ErrNotImage},
		{"zeros", make([]byte, 1<<20), peel.ErrNotImage},
	} {
		if err := attempt(t, c.name, c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestCorpusTruncated: an image cut at every byte of its headers is refused as
// broken, or as none.
func TestCorpusTruncated(t *testing.T) {
	good := build(t, ".osrel", "ID=x", ".cmdline", "quiet", ".initrd", "initrd", ".linux", smallImage())
	f, err := pe.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	upTo := func(n int) (cuts []int) {
		for i := range n {
			cuts = append(cuts, i)
		}
		return cuts
	}
	cuts := upTo(int(f.SizeOfHeaders) + 1)
	for _, s := range f.Sections {
		end := int(s.PointerToRawData + s.SizeOfRawData)
		cuts = append(cuts, int(s.PointerToRawData), int(s.PointerToRawData)+1, end-1)
	}
	zfile := testkit.ReadFile(t, "image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	for name, c := range map[string]struct {
		b    []byte
		cuts []int
	}{
		"uki":     {good, cuts},
		"zboot":   {zfile, append(upTo(0x300), len(zfile)/2, len(zfile)-1)},
		"bzimage": {testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12-unsigned")), append(upTo(0x280), 4096, 64<<10)},
		"image":   {smallImage(), upTo(64)},
		"vmlinux": {smallELF(), upTo(len(smallELF()))},
	} {
		if in := image.Detect(c.b); in.Err != nil || string(in.Kind) != name {
			t.Fatalf("%s: the whole image is %s, %v", name, in.Kind, in.Err)
		}
		for _, n := range slices.Compact(c.cuts) {
			im, err := peel.Read(bytes.NewReader(c.b[:n]), name, peel.Options{Verifier: lenient()})
			if err != nil {
				t.Fatal(err)
			}
			if err := im.Check(); !errors.Is(err, peel.ErrBroken) && !errors.Is(err, peel.ErrNotImage) {
				t.Errorf("%s cut to %d bytes: Check() = %v, want ErrBroken or ErrNotImage", name, n, err)
			}
			im.Close()
			// The programs find the same, without the Go readers before them.
			if n%16 != 0 {
				continue
			}
			_, err = parser.Run(context.Background(), c.b[:n], parser.Options{})
			if !errors.Is(err, parser.ErrBroken) && !errors.Is(err, parser.ErrNoParser) {
				t.Errorf("%s cut to %d bytes: parser.Run = %v, want ErrBroken or ErrNoParser", name, n, err)
			}
		}
	}
}
