// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/machine"
)

// A machine that starts from segments is given an ELF file that holds them,
// and on x86-64 the way from a 32-bit entry into long mode.
func TestMemoryFile(t *testing.T) {
	segments := []Segment{{0x40000000, bytes.Repeat([]byte("kernel"), 1000)}, {0x8000000, []byte("boot_params")}}
	for _, tt := range []struct {
		arch    image.Arch
		machine elf.Machine
		entry   uint64
		loads   int
	}{
		{image.ArchX86_64, elf.EM_X86_64, startAddress, 3},
		{image.ArchARM64, elf.EM_AARCH64, 0x40000010, 2},
	} {
		m := Memory{Segments: segments, Entry: 0x40000010, Top: 6 << 30}
		b, err := m.file(tt.arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != tt.machine || f.Entry != tt.entry || f.Type != elf.ET_EXEC {
			t.Errorf("%s: header %+v, want machine %v and entry %#x", tt.arch, f.FileHeader, tt.machine, tt.entry)
		}
		got := map[uint64][]byte{}
		for _, p := range f.Progs {
			data, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			if p.Type == elf.PT_LOAD {
				got[p.Paddr] = data
			} else if p.Type != elf.PT_NOTE || !bytes.Equal(data, pvhNote(startAddress)) {
				t.Errorf("%s: program header %+v with %x", tt.arch, p.ProgHeader, data)
			}
		}
		if len(got) != tt.loads {
			t.Errorf("%s: %d PT_LOADs, want %d", tt.arch, len(got), tt.loads)
		}
		for _, s := range segments {
			if !bytes.Equal(got[s.Phys], s.Data) {
				t.Errorf("%s: %d bytes at %#x, want those of the segment", tt.arch, len(got[s.Phys]), s.Phys)
			}
		}
		b.Close()
	}
}

func TestMemoryFileErrors(t *testing.T) {
	one := []Segment{{0x40000000, []byte("x")}}
	for _, tt := range []struct {
		name string
		arch image.Arch
		m    Memory
		want error
	}{
		{"riscv64", image.ArchRISCV64, Memory{Segments: one}, ErrArch},
		{"nothing", image.ArchARM64, Memory{}, ErrConfig},
		{"too many", image.ArchARM64, Memory{Segments: make([]Segment, maxSegments+1)}, ErrConfig},
		{"no end of RAM", image.ArchX86_64, Memory{Segments: one}, ErrConfig},
		{"too much RAM", image.ArchX86_64, Memory{Segments: one, Top: maxTop + 1}, ErrConfig},
		{"over the start", image.ArchX86_64, Memory{Segments: []Segment{{startAddress + 0x2000, []byte("x")}}, Top: 1 << 30}, ErrConfig},
	} {
		if _, err := tt.m.file(tt.arch); !errors.Is(err, tt.want) {
			t.Errorf("file(%s) = %v, want %v", tt.name, err, tt.want)
		}
	}
	c := Config{Arch: image.ArchX86_64, Kernel: "k", Memory: &Memory{}}
	if _, err := c.Args(""); !errors.Is(err, ErrConfig) {
		t.Errorf("Args(kernel and memory) = %v, want %v", err, ErrConfig)
	}
}

// The page tables map all memory one to one.
func TestStartX86(t *testing.T) {
	const top = 7<<30 + 1
	b := startX86(0x1234567890, top)
	table := func(entry uint64) uint64 {
		if entry&3 != 3 || entry&^0xfff < startAddress {
			t.Fatalf("table entry %#x", entry)
		}
		return entry&^0xfff - startAddress
	}
	for _, addr := range []uint64{0, startAddress, 0x7fffffff, 4<<30 - 1, 4 << 30, top} {
		pdpt := table(le.Uint64(b[0x1000+addr>>39*8:]))
		pd := table(le.Uint64(b[pdpt+addr>>30&511*8:]))
		e := le.Uint64(b[pd+addr>>21&511*8:])
		if e&0x83 != 0x83 || e&^0x1fffff|addr&0x1fffff != addr {
			t.Errorf("%#x is mapped by %#x, want one to one", addr, e)
		}
	}
	if !bytes.Contains(b[:0x80], []byte{0x90, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0xff, 0xe0}) {
		t.Errorf("code %x does not jump to the entry", b[:0x80])
	}
}

// What QEMU is started with holds the segments; the fake one copies them out.
func TestStartMemory(t *testing.T) {
	c := fake(t, `while [ $# -gt 1 ]; do [ "$1" != -kernel ] || cat "$2"; shift; done`)
	c.Kernel, c.Arch, c.Memory = "", image.ArchARM64, &Memory{Segments: []Segment{{0x40000000, []byte("the segment")}}}
	m := start(t, c)
	if err := m.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(m.Console(), "the segment") {
		t.Errorf("console %q, want what was given to QEMU", m.Console())
	}
	c.Arch = image.ArchRISCV64
	if _, err := Start(context.Background(), c); !errors.Is(err, ErrArch) {
		t.Errorf("Start(riscv64 from memory) = %v, want %v", err, ErrArch)
	}
}

func TestFactsX86(t *testing.T) {
	for _, tt := range []struct {
		mib    int
		top    uint64
		usable int
	}{{0, 511 * mib, 1}, {2815, 2814 * mib, 1}, {2816, 4*gib + 768*mib, 2}, {8192, 10 * gib, 2}} {
		m, top, err := Facts(context.Background(), Config{Arch: image.ArchX86_64, MemoryMiB: tt.mib})
		if err != nil {
			t.Fatal(err)
		}
		free := m.Memory.Usable.Value
		if top != tt.top || len(free) != tt.usable || free[0].Start <= startAddress+0x10000 {
			t.Errorf("Facts(%d MiB): top %#x, free %v, want top %#x and %d ranges above the start", tt.mib, top, free, tt.top, tt.usable)
		}
		for _, f := range free {
			if !slices.ContainsFunc(m.Memory.Map.Value, func(r machine.MemoryRange) bool { return r.Type == machine.RAM && r.Contains(f) }) {
				t.Errorf("Facts(%d MiB): %v is free and no RAM", tt.mib, f)
			}
		}
	}
}

// Sizes that leave nothing above the kept memory, or that wrap around, are
// refused: the end of RAM was once computed below its start.
func TestFactsSizeOfMemory(t *testing.T) {
	for _, n := range []int{1, 2, 38, 62<<10 + 1, 1 << 44} {
		_, top, err := Facts(context.Background(), Config{Arch: image.ArchX86_64, MemoryMiB: n})
		if !errors.Is(err, ErrConfig) {
			t.Errorf("Facts(%d MiB) = top %#x, %v, want %v", n, top, err, ErrConfig)
		}
	}
	for _, n := range []int{39, 62 << 10} {
		m, top, err := Facts(context.Background(), Config{Arch: image.ArchX86_64, MemoryMiB: n})
		if err != nil || len(m.Memory.Usable.Value) == 0 || top > maxTop {
			t.Errorf("Facts(%d MiB) = top %#x, %v, want free memory", n, top, err)
		}
	}
}

func TestFactsARM64(t *testing.T) {
	tree := fdt.New()
	tree.Root.SetU32("#address-cells", 2)
	tree.Root.SetU32("#size-cells", 2)
	if err := tree.SetMemory([]fdt.Region{{Address: gib, Size: 2 * gib}}); err != nil {
		t.Fatal(err)
	}
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dtb")
	if err := os.WriteFile(path, append(b, make([]byte, 4096)...), 0o644); err != nil {
		t.Fatal(err)
	}
	c := fake(t, `for a; do case $a in *dumpdtb=*) cp '`+path+`' "${a##*dumpdtb=}";; esac; done`)
	c.Arch = image.ArchARM64
	m, top, err := Facts(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fdt.Parse(m.FDT.Value); err != nil || top != 3*gib {
		t.Errorf("Facts: %v, %v, top %#x", got, err, top)
	}
	if free := m.Memory.Usable.Value; len(free) != 1 || free[0] != (machine.Range{Start: gib + lowKept, Last: 3*gib - 1 - highKept}) {
		t.Errorf("Facts: free %v", free)
	}
	c = fake(t, "echo no such option >&2; exit 1")
	c.Arch = image.ArchARM64
	if _, _, err := Facts(context.Background(), c); err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("Facts of a QEMU that fails = %v, want what it says", err)
	}
	for _, c := range []Config{{Arch: image.ArchRISCV64}, {Arch: image.ArchX86_64, Firmware: &Firmware{Code: "c"}}} {
		if _, _, err := Facts(context.Background(), c); !errors.Is(err, ErrArch) && !errors.Is(err, ErrConfig) {
			t.Errorf("Facts(%+v) = %v", c, err)
		}
	}
}
