// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"

	"github.com/peelboot/peel/image"
)

// ELF constants of the core header (System V ABI, chapter 5; elf.h).
const (
	elfCore = 4
	ptLoad  = 1
	ptNote  = 4

	emX86_64  = 62
	emAArch64 = 183
	emRISCV   = 243
)

// maxCoreHeaders bounds the program headers of a core header; their number is
// a 16-bit field of which 0xffff is an escape.
const maxCoreHeaders = 0xfffe

// CoreHeader writes the ELF header of the /proc/vmcore of a crash kernel: a
// PT_NOTE for each processor and for VMCOREINFO, a PT_LOAD for the kernel's
// own mapping when it is known, and a PT_LOAD for each range of RAM but the
// crash regions and on x86 the first megabyte (kernel/crash_core.c,
// crash_prepare_elf64_headers). In the
// file that it describes, offsets are physical addresses. Virtual addresses
// that are not known are 0; readers then go by VMCOREINFO.
func CoreHeader(arch image.Arch, h *Host) ([]byte, error) {
	machine := map[image.Arch]uint16{
		image.ArchX86_64: emX86_64, image.ArchARM64: emAArch64, image.ArchRISCV64: emRISCV,
	}[arch]
	if machine == 0 {
		return nil, fmt.Errorf("ELF core header for %q: %w", arch, ErrArch)
	}
	if len(h.CrashNotes) == 0 || h.VMCoreInfo.Size() == 0 {
		return nil, fmt.Errorf("the machine does not tell where crash_notes and vmcoreinfo are: %w", ErrHost)
	}
	ram := normal(h.RAM)
	for _, c := range h.Crash {
		ram = subtract(ram, c)
	}
	if arch == image.ArchX86_64 {
		// The crash kernel has it as RAM of its own (arch/x86/kernel/crash.c,
		// elf_header_exclude_ranges).
		ram = subtract(ram, Range{0, x86MinAddress})
	}
	if len(ram) == 0 {
		return nil, fmt.Errorf("no RAM is known: %w", ErrHost)
	}
	notes := append(append([]Range(nil), h.CrashNotes...), h.VMCoreInfo)
	n := len(notes) + len(ram)
	text := h.KernelText.Size() != 0
	if text {
		n++
	}
	if n > maxCoreHeaders {
		return nil, fmt.Errorf("ELF core header with %d program headers: %w", n, ErrLimit)
	}
	b := make([]byte, 0, 64+56*n)
	b = append(b, "\x7fELF\x02\x01\x01"...) // 64-bit, little endian, version 1
	b = append(b, make([]byte, 9)...)
	b = le.AppendUint16(b, elfCore)
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, 0)  // e_entry
	b = le.AppendUint64(b, 64) // e_phoff
	b = le.AppendUint64(b, 0)  // e_shoff
	b = le.AppendUint32(b, 0)  // e_flags
	for _, v := range [...]uint16{64, 56, uint16(n), 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	header := func(typ, flags uint32, virt uint64, r Range) {
		b = le.AppendUint32(b, typ)
		b = le.AppendUint32(b, flags)
		for _, v := range [...]uint64{r.Start, virt, r.Start, r.Size(), r.Size(), 0} {
			b = le.AppendUint64(b, v) // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
		}
	}
	for _, r := range notes {
		header(ptNote, 0, 0, r)
	}
	const rwx = 7
	if text {
		header(ptLoad, rwx, h.KernelTextVirt, h.KernelText)
	}
	for _, r := range ram {
		virt := uint64(0)
		if h.PageOffset != 0 {
			virt = h.PageOffset + r.Start
		}
		header(ptLoad, rwx, virt, r)
	}
	return b, nil
}

// placeCoreHeader adds the segment with the ELF core header.
func (b *builder) placeCoreHeader(w Want) (Range, error) {
	core, err := CoreHeader(b.plan.Arch, b.host)
	if err != nil {
		return Range{}, err
	}
	at, err := b.place(Segment{Name: "elfcorehdr", Data: core, Private: true}, w)
	if err != nil {
		return Range{}, err
	}
	s := &b.plan.Segments[len(b.plan.Segments)-1]
	r := s.Range()
	b.plan.HandOver.CoreHeader = &Range{at, at + uint64(len(core))}
	return r, nil
}

// crashMap returns the memory map of an x86 crash kernel: RAM only in the
// crash regions, less the ELF core header, and in the first megabyte, which
// kernels since 5.6 leave unused when a crash region is reserved; of the rest
// what is no RAM (arch/x86/kernel/crash.c, crash_setup_memmap_entries).
func crashMap(h *Host, core Range) []E820Entry {
	var out []E820Entry
	for _, e := range h.Map {
		if e.Type != E820RAM {
			out = append(out, e)
		} else if e.Addr < x86MinAddress {
			out = append(out, E820Entry{e.Addr, min(e.Size, x86MinAddress-e.Addr), E820RAM})
		}
	}
	for _, r := range subtract(normal(h.Crash), core) {
		out = append(out, E820Entry{r.Start, r.Size(), E820RAM})
	}
	out = append(out, E820Entry{core.Start, core.Size(), E820Reserved})
	sortE820(out)
	return out
}
