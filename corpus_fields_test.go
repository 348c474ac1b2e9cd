// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser"
)

// named are the errors of which each refusal of the corpus must be one.
func named() []error {
	return []error{
		peel.ErrNotImage, peel.ErrBroken, parser.ErrNoParser, parser.ErrBroken, parser.ErrProgram, parser.ErrLimit,
		pe.ErrNotPE, pe.ErrHeader, pe.ErrTruncated, pe.ErrSectionCount, pe.ErrSectionBounds, pe.ErrSectionOverlap, pe.ErrSectionMemory, pe.ErrCertTable,
		uki.ErrDuplicate, uki.ErrProfile, uki.ErrThin, zboot.ErrPayload, zboot.ErrMethod, zboot.ErrTruncated, linux.ErrTruncated, linux.ErrLimit,
		inflate.ErrTruncated, inflate.ErrCorrupt, inflate.ErrLimit,
	}
}

// TestCorpusFields: each word of each header is given each value at which sums wrap, sizes lie and counts run over. Such an
// image boots, if the field does not matter, or is refused by name; and it costs no more memory than others.
func TestCorpusFields(t *testing.T) {
	good := build(t, ".osrel", "ID=x", ".cmdline", "quiet", ".initrd", "initrd", ".linux", smallImage())
	f, err := pe.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	packed := gz(t, smallImage())
	head, err := (&zboot.Header{PayloadOffset: 256, PayloadSize: uint32(len(packed)), Method: "gzip", Magic: zboot.PEMagic, PEOffset: 64}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	z := append(append(head, make([]byte, 256-len(head))...), packed...)
	bz := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12-unsigned"))[:256<<10]
	for name, c := range map[string]struct {
		b        []byte
		from, to int
		step     int
	}{
		"PE":      {good, 0x3c, int(f.SizeOfHeaders), 4},
		"zboot":   {z, 0, 64, 4},
		"bzimage": {bz, 0x1f0, 0x270, 4},
		"image":   {smallImage(), 0, 64, 4},
		"vmlinux": {smallELF(), 0, 64 + 56, 4},
	} {
		refused := 0
		for at := c.from; at+4 <= c.to; at += c.step {
			old := binary.LittleEndian.Uint32(c.b[at:])
			for _, v := range []uint32{0, 1, old + 1, uint32(len(c.b)), 0x7fffffff, 0x80000000, 0xffff, 0xfffffff0, 0xffffffff} {
				if v == old {
					continue
				}
				b := bytes.Clone(c.b)
				binary.LittleEndian.PutUint32(b[at:], v)
				err := attempt(t, fmt.Sprintf("%s with 0x%x at 0x%x", name, v, at), b)
				if err == nil {
					continue
				}
				refused++
				if !oneOf(err, named()) {
					t.Errorf("%s with 0x%x at 0x%x: %v, which has no name", name, v, at, err)
				}
			}
		}
		if refused == 0 {
			t.Errorf("%s: nothing was refused", name)
		}
	}
}

func oneOf(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
