// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
)

// section is a section on its way into an image.
type section struct {
	name string
	data [][]byte
	// size in memory when it is not that of data.
	size uint32
	// flags are the characteristics, 0 for those the name asks for.
	flags uint32
}

func (s section) len() (n uint64) {
	for _, d := range s.data {
		n += uint64(len(d))
	}
	return n
}

// flagsFor returns the characteristics of a section. The kernel counts as
// code, because the EFI handover protocol once ran it in place; it is not
// executable, since a stub loads it as an image of its own.
func flagsFor(name string) uint32 {
	if name == uki.Linux {
		return pe.SectionCode | pe.SectionRead
	}
	return pe.SectionInitializedData | pe.SectionRead
}

// checkName accepts names that need no string table, which firmware and stubs
// do not read.
func checkName(name string) error {
	if name == "" || len(name) > 8 {
		return fmt.Errorf("%w: %q has %d bytes, want 1 to 8", ErrName, name, len(name))
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '/' {
			return fmt.Errorf("%w: %q", ErrName, name)
		}
	}
	return nil
}

// stub is the code in front of the sections of an image.
type stub struct {
	file *pe.File
	// sections that stand behind it in the image it was cut from.
	rest []section
}

// cut takes an image apart into the stub and the sections that a builder put
// behind it. The stub is a copy, its signature table left out.
func cut(f *pe.File) (*stub, error) {
	keep := 0
	for i, s := range f.Sections {
		if ownedByStub(f, s) {
			keep = i + 1
		}
	}
	end := uint64(f.SizeOfHeaders)
	for _, s := range f.Sections[:keep] {
		end = max(end, s.Raw().End())
	}
	for _, s := range f.Sections[keep:] {
		if s.SizeOfRawData > 0 && uint64(s.PointerToRawData) < end {
			return nil, fmt.Errorf("%w: section %q at offset 0x%x lies between those of the stub, which end at 0x%x", ErrStub, s.Name, s.PointerToRawData, end)
		}
	}
	if end > MaxStub || end > uint64(len(f.Raw)) {
		return nil, fmt.Errorf("%w: 0x%x bytes of code, at most 0x%x", ErrStub, end, MaxStub)
	}
	st := &stub{}
	for _, s := range f.Sections[keep:] {
		sec := section{name: s.Name, data: [][]byte{f.Data(s)}, flags: s.Characteristics}
		if uint64(s.VirtualSize) > sec.len() {
			sec.size = s.VirtualSize
		}
		st.rest = append(st.rest, sec)
	}
	b := bytes.Clone(f.Raw[:end])
	le := binary.LittleEndian
	coff := b[f.Offset+4:]
	table := uint64(f.Offset) + 24 + uint64(le.Uint16(coff[16:]))
	const entry = 40
	if table+uint64(len(f.Sections))*entry > uint64(len(b)) {
		return nil, fmt.Errorf("%w: section table beyond the headers", ErrStub)
	}
	le.PutUint16(coff[2:], uint16(keep))
	clear(coff[8:16]) // PointerToSymbolTable, NumberOfSymbols
	clear(b[table+uint64(keep)*entry : table+uint64(len(f.Sections))*entry])
	if len(f.Directories) > pe.DirCertificate {
		at := uint64(f.Offset) + 24 + 112
		if !f.Plus {
			at -= 16
		}
		clear(b[at+8*pe.DirCertificate:][:8])
	}
	var err error
	if st.file, err = pe.Parse(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStub, err)
	}
	return st, nil
}

// ownedByStub reports whether s is code or data of the program itself.
func ownedByStub(f *pe.File, s pe.Section) bool {
	if _, ok := uki.RuleFor(s.Name); ok {
		return false
	}
	if s.Characteristics&(pe.SectionExecute|pe.SectionWrite) != 0 {
		return true
	}
	holds := func(rva uint32) bool {
		return rva != 0 && rva >= s.VirtualAddress && uint64(rva) < uint64(s.VirtualAddress)+uint64(max(s.VirtualSize, 1))
	}
	for i, d := range f.Directories {
		if i != pe.DirCertificate && d.Size > 0 && holds(d.VirtualAddress) {
			return true
		}
	}
	switch s.Name {
	case ".text", ".rodata", ".rdata", ".data", ".bss", ".sdmagic", ".reloc", ".dynamic", ".dynsym", ".rela", ".dynstr":
		return true
	}
	return holds(f.EntryPoint)
}

// setSBAT puts SBAT text into the section that the stub has for it, where the
// stub's measurement finds it, and returns the section to add when it has none
// or when the text does not fit: then the old one goes.
func (st *stub) setSBAT(text []byte) (add []section, err error) {
	s, ok := st.file.Find(uki.SBAT)
	room := uint64(s.SizeOfRawData)
	for _, o := range st.file.Sections {
		if o.VirtualAddress > s.VirtualAddress {
			room = min(room, uint64(o.VirtualAddress-s.VirtualAddress))
		}
	}
	if !ok || uint64(len(text)) > room {
		if ok {
			err = st.removeSBAT()
		}
		return []section{{name: uki.SBAT, data: [][]byte{text}}}, err
	}
	raw := st.file.RawData(s)
	clear(raw)
	copy(raw, text)
	b := st.file.Raw
	for i, o := range st.file.Sections {
		if o.Name == uki.SBAT {
			binary.LittleEndian.PutUint32(b[st.table()+uint64(i)*sectionEntry+8:], uint32(len(text)))
			break
		}
	}
	st.file, err = pe.Parse(b)
	return nil, err
}

const sectionEntry = 40 // bytes of a section header

// table returns the offset of the section table.
func (st *stub) table() uint64 {
	size := binary.LittleEndian.Uint16(st.file.Raw[st.file.Offset+4+16:])
	return uint64(st.file.Offset) + 24 + uint64(size)
}

// removeSBAT takes .sbat out of the stub, its bytes too: a gap between the
// sections of the file would be covered by no signature.
func (st *stub) removeSBAT() error {
	f, le := st.file, binary.LittleEndian
	s, _ := f.Find(uki.SBAT)
	if f.Directory(pe.DirDebug).Size > 0 {
		// Its entries name offsets in the file.
		return fmt.Errorf("%w: .sbat cannot move out of a stub with a debug directory", ErrStub)
	}
	b := f.Raw
	at, n := st.table(), 0
	for i, o := range f.Sections {
		from := at + uint64(i)*sectionEntry
		h := bytes.Clone(b[from : from+sectionEntry])
		clear(b[from : from+sectionEntry])
		if o.Name == uki.SBAT {
			continue
		}
		if o.PointerToRawData > s.PointerToRawData {
			le.PutUint32(h[20:], o.PointerToRawData-s.SizeOfRawData)
		}
		copy(b[at+uint64(n)*sectionEntry:], h)
		n++
	}
	le.PutUint16(b[f.Offset+4+2:], uint16(n))
	r := s.Raw()
	if r.Size > 0 {
		b = append(b[:r.Offset:r.Offset], b[r.End():]...)
	}
	var err error
	if st.file, err = pe.Parse(b); err != nil {
		return fmt.Errorf("%w: without .sbat: %w", ErrStub, err)
	}
	return nil
}

// layout joins stub and sections.
func (st *stub) layout(sections []section, adjust func(*pe.Builder)) (*pe.Layout, error) {
	b, err := pe.FromFile(st.file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStub, err)
	}
	if adjust != nil {
		adjust(b)
	}
	for _, s := range sections {
		if err := checkName(s.name); err != nil {
			return nil, err
		}
		if n := s.len(); n > MaxFile {
			return nil, fmt.Errorf("%w: section %s of 0x%x bytes, at most 0x%x", ErrLimit, s.name, n, MaxFile)
		}
		n := pe.NewSection{Name: s.name, Data: s.data, VirtualSize: s.size, Characteristics: s.flags}
		if n.Characteristics == 0 {
			n.Characteristics = flagsFor(s.name)
		}
		if err := b.Add(n); err != nil {
			return nil, err
		}
	}
	l, err := b.Layout()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", describe(sections), err)
	}
	return l, nil
}

func describe(sections []section) string {
	var names []string
	for _, s := range sections {
		names = append(names, fmt.Sprintf("%s 0x%x", s.name, s.len()))
	}
	return strings.Join(names, ", ")
}
