// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
)

var le = binary.LittleEndian

// Parse decodes and checks the headers of the PE image b. The File refers to
// b, which must not change afterwards. Nothing is allocated beyond the
// section table.
//
// Every error wraps one of the sentinels of this package.
func Parse(b []byte) (*File, error) {
	f := &File{Raw: b}
	sections, err := f.parseCOFF()
	if err != nil {
		return nil, err
	}
	if err := f.parseOptional(); err != nil {
		return nil, err
	}
	if err := f.parseSections(sections); err != nil {
		return nil, err
	}
	if err := f.checkSections(); err != nil {
		return nil, err
	}
	if err := f.checkCertTable(); err != nil {
		return nil, err
	}
	return f, nil
}

// parseCOFF reads the DOS and COFF headers and returns the section count.
func (f *File) parseCOFF() (sections int, err error) {
	b := f.Raw
	if len(b) < 2 || b[0] != 'M' || b[1] != 'Z' {
		return 0, fmt.Errorf("%w: no MZ signature at 0x0", ErrNotPE)
	}
	if len(b) < dosHeaderSize {
		return 0, fmt.Errorf("%w: DOS header of 0x%x bytes in a file of 0x%x", ErrTruncated, dosHeaderSize, len(b))
	}
	f.Offset = le.Uint32(b[0x3c:])
	off := uint64(f.Offset)
	if off+4 > uint64(len(b)) {
		return 0, fmt.Errorf("%w: PE header offset 0x%x in a file of 0x%x bytes", ErrNotPE, off, len(b))
	}
	if !bytes.Equal(b[off:off+4], []byte("PE\x00\x00")) {
		return 0, fmt.Errorf("%w: no PE signature at 0x%x", ErrNotPE, off)
	}
	if off < dosHeaderSize {
		return 0, fmt.Errorf("%w: PE header at 0x%x lies inside the DOS header", ErrHeader, off)
	}
	coff := off + 4
	if coff+coffHeaderSize > uint64(len(b)) {
		return 0, fmt.Errorf("%w: COFF header 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, coff, coffHeaderSize, len(b))
	}
	h := b[coff:]
	f.Machine = le.Uint16(h[0:])
	f.TimeDateStamp = le.Uint32(h[4:])
	f.Characteristics = le.Uint16(h[18:])
	f.optional = coff + coffHeaderSize
	f.optionalSize = uint64(le.Uint16(h[16:]))
	f.sectionTable = f.optional + f.optionalSize
	if f.sectionTable > uint64(len(b)) {
		return 0, fmt.Errorf("%w: optional header 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, f.optional, f.optionalSize, len(b))
	}
	n := int(le.Uint16(h[2:]))
	if n > MaxSections {
		return 0, fmt.Errorf("%w: %d, limit %d", ErrSectionCount, n, MaxSections)
	}
	return n, nil
}

// parseOptional reads the optional header and its data directories.
func (f *File) parseOptional() error {
	h := f.Raw[f.optional : f.optional+f.optionalSize]
	if len(h) < 2 {
		return fmt.Errorf("%w: optional header of %d bytes at 0x%x", ErrHeader, len(h), f.optional)
	}
	fixed := optionalFixed32
	switch magic := le.Uint16(h); magic {
	case magicPE32:
	case magicPE32Plus:
		f.Plus = true
		fixed = optionalFixed64
	default:
		return fmt.Errorf("%w: optional header magic 0x%x at 0x%x", ErrNotPE, magic, f.optional)
	}
	if len(h) < fixed {
		return fmt.Errorf("%w: optional header of 0x%x bytes at 0x%x, needs 0x%x", ErrHeader, len(h), f.optional, fixed)
	}
	f.EntryPoint = le.Uint32(h[16:])
	if f.Plus {
		f.ImageBase = le.Uint64(h[24:])
	} else {
		f.ImageBase = uint64(le.Uint32(h[28:]))
	}
	f.SectionAlignment = le.Uint32(h[32:])
	f.FileAlignment = le.Uint32(h[36:])
	f.SizeOfImage = le.Uint32(h[offSizeOfImage:])
	f.SizeOfHeaders = le.Uint32(h[offSizeOfHeaders:])
	f.CheckSum = le.Uint32(h[offChecksum:])
	f.Subsystem = le.Uint16(h[68:])
	f.DllCharacteristics = le.Uint16(h[70:])

	n := le.Uint32(h[fixed-4:])
	if n > maxDirectories || uint64(n)*directorySize > uint64(len(h)-fixed) {
		return fmt.Errorf("%w: %d data directories in an optional header of 0x%x bytes", ErrHeader, n, len(h))
	}
	f.Directories = make([]Directory, n)
	for i := range f.Directories {
		d := h[fixed+i*directorySize:]
		f.Directories[i] = Directory{le.Uint32(d), le.Uint32(d[4:])}
	}
	return nil
}

// parseSections reads n section headers.
func (f *File) parseSections(n int) error {
	size := uint64(n) * sectionHeaderSize
	end := f.sectionTable + size
	if end > uint64(len(f.Raw)) {
		return fmt.Errorf("%w: %d section headers 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, n, f.sectionTable, size, len(f.Raw))
	}
	// Firmware hashes and loads exactly SizeOfHeaders bytes of headers.
	if uint64(f.SizeOfHeaders) < end || uint64(f.SizeOfHeaders) > uint64(len(f.Raw)) {
		return fmt.Errorf("%w: SizeOfHeaders 0x%x, section table ends at 0x%x, file at 0x%x", ErrHeader, f.SizeOfHeaders, end, len(f.Raw))
	}
	f.Sections = make([]Section, n)
	for i := range f.Sections {
		h := f.Raw[f.sectionTable+uint64(i)*sectionHeaderSize:]
		f.Sections[i] = Section{
			Name:             f.sectionName(h[:8]),
			VirtualSize:      le.Uint32(h[8:]),
			VirtualAddress:   le.Uint32(h[12:]),
			SizeOfRawData:    le.Uint32(h[16:]),
			PointerToRawData: le.Uint32(h[20:]),
			Characteristics:  le.Uint32(h[36:]),
		}
	}
	return nil
}

// maxLongName bounds a name in the string table, in bytes.
const maxLongName = 255

// sectionName decodes the name field of a section header. A long name that
// cannot be found, or that the field had room for, is left as it stands: the
// firmware and the stubs do not look into the string table at all.
func (f *File) sectionName(field []byte) string {
	short := cString(field)
	if len(short) < 2 || short[0] != '/' {
		return short
	}
	at, err := strconv.ParseUint(short[1:], 10, 32)
	if err != nil {
		return short
	}
	table := f.stringTable()
	if at < 4 || at >= uint64(len(table)) {
		return short
	}
	tail := table[at:]
	end := bytes.IndexByte(tail[:min(len(tail), maxLongName+1)], 0)
	if end <= len(field) {
		return short
	}
	return string(tail[:end])
}

// stringTable returns the COFF string table, its size field included, or nil.
func (f *File) stringTable() []byte {
	h := f.Raw[uint64(f.Offset)+4:]
	symbols, count := uint64(le.Uint32(h[8:])), uint64(le.Uint32(h[12:]))
	const symbolSize = 18
	at := symbols + count*symbolSize
	size := uint64(len(f.Raw))
	if symbols == 0 || at+4 > size {
		return nil
	}
	n := uint64(le.Uint32(f.Raw[at:]))
	if n < 4 || n > size-at {
		return nil
	}
	return f.Raw[at : at+n]
}

// checkSections checks that sections lie inside the file and the image, and
// that no two share a byte of either.
func (f *File) checkSections() error { return f.checkSpans(uint64(len(f.Raw))) }

// checkSpans is checkSections for a file of size bytes.
func (f *File) checkSpans(size uint64) error {
	var raw, mem []span
	for i, s := range f.Sections {
		if s.SizeOfRawData > 0 {
			start, end := uint64(s.PointerToRawData), uint64(s.PointerToRawData)+uint64(s.SizeOfRawData)
			if end > size {
				return fmt.Errorf("%w: section %d %q 0x%x+0x%x in a file of 0x%x bytes", ErrSectionBounds, i, s.Name, start, s.SizeOfRawData, size)
			}
			raw = append(raw, span{start, end, i})
		}
		if s.VirtualSize > 0 {
			start, end := uint64(s.VirtualAddress), uint64(s.VirtualAddress)+uint64(s.VirtualSize)
			if end > uint64(f.SizeOfImage) {
				return fmt.Errorf("%w: section %d %q at address 0x%x+0x%x, image of 0x%x bytes", ErrSectionMemory, i, s.Name, start, s.VirtualSize, f.SizeOfImage)
			}
			mem = append(mem, span{start, end, i})
		}
	}
	if err := f.checkOverlap("file offset", raw); err != nil {
		return err
	}
	return f.checkOverlap("address", mem)
}

// span is what section number i occupies, [start, end).
type span struct {
	start, end uint64
	i          int
}

func (f *File) checkOverlap(what string, spans []span) error {
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for k, s := range spans {
		if s.start < uint64(f.SizeOfHeaders) {
			return fmt.Errorf("%w: section %d %q at %s 0x%x and headers of 0x%x bytes", ErrSectionOverlap, s.i, f.Sections[s.i].Name, what, s.start, f.SizeOfHeaders)
		}
		if k == 0 {
			continue
		}
		if p := spans[k-1]; s.start < p.end {
			return fmt.Errorf("%w: section %d %q at %s 0x%x-0x%x and section %d %q at 0x%x-0x%x", ErrSectionOverlap,
				p.i, f.Sections[p.i].Name, what, p.start, p.end, s.i, f.Sections[s.i].Name, s.start, s.end)
		}
	}
	return nil
}

// checkCertTable checks the data directory that points at the certificates.
func (f *File) checkCertTable() error {
	d := f.Directory(DirCertificate)
	if d.Size == 0 {
		return nil
	}
	t := Extent{uint64(d.VirtualAddress), uint64(d.Size)}
	if t.End() > uint64(len(f.Raw)) {
		return fmt.Errorf("%w: 0x%x+0x%x in a file of 0x%x bytes", ErrCertTable, t.Offset, t.Size, len(f.Raw))
	}
	if t.Offset%certAlign != 0 {
		return fmt.Errorf("%w: at 0x%x, not a multiple of %d", ErrCertTable, t.Offset, certAlign)
	}
	if t.Offset < uint64(f.SizeOfHeaders) {
		return fmt.Errorf("%w: at 0x%x, inside the headers of 0x%x bytes", ErrCertTable, t.Offset, f.SizeOfHeaders)
	}
	for i, s := range f.Sections {
		if r := s.Raw(); r.Size > 0 && t.Offset < r.End() {
			return fmt.Errorf("%w: at 0x%x, before the end of section %d %q at 0x%x", ErrCertTable, t.Offset, i, s.Name, r.End())
		}
	}
	f.CertTable = t
	return nil
}

// cString returns b up to its first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Is reports whether b has the MZ and PE signatures. Parse may still refuse
// it.
func Is(b []byte) bool {
	if len(b) < dosHeaderSize || b[0] != 'M' || b[1] != 'Z' {
		return false
	}
	off := uint64(le.Uint32(b[0x3c:]))
	return off+4 <= uint64(len(b)) && string(b[off:off+4]) == "PE\x00\x00"
}
