// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"bytes"
	"fmt"
)

// Sizes of ELF-64 structures and limits of this reader.
const (
	elfHeaderSize  = 64
	elfSegmentSize = 56
	elfSectionSize = 64

	// MaxSegments and MaxELFSections bound the tables ParseELF accepts.
	MaxSegments    = 1024
	MaxELFSections = 8192
)

// ELF is a 64-bit little-endian ELF file.
type ELF struct {
	// Raw is the whole file.
	Raw []byte
	// Arch is the architecture as uname -m spells it, "" if it is none that
	// peel knows.
	Arch string
	// Machine is e_machine, Type is e_type.
	Machine, Type uint16
	// Entry is the virtual address of the entry point.
	Entry uint64
	// Segments are the PT_LOAD program headers in the order of the table.
	Segments []ELFSegment
	// Sections are the section headers without the null one.
	Sections []ELFSection
}

// ELFSegment is a PT_LOAD program header. Sizes are in bytes.
type ELFSegment struct {
	Offset   uint64 // in the file
	FileSize uint64
	MemSize  uint64 // at least FileSize, the rest is zeros
	Virt     uint64
	Phys     uint64
	Align    uint64
	Flags    uint32 // 1 execute, 2 write, 4 read
}

// ELFSection is a section header. Offset and Size are in bytes; a section
// without bytes in the file (SHT_NOBITS) has Size 0.
type ELFSection struct {
	Name         string
	Type         uint32
	Offset, Size uint64
}

// IsELF reports whether b begins like a 64-bit little-endian ELF file.
func IsELF(b []byte) bool {
	return len(b) >= elfHeaderSize && string(b[:4]) == "\x7fELF" && b[4] == 2 && b[5] == 1
}

// ParseELF decodes the ELF, program and section headers of b. Every segment
// and section it returns lies inside the file. It fails with ErrNotKernel,
// ErrTruncated, ErrHeader or ErrLimit.
func ParseELF(b []byte) (*ELF, error) {
	if len(b) < elfHeaderSize {
		return nil, fmt.Errorf("%w: ELF header of %d bytes in a file of %d", ErrTruncated, elfHeaderSize, len(b))
	}
	if !IsELF(b) {
		return nil, fmt.Errorf("%w: no 64-bit little-endian ELF header", ErrNotKernel)
	}
	e := &ELF{Raw: b, Type: le.Uint16(b[16:]), Machine: le.Uint16(b[18:]), Entry: le.Uint64(b[24:])}
	switch e.Machine {
	case 62:
		e.Arch = archX86_64
	case 183:
		e.Arch = archARM64
	case 243:
		e.Arch = archRISCV64
	case 258:
		e.Arch = archLoongArch64
	case 21:
		e.Arch = archPPC64LE
	case 3:
		e.Arch = archX86
	case 40:
		e.Arch = archARM
	}
	if err := e.parseSegments(); err != nil {
		return nil, err
	}
	return e, e.parseSections()
}

// table returns the n entries of size bytes at offset off of the file.
func (e *ELF) table(what string, off uint64, n, size, want, limit int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if n > limit {
		return nil, fmt.Errorf("%w: %d %s headers, limit %d", ErrLimit, n, what, limit)
	}
	if size != want {
		return nil, fmt.Errorf("%w: %s headers of %d bytes, want %d", ErrHeader, what, size, want)
	}
	total := uint64(n) * uint64(want)
	if off > uint64(len(e.Raw)) || total > uint64(len(e.Raw))-off {
		return nil, fmt.Errorf("%w: %s headers 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, what, off, total, len(e.Raw))
	}
	return e.Raw[off : off+total], nil
}

func (e *ELF) parseSegments() error {
	b := e.Raw
	t, err := e.table("program", le.Uint64(b[32:]), int(le.Uint16(b[56:])), int(le.Uint16(b[54:])), elfSegmentSize, MaxSegments)
	if err != nil {
		return err
	}
	for i := 0; len(t) > 0; i, t = i+1, t[elfSegmentSize:] {
		const load = 1
		if le.Uint32(t) != load {
			continue
		}
		s := ELFSegment{
			Flags: le.Uint32(t[4:]), Offset: le.Uint64(t[8:]), Virt: le.Uint64(t[16:]), Phys: le.Uint64(t[24:]),
			FileSize: le.Uint64(t[32:]), MemSize: le.Uint64(t[40:]), Align: le.Uint64(t[48:]),
		}
		if s.FileSize > 0 && (s.Offset > uint64(len(b)) || s.FileSize > uint64(len(b))-s.Offset) {
			return fmt.Errorf("%w: segment %d 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, i, s.Offset, s.FileSize, len(b))
		}
		if s.FileSize > s.MemSize || s.Phys+s.MemSize < s.Phys || s.Virt+s.MemSize < s.Virt {
			return fmt.Errorf("%w: segment %d has 0x%x bytes in the file and 0x%x at 0x%x in memory", ErrHeader, i, s.FileSize, s.MemSize, s.Phys)
		}
		e.Segments = append(e.Segments, s)
	}
	return nil
}

func (e *ELF) parseSections() error {
	b := e.Raw
	n := int(le.Uint16(b[60:]))
	t, err := e.table("section", le.Uint64(b[40:]), n, int(le.Uint16(b[58:])), elfSectionSize, MaxELFSections)
	if err != nil || n == 0 {
		return err
	}
	const noBits = 8
	list := make([]ELFSection, n)
	for i := range list {
		h := t[i*elfSectionSize:]
		s := ELFSection{Type: le.Uint32(h[4:]), Offset: le.Uint64(h[24:]), Size: le.Uint64(h[32:])}
		if s.Type == noBits || s.Type == 0 {
			s.Offset, s.Size = 0, 0
		}
		if s.Offset > uint64(len(b)) || s.Size > uint64(len(b))-s.Offset {
			return fmt.Errorf("%w: section %d 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, i, s.Offset, s.Size, len(b))
		}
		list[i] = s
	}
	names := int(le.Uint16(b[62:]))
	if names >= n {
		return fmt.Errorf("%w: name table is section %d of %d", ErrHeader, names, n)
	}
	strings := e.Data(list[names])
	for i := range list {
		at := uint64(le.Uint32(t[i*elfSectionSize:]))
		if at >= uint64(len(strings)) {
			continue
		}
		tail := strings[at:]
		if end := bytes.IndexByte(tail[:min(len(tail), maxText)], 0); end >= 0 {
			list[i].Name = string(tail[:end])
		}
	}
	e.Sections = list[1:]
	return nil
}

// Data returns the contents of a section as a view of Raw.
func (e *ELF) Data(s ELFSection) []byte {
	end := s.Offset + s.Size
	return e.Raw[s.Offset:end:end]
}

// IsVmlinux reports whether e looks like a kernel: an executable or shared
// object for a known architecture with something to load, and sections that
// only a kernel has, or none at all when they were stripped.
func (e *ELF) IsVmlinux() bool {
	const exec, dyn = 2, 3
	if e.Arch == "" || e.Type != exec && e.Type != dyn || len(e.Segments) == 0 {
		return false
	}
	for _, s := range e.Sections {
		switch s.Name {
		case ".init.text", "__ksymtab", "__param":
			return true
		}
	}
	return len(e.Sections) == 0
}
