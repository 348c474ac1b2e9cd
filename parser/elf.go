// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"fmt"
)

// The pieces of ELF64 (System V ABI, chapter 4) that containers are made of.
const (
	elfHeaderSize    = 64
	elfSectionSize   = 64
	elfTypeRel       = 1
	elfSectionString = 3
	elfSectionNoBits = 8
	// maxContainerSections bounds the section table: eight programs, one
	// nested container, the null section and the names.
	maxContainerSections = 16
	maxSectionName       = 64
)

// elfSection is a section header with its name and, unless it has none in the
// file, its bytes.
type elfSection struct {
	name string
	kind uint32
	data []byte
}

// isELF64 tells whether b begins as a little endian ELF64 file does.
func isELF64(b []byte) bool {
	return len(b) >= elfHeaderSize && bytes.HasPrefix(b, []byte("\x7fELF\x02\x01"))
}

// elfSections reads the section table of an ELF64 file of at most limit
// sections, the null section left out.
func elfSections(b []byte, limit int) ([]elfSection, error) {
	if !isELF64(b) {
		return nil, fmt.Errorf("%w: not a little endian ELF64 file", ErrContainer)
	}
	off := le.Uint64(b[40:])
	entry, n, names := le.Uint16(b[58:]), int(le.Uint16(b[60:])), int(le.Uint16(b[62:]))
	size := uint64(len(b))
	switch {
	case entry != elfSectionSize:
		return nil, fmt.Errorf("%w: section headers of %d bytes", ErrContainer, entry)
	case n == 0 || names >= n:
		return nil, fmt.Errorf("%w: %d sections, names in section %d", ErrContainer, n, names)
	case n > limit:
		return nil, fmt.Errorf("%w: %d sections, %d allowed", ErrContainer, n, limit)
	case off > size || uint64(n)*elfSectionSize > size-off:
		return nil, fmt.Errorf("%w: %w: section table 0x%x+0x%x in a file of 0x%x bytes", ErrContainer, ErrTruncated, off, n*elfSectionSize, size)
	}
	header := func(i int) []byte { return b[off+uint64(i)*elfSectionSize:][:elfSectionSize] }
	contents := func(i int) ([]byte, error) {
		h := header(i)
		at, n := le.Uint64(h[24:]), le.Uint64(h[32:])
		if le.Uint32(h[4:]) == elfSectionNoBits {
			return nil, nil
		}
		if at > size || n > size-at {
			return nil, fmt.Errorf("%w: %w: section %d 0x%x+0x%x in a file of 0x%x bytes", ErrContainer, ErrTruncated, i, at, n, size)
		}
		return b[at : at+n : at+n], nil
	}
	table, err := contents(names)
	if err != nil {
		return nil, err
	}
	if len(table) == 0 || table[len(table)-1] != 0 {
		return nil, fmt.Errorf("%w: section names without a final NUL", ErrContainer)
	}
	sections := make([]elfSection, 0, n)
	for i := 1; i < n; i++ {
		at := uint64(le.Uint32(header(i)))
		if at >= uint64(len(table)) {
			return nil, fmt.Errorf("%w: name of section %d at 0x%x of 0x%x bytes", ErrContainer, i, at, len(table))
		}
		end := bytes.IndexByte(table[at:], 0)
		if end > maxSectionName {
			return nil, fmt.Errorf("%w: name of section %d of %d bytes", ErrContainer, i, end)
		}
		data, err := contents(i)
		if err != nil {
			return nil, err
		}
		sections = append(sections, elfSection{string(table[at : at+uint64(end)]), le.Uint32(header(i)[4:]), data})
	}
	return sections, nil
}

// writeELF makes a relocatable ELF64 file of sections with contents, in the
// shape that objcopy's recipe for containers yields: data, then the names,
// then the section table on an eight byte boundary.
func writeELF(sections []elfSection) []byte {
	const progbits = 1
	names := []byte{0}
	nameAt := func(s string) uint32 {
		at := len(names)
		names = append(append(names, s...), 0)
		return uint32(at)
	}
	out := make([]byte, elfHeaderSize)
	table := make([]byte, elfSectionSize)
	add := func(name string, kind uint32, data []byte) {
		h := make([]byte, elfSectionSize)
		le.PutUint32(h, nameAt(name))
		if kind == elfSectionString {
			data = names // complete now, this name included
		}
		le.PutUint32(h[4:], kind)
		le.PutUint64(h[24:], uint64(len(out)))
		le.PutUint64(h[32:], uint64(len(data)))
		le.PutUint64(h[48:], 1)
		out = append(out, data...)
		table = append(table, h...)
	}
	for _, s := range sections {
		add(s.name, progbits, s.data)
	}
	add(".shstrtab", elfSectionString, nil)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], elfTypeRel)
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[40:], uint64(len(out)))
	le.PutUint16(out[52:], elfHeaderSize)
	le.PutUint16(out[58:], elfSectionSize)
	le.PutUint16(out[60:], uint16(len(table)/elfSectionSize))
	le.PutUint16(out[62:], uint16(len(table)/elfSectionSize-1))
	return append(out, table...)
}
