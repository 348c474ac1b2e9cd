// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/sealed"
)

// Memory is what a machine starts with in place of a kernel that QEMU loads: segments at physical addresses, and where
// the processor starts, in the state in which the running kernel's kexec leaves it. That is on x86-64 long mode with
// memory up to Top mapped one to one, on arm64 EL1 with the MMU off.
type Memory struct {
	Segments []Segment
	Entry    uint64
	// Top is the end of RAM, for the page tables of x86-64.
	Top uint64
}

// Segment is memory with contents; addresses and sizes are in bytes.
type Segment struct {
	Phys uint64
	Data []byte
}

// Sizes and kinds of an ELF file (System V ABI, chapters 4 and 5).
const (
	elfHeaderSize  = 64
	elfProgramSize = 56
	elfLoad        = 1
	elfNote        = 4
	elfX86         = 62
	elfARM64       = 183
	// maxSegments is more than any plan has.
	maxSegments = 64
	// maxTop bounds the page tables: a page for each GiB.
	maxTop = 64 << 30
)

var le = binary.LittleEndian

// file writes the memory as an ELF file, the form in which QEMU takes segments for given addresses.
func (m *Memory) file(arch image.Arch) (*sealed.Memory, error) {
	machine := map[image.Arch]uint16{image.ArchX86_64: elfX86, image.ArchARM64: elfARM64}[arch]
	if machine == 0 {
		return nil, fmt.Errorf("%w: %q cannot start from segments", ErrArch, arch)
	}
	if len(m.Segments) == 0 || len(m.Segments) > maxSegments {
		return nil, fmt.Errorf("%w: %d segments", ErrConfig, len(m.Segments))
	}
	segments := slices.Clone(m.Segments)
	entry := m.Entry
	var note []byte
	if arch == image.ArchX86_64 {
		if m.Top == 0 || m.Top > maxTop {
			return nil, fmt.Errorf("%w: %#x bytes of memory for a start from segments, at most %#x", ErrConfig, m.Top, uint64(maxTop))
		}
		start := startX86(m.Entry, m.Top)
		for _, s := range segments {
			if s.Phys < startAddress+uint64(len(start)) && s.Phys+uint64(len(s.Data)) > startAddress {
				return nil, fmt.Errorf("%w: segment at %#x is where the processor starts, %#x+%#x", ErrConfig, s.Phys, startAddress, len(start))
			}
		}
		segments = append(segments, Segment{startAddress, start})
		entry = startAddress
		note = pvhNote(startAddress)
	}
	slices.SortFunc(segments, func(a, b Segment) int {
		if a.Phys < b.Phys {
			return -1
		}
		return 1
	})
	head := make([]byte, 0, 4096)
	head = append(head, "\x7fELF\x02\x01\x01"...) // 64-bit, little endian, version 1
	head = append(head, make([]byte, 9)...)
	head = le.AppendUint16(head, 2) // ET_EXEC
	head = le.AppendUint16(head, machine)
	head = le.AppendUint32(head, 1)
	head = le.AppendUint64(head, entry)
	head = le.AppendUint64(head, elfHeaderSize) // e_phoff
	head = le.AppendUint64(head, 0)             // e_shoff
	head = le.AppendUint32(head, 0)             // e_flags
	programs := len(segments)
	if note != nil {
		programs++
	}
	for _, v := range [...]uint16{elfHeaderSize, elfProgramSize, uint16(programs), 0, 0, 0} {
		head = le.AppendUint16(head, v)
	}
	program := func(typ, flags uint32, at, phys, size, align uint64) {
		head = le.AppendUint32(head, typ)
		head = le.AppendUint32(head, flags)
		for _, v := range [...]uint64{at, phys, phys, size, size, align} { // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
			head = le.AppendUint64(head, v)
		}
	}
	const page = 4096 // all headers are in the first one
	at := uint64(page)
	parts := [][]byte{nil}
	for _, s := range segments {
		const rwx = 7
		program(elfLoad, rwx, at, s.Phys, uint64(len(s.Data)), page)
		parts = append(parts, s.Data)
		at += (uint64(len(s.Data)) + page - 1) &^ (page - 1)
	}
	if note != nil {
		noteAt := uint64(page - len(note))
		program(elfNote, 4, noteAt, 0, uint64(len(note)), 4)
		head = append(head, make([]byte, noteAt-uint64(len(head)))...)
		head = append(head, note...)
	}
	parts[0] = append(head, make([]byte, page-len(head))...)
	f, err := sealed.Concat("segments", page, parts...)
	if err != nil {
		return nil, fmt.Errorf("segments: %w", err)
	}
	return f, nil
}

// pvhNote tells the address of a 32-bit entry (Xen, "x86/HVM direct boot ABI", XEN_ELFNOTE_PHYS32_ENTRY).
func pvhNote(entry uint64) []byte {
	var b []byte
	for _, v := range [...]uint32{4, 8, 18} { // n_namesz, n_descsz, n_type
		b = le.AppendUint32(b, v)
	}
	b = append(b, "Xen\x00"...)
	return le.AppendUint64(b, entry)
}

// startAddress is where the code of startX86 and its tables lie: RAM that facts of a machine do not offer to plans.
const startAddress = 1 << 20

// startX86 returns the code that brings the processor from 32-bit protected mode, in which a PVH entry is called, to
// where kexec has it: long mode, with memory up to top and at least 4 GiB mapped one to one.
func startX86(entry, top uint64) []byte {
	const (
		gdt    = 0x80
		gdtr   = 0xa0
		code64 = 0x60
		pml4   = 0x1000
		pdpt   = 0x2000
		pds    = 0x3000
		abs    = uint32(startAddress)
		table  = 0x3     // present, writable
		leaf   = 0x80    // 2 MiB page
		size   = 1 << 21 // of that
	)
	var b []byte
	u32 := func(v uint32) { b = le.AppendUint32(b, v) }
	b = append(b, 0xfa, 0xfc)       // cli; cld
	b = append(b, 0x0f, 0x01, 0x15) // lgdt [gdtr]
	u32(abs + gdtr)
	b = append(b, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0) // mov eax, cr4; or eax, PAE; mov cr4, eax
	b = append(b, 0xb8)                                                 // mov eax, pml4
	u32(abs + pml4)
	b = append(b, 0x0f, 0x22, 0xd8) // mov cr3, eax
	b = append(b, 0xb9)             // mov ecx, EFER
	u32(0xc0000080)
	b = append(b, 0x0f, 0x32)       // rdmsr
	b = append(b, 0x0d)             // or eax, LME
	u32(0x100)                      //
	b = append(b, 0x0f, 0x30)       // wrmsr
	b = append(b, 0x0f, 0x20, 0xc0) // mov eax, cr0
	b = append(b, 0x0d)             // or eax, PG | PE
	u32(0x80000001)                 //
	b = append(b, 0x0f, 0x22, 0xc0) // mov cr0, eax
	b = append(b, 0xea)             // jmp 0x10:code64
	u32(abs + code64)
	b = append(b, 0x10, 0)
	b = append(b, make([]byte, code64-len(b))...)
	for _, r := range [...]byte{0xc0, 0xdb, 0xc9, 0xd2, 0xf6, 0xff, 0xed} { // xor of eax, ebx, ecx, edx, esi, edi, ebp with itself
		b = append(b, 0x31, r)
	}
	b = append(b, 0x48, 0xb8) // movabs rax, entry
	b = le.AppendUint64(b, entry)
	b = append(b, 0xff, 0xe0) // jmp rax
	b = append(b, make([]byte, gdt-len(b)+16)...)
	b = le.AppendUint64(b, 0x00af9a000000ffff) // 0x10: 64-bit code
	b = le.AppendUint64(b, 0x00cf92000000ffff) // 0x18: data
	b = le.AppendUint16(b, 4*8-1)
	b = le.AppendUint64(b, startAddress+gdt)

	gib := max((top+(1<<30)-1)>>30, 4)
	b = append(b, make([]byte, pml4-len(b))...)
	b = le.AppendUint64(b, startAddress+pdpt|table)
	b = append(b, make([]byte, pdpt-len(b))...)
	for i := range gib {
		b = le.AppendUint64(b, startAddress+pds+i*4096|table)
	}
	b = append(b, make([]byte, pds-len(b))...)
	for i := range gib << 30 / size {
		b = le.AppendUint64(b, i*size|leaf|table)
	}
	return b
}
