// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"debug/elf"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

func TestCoreHeader(t *testing.T) {
	h := withCrash(uefi())
	b, err := CoreHeader(image.ArchX86_64, h)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_CORE || f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 {
		t.Errorf("header = %+v, want a 64-bit x86-64 core", f.FileHeader)
	}
	var got []elf.ProgHeader
	for _, p := range f.Progs {
		got = append(got, p.ProgHeader)
	}
	note := func(at, size uint64) elf.ProgHeader {
		return elf.ProgHeader{Type: elf.PT_NOTE, Off: at, Paddr: at, Filesz: size, Memsz: size}
	}
	load := func(at, end uint64) elf.ProgHeader {
		return elf.ProgHeader{Type: elf.PT_LOAD, Flags: 7, Off: at, Vaddr: 0xffff888000000000 + at, Paddr: at, Filesz: end - at, Memsz: end - at}
	}
	want := []elf.ProgHeader{
		note(0x3f000000, 0x164), note(0x3f010000, 0x164), note(0x3e000000, 0x1024),
		{Type: elf.PT_LOAD, Flags: 7, Off: 16 * mib, Vaddr: 0xffffffff81000000, Paddr: 16 * mib, Filesz: 32 * mib, Memsz: 32 * mib},
		load(mib, gib-0x20000),
		load(4*gib, 4*gib+64*mib), load(4*gib+128*mib, 4*gib+256*mib), load(4*gib+512*mib, 6*gib),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("program headers, -want +got:\n%s", d)
	}

	// Without /proc/kcore no virtual address is known, and none is made up.
	h.PageOffset, h.KernelText = 0, Range{}
	if b, err = CoreHeader(image.ArchX86_64, h); err != nil {
		t.Fatal(err)
	}
	if f, err = elf.NewFile(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if len(f.Progs) != len(want)-1 {
		t.Errorf("%d program headers without the kernel's mapping, want %d", len(f.Progs), len(want)-1)
	}
	for _, p := range f.Progs {
		if p.Vaddr != 0 {
			t.Errorf("%v at %#x has virtual address %#x, want 0", p.Type, p.Paddr, p.Vaddr)
		}
	}

	h.VMCoreInfo = Range{}
	if _, err := CoreHeader(image.ArchX86_64, h); !errors.Is(err, ErrHost) {
		t.Errorf("CoreHeader without vmcoreinfo = %v, want %v", err, ErrHost)
	}
	h = withCrash(uefi())
	for i := range uint64(maxCoreHeaders) {
		h.CrashNotes = append(h.CrashNotes, Range{i, i + 1})
	}
	if _, err := CoreHeader(image.ArchX86_64, h); !errors.Is(err, ErrLimit) {
		t.Errorf("CoreHeader of too many processors = %v, want %v", err, ErrLimit)
	}
}

func TestCrashX86(t *testing.T) {
	h := withCrash(uefi())
	p := mustBuild(t, payload(modern().bytes(), "irqpoll", []byte("initrd")), h, Options{Crash: true})
	region := h.Crash[1]
	for i := range p.Segments {
		if r := p.Segments[i].Range(); !region.Contains(r) {
			t.Errorf("segment %s %v is not in the crash region %v", p.Segments[i].Name, r, region)
		}
	}
	core := p.Segment("elfcorehdr").Range()
	m, page := zeroPage(t, p)
	cmdline := m.text(t, uint64(le.Uint32(page[0x228:]))|uint64(le.Uint32(page[0xc8:]))<<32)
	if want := "elfcorehdr=0x"; !strings.HasPrefix(cmdline, want) || !strings.HasSuffix(cmdline, " irqpoll") || cmdline != p.HandOver.Cmdline {
		t.Errorf("command line = %q, told %q, want %s... irqpoll", cmdline, p.HandOver.Cmdline, want)
	}
	var ram []Range
	for _, e := range p.HandOver.BootParams.E820 {
		r := Range{e.Addr, e.Addr + e.Size}
		if e.Type == E820RAM {
			ram = append(ram, r)
		}
		if e.Type == E820RAM && r.Overlaps(core) {
			t.Errorf("ELF core header %v is RAM of the crash kernel", core)
		}
	}
	want := []Range{{0, 0x9fc00}, h.Crash[0], {region.Start, core.Start}}
	if core.End != region.End {
		want = append(want, Range{core.End, region.End})
	}
	if d := cmp.Diff(want, ram); d != "" {
		t.Errorf("RAM of the crash kernel, -want +got:\n%s", d)
	}
	h.CrashNotes = nil
	if _, err := Build(payload(modern().bytes(), ""), h, Options{Crash: true}); !errors.Is(err, ErrHost) {
		t.Errorf("Build without crash_notes = %v, want %v", err, ErrHost)
	}
	small := modern()
	small.cmdline = 20
	if _, err := Build(payload(small.bytes(), "0123456789"), withCrash(uefi()), Options{Crash: true}); !errors.Is(err, ErrLimit) {
		t.Errorf("Build with no room for elfcorehdr= = %v, want %v", err, ErrLimit)
	}
}

func TestCrashARM64(t *testing.T) {
	h := withCrash(virt(t))
	p := mustBuild(t, payload(arm64Image(), "irqpoll", []byte("initrd")), h, Options{Crash: true})
	for i := range p.Segments {
		if r := p.Segments[i].Range(); !h.Crash[1].Contains(r) {
			t.Errorf("segment %s %v is not in the crash region %v", p.Segments[i].Name, r, h.Crash[1])
		}
	}
	tree := handedTree(t, p)
	c := tree.Chosen()
	v, _ := c.Get("linux,usable-memory-range")
	got, err := fdt.Cells{Address: 2, Size: 2}.Decode(v)
	want := []fdt.Region{{Address: h.Crash[1].Start, Size: h.Crash[1].Size()}, {Address: h.Crash[0].Start, Size: h.Crash[0].Size()}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("linux,usable-memory-range = %v, -want +got:\n%s", err, d)
	}
	core := p.Segment("elfcorehdr").Range()
	v, _ = c.Get("linux,elfcorehdr")
	got, err = fdt.Cells{Address: 2, Size: 2}.Decode(v)
	if d := cmp.Diff([]fdt.Region{{Address: core.Start, Size: core.Size()}}, got); err != nil || d != "" {
		t.Errorf("linux,elfcorehdr = %v, -want +got:\n%s", err, d)
	}
	if r := tree.Reserve[len(tree.Reserve)-1]; r != (fdt.Reservation{Address: core.Start, Size: core.Size()}) {
		t.Errorf("last reservation = %#x, want the ELF core header %v", r, core)
	}
	// A crash kernel that plans another kernel leaves none of it behind.
	again := virt(t)
	again.FDT = p.Segment("dtb").Data
	next := handedTree(t, mustBuild(t, payload(arm64Image(), ""), again, Options{}))
	if len(next.Reserve) != len(tree.Reserve)-1 {
		t.Errorf("reservations %#x, want the ELF core header gone", next.Reserve)
	}
	if s, _ := c.Text("bootargs"); s != "irqpoll" {
		t.Errorf("bootargs = %q, want irqpoll", s)
	}
}
