// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
)

const (
	twoMiB = 2 << 20
	oneGiB = 1 << 30
	// arm64Window is the memory that must hold kernel and initrd, counted
	// from a multiple of 1 GiB (booting.rst, "Load initrd").
	arm64Window = 32 * oneGiB
	// arm64MaxAddress is where 48-bit physical addresses end, all that a
	// kernel with 4 KiB pages can use.
	arm64MaxAddress = 1 << 48
	// maxJoinGap bounds the zeros that joining two segments of an ELF kernel
	// writes out.
	maxJoinGap = 16 << 20
	// arm64CmdlineSize is COMMAND_LINE_SIZE of arm64 less the NUL
	// (arch/arm64/include/uapi/asm/setup.h).
	arm64CmdlineSize = 2047
	// riscv64CmdlineSize likewise; 512 before Linux 5.15
	// (arch/riscv/include/uapi/asm/setup.h).
	riscv64CmdlineSize = 1023
)

// flat is a kernel as it lies in memory: pieces at offsets from its base.
type flat struct {
	header *linux.Image
	pieces []piece
	size   uint64 // with BSS
}

type piece struct {
	off, memSize uint64
	data         []byte
}

// flatKernel lays out the kernel, an Image or an ELF file.
func (b *builder) flatKernel() (*flat, error) {
	if b.plan.Kind == image.KindVmlinux {
		return b.flatELF()
	}
	k, err := linux.ParseImage(b.Kernel.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrKernel)
	}
	size := max(k.ImageSize, uint64(len(k.Raw)))
	return &flat{k, []piece{{0, size, k.Raw}}, size}, nil
}

// flatELF lays out an ELF kernel. Its addresses are virtual ones; what is
// loaded is laid out as in the Image, whose header stands at the start of the
// first segment (arch/arm64 and arch/riscv, kernel/head.S, vmlinux.lds.S).
func (b *builder) flatELF() (*flat, error) {
	e, err := linux.ParseELF(b.Kernel.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrKernel)
	}
	if e.Arch != string(b.plan.Arch) || !e.IsVmlinux() {
		return nil, fmt.Errorf("ELF of machine %d and type %d: %w", e.Machine, e.Type, ErrKernel)
	}
	f := &flat{}
	var base uint64
	for _, s := range e.Segments {
		if s.MemSize == 0 {
			continue
		}
		data := elfData(e, s)
		if f.header == nil {
			if f.header, err = linux.ParseImage(data); err != nil {
				return nil, fmt.Errorf("first segment: %w: %w", err, ErrKernel)
			}
			base = s.Virt
		}
		if s.Virt < base || len(f.pieces) == MaxSegments-4 {
			return nil, fmt.Errorf("segment at %#x below the first at %#x, or more than %d: %w", s.Virt, base, MaxSegments-4, ErrKernel)
		}
		off := s.Virt - base
		if n := len(f.pieces); n > 0 && off < f.pieces[n-1].off+f.pieces[n-1].memSize {
			return nil, fmt.Errorf("segment at %#x lies over the one before: %w", s.Virt, ErrKernel)
		}
		f.pieces = append(f.pieces, piece{off, s.MemSize, data})
		f.size = off + s.MemSize
	}
	if f.header == nil {
		return nil, fmt.Errorf("nothing to load: %w", ErrKernel)
	}
	f.size = max(f.size, f.header.ImageSize)
	last := &f.pieces[len(f.pieces)-1]
	last.memSize = f.size - last.off
	// Segments go by pages: a piece that does not begin on one must be part
	// of the piece before it.
	for i := 1; i < len(f.pieces); i++ {
		if f.pieces[i].off%b.page != 0 {
			prev := f.pieces[i-1]
			if gap := f.pieces[i].off - prev.off - uint64(len(prev.data)); gap > maxJoinGap {
				return nil, fmt.Errorf("segment at offset %#x is not on a page and %#x zero bytes behind the one before: %w", f.pieces[i].off, gap, ErrKernel)
			}
			f.join(i - 1)
			i--
		}
	}
	return f, nil
}

// join makes one piece, a copy, of piece i and the one after it.
func (f *flat) join(i int) {
	p, q := f.pieces[i], f.pieces[i+1]
	data := make([]byte, q.off-p.off+uint64(len(q.data)))
	copy(data, p.data)
	copy(data[q.off-p.off:], q.data)
	f.pieces[i] = piece{p.off, q.off - p.off + q.memSize, data}
	f.pieces = append(f.pieces[:i+1], f.pieces[i+2:]...)
}

// arm64 plans an Image or a vmlinux.
func (b *builder) arm64() error {
	f, err := b.flatKernel()
	if err != nil {
		return err
	}
	k := f.header
	switch {
	case k.Arch != string(b.plan.Arch):
		return fmt.Errorf("kernel is an Image for %s: %w", k.Arch, ErrKernel)
	case k.ImageSize == 0:
		return fmt.Errorf("image_size is 0, as before Linux 3.17: %w", ErrKernel)
	case k.BigEndian:
		return fmt.Errorf("big-endian kernel: %w", ErrKernel)
	case k.TextOffset >= twoMiB:
		return fmt.Errorf("text_offset %#x: %w", k.TextOffset, ErrKernel)
	case len(b.Cmdline) > arm64CmdlineSize:
		return fmt.Errorf("command line of %d bytes, arm64 kernels take %d: %w", len(b.Cmdline), arm64CmdlineSize, ErrLimit)
	}
	// The lowest place, also for kernels that may be anywhere: others lose
	// the memory below themselves (booting.rst, flags bit 3).
	base, err := b.placeFlat(f, k.TextOffset, Want{Align: twoMiB, Max: arm64MaxAddress})
	if err != nil {
		return err
	}
	window := base &^ (oneGiB - 1)
	if base+f.size > window+arm64Window {
		return fmt.Errorf("kernel %#x+%#x does not fit the window of 32 GiB: %w", base, f.size, ErrNoRoom)
	}
	// Behind the kernel, in its window.
	at, err := b.withDeviceTree(Want{Min: base + f.size, Max: window + arm64Window}, Want{Max: arm64MaxAddress}, 2)
	if err != nil {
		return err
	}
	tramp, err := b.place(Segment{Name: "trampoline", Data: TrampolineARM64(at, base)}, Want{Max: arm64MaxAddress, TopDown: true})
	if err != nil {
		return err
	}
	b.plan.Entry = tramp
	b.plan.HandOver.KernelEntry = base
	return nil
}

// placeFlat places a kernel at offset bytes from an aligned base, from where
// on the memory is its own, and returns its address.
func (b *builder) placeFlat(f *flat, offset uint64, w Want) (uint64, error) {
	size, ok := roundUp(f.size, b.page)
	if !ok || size+offset < size {
		return 0, fmt.Errorf("kernel of %#x bytes: %w", f.size, ErrLimit)
	}
	if offset%b.page != 0 {
		return 0, fmt.Errorf("text_offset %#x is not a multiple of the page size %#x: %w", offset, b.page, ErrKernel)
	}
	w.Size = size + offset
	base, err := b.space.Take(w)
	if err != nil {
		return 0, fmt.Errorf("place kernel: %w", err)
	}
	base += offset
	for i, p := range f.pieces {
		s := Segment{Name: "kernel", Origin: b.Kernel.Origin, Phys: base + p.off, MemSize: p.memSize, Data: p.data, Max: w.Max}
		if i > 0 {
			s.Name = fmt.Sprintf("kernel.%d", i)
		} else if offset == 0 {
			s.Align = w.Align
		}
		if err := b.plan.add(s, b.page); err != nil {
			return 0, err
		}
	}
	return base, nil
}

// withDeviceTree adds initrd, core header and device tree; it returns the
// address of the tree. keep is how many segments come with and after it.
func (b *builder) withDeviceTree(initrd, dtb Want, keep int) (uint64, error) {
	tree, err := b.baseTree()
	if err != nil {
		return 0, err
	}
	c := chosen{cmdline: b.Cmdline}
	if b.opts.Crash {
		core, err := b.placeCoreHeader(Want{Max: dtb.Max, TopDown: true})
		if err != nil {
			return 0, err
		}
		c.core, c.usable = &core, crashUsable(b.host)
	}
	if c.initrd, err = b.placeInitrd(initrd, keep); err != nil {
		return 0, err
	}
	// Up to 2 MiB, on a multiple of 2 MiB, so that it crosses no such
	// boundary (booting.rst, "Setup the device tree").
	dtb.Align, dtb.TopDown = twoMiB, true
	return b.addDeviceTree(tree, c, dtb)
}

// crashUsable is the memory of a crash kernel. What lies below 4 GiB is for
// devices with 32-bit DMA; the main region goes first (drivers/of/kexec.c).
func crashUsable(h *Host) []Range {
	last := len(h.Crash) - 1
	return append([]Range{h.Crash[last]}, h.Crash[:last]...)
}
