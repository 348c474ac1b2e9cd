// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// edit is a change of a little-endian number in an image.
type edit struct {
	off   int
	size  int
	value uint64
}

func (e edit) apply(b []byte) {
	var v [8]byte
	binary.LittleEndian.PutUint64(v[:], e.value)
	copy(b[e.off:e.off+e.size], v[:e.size])
}

func TestHostile(t *testing.T) {
	base := signed(t, sample(t, amd64), []byte("certificate"))
	f, err := Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	coff := int(f.Offset) + 4
	opt := int(f.optional)
	sec := func(i, field int) int { return int(f.sectionTable) + i*sectionHeaderSize + field }
	cert := int(f.directoryOffset(DirCertificate))
	end := uint64(len(base))
	for _, tc := range []struct {
		name string
		want error
		eds  []edit
	}{
		{"no MZ", ErrNotPE, []edit{{0, 2, 0x5a4e}}},
		{"PE offset at the end", ErrNotPE, []edit{{0x3c, 4, end - 3}}},
		{"PE offset wraps", ErrNotPE, []edit{{0x3c, 4, 0xffffffff}}},
		{"PE offset in the DOS header", ErrHeader, []edit{{0x3c, 4, 0x10}, {0x10, 4, 0x4550}}},
		{"no PE signature", ErrNotPE, []edit{{int(f.Offset), 4, 0x4551}}},
		{"optional header absent", ErrHeader, []edit{{coff + 16, 2, 0}}},
		{"optional header short", ErrHeader, []edit{{coff + 16, 2, 111}}},
		{"optional header beyond the file", ErrTruncated, []edit{{coff + 16, 2, 0xffff}}},
		{"ROM optional header", ErrNotPE, []edit{{opt, 2, 0x107}}},
		{"too many directories", ErrHeader, []edit{{opt + 108, 4, 17}}},
		{"directory count wraps", ErrHeader, []edit{{opt + 108, 4, 0x20000000}}},
		{"65535 sections", ErrSectionCount, []edit{{coff + 2, 2, 65535}}},
		{"4097 sections", ErrSectionCount, []edit{{coff + 2, 2, MaxSections + 1}}},
		{"4096 sections", ErrTruncated, []edit{{coff + 2, 2, MaxSections}}},
		{"headers end inside the section table", ErrHeader, []edit{{opt + offSizeOfHeaders, 4, f.sectionTable + 1}}},
		{"headers beyond the file", ErrHeader, []edit{{opt + offSizeOfHeaders, 4, end + 1}}},
		{"headers reach into a section", ErrSectionOverlap, []edit{{opt + offSizeOfHeaders, 4, 0x201}}},
		{"raw data beyond the file", ErrSectionBounds, []edit{{sec(2, 16), 4, end}}},
		{"raw data wraps", ErrSectionBounds, []edit{{sec(2, 20), 4, 0xfffffe00}, {sec(2, 16), 4, 0x400}}},
		{"raw data shared", ErrSectionOverlap, []edit{{sec(2, 20), 4, uint64(f.Sections[1].PointerToRawData)}}},
		{"raw data shared by one byte", ErrSectionOverlap, []edit{{sec(0, 16), 4, uint64(f.Sections[0].SizeOfRawData) + 1}}},
		{"raw data in the headers", ErrSectionOverlap, []edit{{sec(2, 20), 4, 0x100}}},
		{"addresses shared", ErrSectionOverlap, []edit{{sec(2, 12), 4, uint64(f.Sections[1].VirtualAddress) + 4096}}},
		{"address in the headers", ErrSectionOverlap, []edit{{sec(0, 12), 4, 0}}},
		{"address beyond the image", ErrSectionMemory, []edit{{sec(2, 12), 4, uint64(f.SizeOfImage)}}},
		{"address wraps", ErrSectionMemory, []edit{{sec(2, 12), 4, 0xfffff000}, {sec(2, 8), 4, 0x2000}}},
		{"certificates beyond the file", ErrCertTable, []edit{{cert + 4, 4, end}}},
		{"certificates wrap", ErrCertTable, []edit{{cert, 4, 0xfffffff8}, {cert + 4, 4, 0x10}}},
		{"certificates misaligned", ErrCertTable, []edit{{cert, 4, f.CertTable.Offset + 4}, {cert + 4, 4, f.CertTable.Size - 4}}},
		{"certificates over a section", ErrCertTable, []edit{{cert, 4, f.CertTable.Offset - 8}}},
		{"certificates over the headers", ErrCertTable, []edit{{cert, 4, 0x80}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := bytes.Clone(base)
			for _, e := range tc.eds {
				e.apply(b)
			}
			if _, err := Parse(b); !errors.Is(err, tc.want) {
				t.Errorf("Parse() = %v, want %v", err, tc.want)
			}
		})
	}
}
