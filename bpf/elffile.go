// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The parts of ELF64 (little endian) that BPF objects and light skeletons
// use: section headers and the symbol table. Everything is a view of the
// bytes; nothing is decompressed and no size is believed.

const (
	elfMachineBPF = 247 // EM_BPF

	sectionProgbits = 1
	sectionSymtab   = 2
	sectionNobits   = 8
	sectionRel      = 9

	flagWrite = 1
	flagAlloc = 2
	flagExec  = 4

	bindLocal  = 0
	bindGlobal = 1
	bindWeak   = 2

	symbolFunc    = 2
	symbolSection = 3

	// Section numbers from here on are not sections (SHN_LORESERVE).
	sectionReserve = 0xff00

	maxSections = 4096
	maxSymbols  = 1 << 18
)

type elfFile struct {
	raw      []byte
	kind     uint16 // e_type
	machine  uint16
	sections []elfSection
	symtab   int // index of the first symbol table, 0 if none
	symbols  []elfSymbol
}

type elfSection struct {
	name       string
	typ        uint32
	flags      uint64
	off, size  uint64
	link, info uint32
	data       []byte // nil for NOBITS
}

type elfSymbol struct {
	name    string
	bind    uint8
	typ     uint8
	section int // 0 is undefined; -1 is absolute or otherwise no section
	value   uint64
	size    uint64
}

// parseELF reads the tables of an ELF64 file.
func parseELF(b []byte) (*elfFile, error) {
	le := binary.LittleEndian
	if len(b) > MaxObjectBytes {
		return nil, fmt.Errorf("object of %#x bytes, %#x allowed: %w", len(b), MaxObjectBytes, ErrLimit)
	}
	if len(b) < 64 {
		return nil, fmt.Errorf("ELF header in %#x bytes: %w", len(b), ErrTruncated)
	}
	if !bytes.HasPrefix(b, []byte("\x7fELF")) {
		return nil, fmt.Errorf("no ELF magic: %w", ErrFormat)
	}
	if b[4] != 2 || b[5] != 1 {
		return nil, fmt.Errorf("ELF class %d, data encoding %d: %w", b[4], b[5], ErrUnsupported)
	}
	f := &elfFile{raw: b, kind: le.Uint16(b[16:]), machine: le.Uint16(b[18:])}
	off, n := le.Uint64(b[40:]), uint64(le.Uint16(b[60:]))
	size, names := uint64(le.Uint16(b[58:])), uint64(le.Uint16(b[62:]))
	if n == 0 {
		return f, nil
	}
	if size != 64 {
		return nil, fmt.Errorf("ELF section header of %d bytes: %w", size, ErrFormat)
	}
	if n > maxSections {
		return nil, fmt.Errorf("%d ELF sections: %w", n, ErrLimit)
	}
	if off > uint64(len(b)) || n*64 > uint64(len(b))-off {
		return nil, fmt.Errorf("ELF section headers at %#x+%#x of %#x bytes: %w", off, n*64, len(b), ErrTruncated)
	}
	f.sections = make([]elfSection, n)
	nameOff := make([]uint32, n)
	for i := range f.sections {
		h := b[off+uint64(i)*64:][:64]
		s := &f.sections[i]
		nameOff[i] = le.Uint32(h)
		s.typ, s.flags = le.Uint32(h[4:]), le.Uint64(h[8:])
		s.off, s.size = le.Uint64(h[24:]), le.Uint64(h[32:])
		s.link, s.info = le.Uint32(h[40:]), le.Uint32(h[44:])
		if s.typ == sectionNobits || i == 0 {
			continue
		}
		if s.off > uint64(len(b)) || s.size > uint64(len(b))-s.off {
			return nil, fmt.Errorf("ELF section %d at %#x+%#x of %#x bytes: %w", i, s.off, s.size, len(b), ErrTruncated)
		}
		s.data = b[s.off : s.off+s.size : s.off+s.size]
	}
	if names < n {
		for i := range f.sections {
			var err error
			if f.sections[i].name, err = cstr(f.sections[names].data, nameOff[i]); err != nil {
				return nil, fmt.Errorf("name of ELF section %d: %w", i, err)
			}
		}
	}
	return f, f.parseSymbols()
}

// cstr reads a NUL-terminated name of bounded length.
func cstr(table []byte, off uint32) (string, error) {
	if uint64(off) > uint64(len(table)) {
		return "", fmt.Errorf("string at %#x of %#x: %w", off, len(table), ErrTruncated)
	}
	b := table[off:]
	if len(b) > maxName {
		b = b[:maxName]
	}
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		if len(b) == 0 {
			return "", nil
		}
		return "", fmt.Errorf("string at %#x without NUL: %w", off, ErrFormat)
	}
	return string(b[:i]), nil
}

// parseSymbols reads the first symbol table with a valid string table.
func (f *elfFile) parseSymbols() error {
	le := binary.LittleEndian
	for i := range f.sections {
		s := &f.sections[i]
		if s.typ != sectionSymtab || s.link == 0 || int64(s.link) >= int64(len(f.sections)) {
			continue
		}
		f.symtab = i
		n := len(s.data) / 24
		if n > maxSymbols {
			return fmt.Errorf("%d ELF symbols: %w", n, ErrLimit)
		}
		names := f.sections[s.link].data
		f.symbols = make([]elfSymbol, n)
		for k := range f.symbols {
			e := s.data[24*k:]
			y := &f.symbols[k]
			var err error
			if y.name, err = cstr(names, le.Uint32(e)); err != nil {
				return fmt.Errorf("name of ELF symbol %d: %w", k, err)
			}
			y.bind, y.typ = e[4]>>4, e[4]&15
			y.value, y.size = le.Uint64(e[8:]), le.Uint64(e[16:])
			y.section = int(le.Uint16(e[6:]))
			if y.section >= sectionReserve {
				y.section = -1
			} else if y.section >= len(f.sections) {
				return fmt.Errorf("ELF symbol %d in section %d of %d: %w", k, y.section, len(f.sections), ErrFormat)
			}
		}
		return nil
	}
	return nil
}

// section finds a section by name; 0 if there is none.
func (f *elfFile) section(name string) int {
	for i := 1; i < len(f.sections); i++ {
		if f.sections[i].name == name {
			return i
		}
	}
	return 0
}

// symbolAt returns a symbol of the table, by its number in a relocation.
func (f *elfFile) symbolAt(n uint32) (*elfSymbol, error) {
	if uint64(n) >= uint64(len(f.symbols)) {
		return nil, fmt.Errorf("ELF symbol %d of %d: %w", n, len(f.symbols), ErrFormat)
	}
	return &f.symbols[n], nil
}
