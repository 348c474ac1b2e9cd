// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
)

// Options are what the operator decides about a plan. The zero value is a
// plan for the next boot with all that the machine offers.
type Options struct {
	// Crash plans for the crash region.
	Crash bool
	// NoEFI hands over no EFI runtime services.
	NoEFI bool
	// Append is put behind the command line, with a blank between.
	Append string
	// InitrdTail is put behind the RAM disk of a captured state; in the plan
	// of a payload it is a part of that.
	InitrdTail []byte
	// DTB is a device tree to use instead of the payload's or the host's.
	DTB []byte
	// Preserve lists types of setup_data that are handed over as they were
	// handed to the running kernel. Some, IMA's and KHO's among them, point
	// to memory which the running kernel has usually put to other use since;
	// the caller vouches for it.
	Preserve []uint32
	// Min and Max bound the addresses of all segments. Max 0 is no bound.
	Min, Max uint64
	// Rand is where seeds come from; nil is crypto/rand.
	Rand io.Reader
}

func (o *Options) seed(n int) ([]byte, error) {
	r := o.Rand
	if r == nil {
		r = rand.Reader
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read %d bytes of seed: %w", n, err)
	}
	return b, nil
}

// Build makes the plan for a payload on a machine. It chooses the boot
// protocol by architecture and kind of kernel. The plan has passed Validate.
func Build(p *image.Payload, h *Host, o Options) (*Plan, error) {
	kind := kernelKind(p.Kernel.Data)
	if p.Arch != image.ArchUnknown && h.Arch != image.ArchUnknown && p.Arch != h.Arch {
		return nil, fmt.Errorf("boot: kernel for %s, machine is %s: %w", p.Arch, h.Arch, ErrArch)
	}
	arch := p.Arch
	if arch == image.ArchUnknown {
		arch = h.Arch
	}
	if o.Append != "" {
		longer := *p
		longer.Cmdline = joinCmdline(p.Cmdline, o.Append)
		p = &longer
	}
	if strings.IndexByte(p.Cmdline, 0) >= 0 {
		return nil, fmt.Errorf("boot: command line with a NUL: %w", ErrLimit)
	}
	b, err := newBuilder(p, h, o, arch, kind)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	switch {
	case arch == image.ArchX86_64 && kind == image.KindBzImage:
		err = b.bzImage()
	case arch == image.ArchX86_64 && kind == image.KindVmlinux:
		err = b.vmlinuxX86()
	case arch == image.ArchARM64 && (kind == image.KindImage || kind == image.KindVmlinux):
		err = b.arm64()
	case arch == image.ArchRISCV64 && (kind == image.KindImage || kind == image.KindVmlinux):
		err = b.riscv64()
	case arch != image.ArchX86_64 && arch != image.ArchARM64 && arch != image.ArchRISCV64:
		err = fmt.Errorf("%q: %w", arch, ErrArch)
	default:
		err = fmt.Errorf("%s kernel of kind %s: %w", arch, kind, ErrKernel)
	}
	if err != nil {
		return nil, fmt.Errorf("boot: %s %s: %w", arch, kind, err)
	}
	return b.plan.finish(h)
}

// builder is a plan in the making.
type builder struct {
	*image.Payload
	host  *Host
	opts  Options
	space *Space
	page  uint64
	plan  *Plan
}

func newBuilder(p *image.Payload, h *Host, o Options, arch image.Arch, kind image.Kind) (*builder, error) {
	space, err := h.space(o.Crash)
	if err != nil {
		return nil, err
	}
	space.Remove(Range{0, o.Min})
	if o.Max != 0 {
		space.Remove(Range{o.Max, ^uint64(0)})
	}
	b := &builder{Payload: p, host: h, opts: o, space: space, page: h.pageSize(),
		plan: &Plan{Arch: arch, Kind: kind, Crash: o.Crash}}
	b.plan.HandOver.Cmdline = p.Cmdline
	return b, nil
}

// place finds room for a segment and adds it.
func (b *builder) place(s Segment, w Want) (uint64, error) {
	size, ok := roundUp(max(s.MemSize, uint64(len(s.Data))), b.page)
	if !ok {
		return 0, fmt.Errorf("segment %s of %#x bytes: %w", s.Name, s.MemSize, ErrLimit)
	}
	w.Size, w.Align = size, max(w.Align, b.page)
	at, err := b.space.Take(w)
	if err != nil {
		return 0, fmt.Errorf("place %s: %w", s.Name, err)
	}
	s.Phys, s.MemSize, s.Align, s.Max = at, size, w.Align, w.Max
	return at, b.plan.add(s, b.page)
}

// kernelKind tells the kinds of kernel apart that have a boot protocol here.
func kernelKind(k []byte) image.Kind {
	switch {
	case linux.IsELF(k):
		return image.KindVmlinux
	case linux.IsBzImage(k):
		return image.KindBzImage
	case linux.IsImage(k):
		return image.KindImage
	}
	return image.KindUnknown
}

// lz4Legacy is how a legacy lz4 frame begins.
var lz4Legacy = []byte{0x02, 0x21, 0x4c, 0x18}

// initrdParts returns the pieces of the initial RAM disk, each to be placed
// on a page boundary behind the one before it: the kernel takes the zeros
// between archives as padding (init/initramfs.c, unpack_to_rootfs), so that
// pieces need not be copied together. What cannot stay apart is copied, with
// zeros up to a multiple of four: kernels before 5.15 take no more than that
// after a legacy lz4 frame, and there can only be limit pieces.
func initrdParts(parts []image.Part, limit int) [][]byte {
	var out [][]byte
	owned := map[int]bool{} // pieces that are copies and may grow
	join := func(i int) {   // piece i+1 into piece i
		piece := out[i]
		if !owned[i] {
			piece = bytes.Clone(piece)
		}
		piece = append(piece, make([]byte, -len(piece)&3)...)
		out[i] = append(piece, out[i+1]...)
		owned[i] = true
		out = append(out[:i+1], out[i+2:]...)
		for j := i + 1; j < len(out); j++ {
			owned[j] = owned[j+1]
		}
		delete(owned, len(out))
	}
	lz4 := false // the piece before ends with a legacy lz4 frame
	for _, p := range parts {
		if len(p.Data) == 0 {
			continue
		}
		out = append(out, p.Data)
		if lz4 {
			join(len(out) - 2)
		}
		lz4 = bytes.HasPrefix(p.Data, lz4Legacy)
	}
	for len(out) > max(limit, 1) {
		best := 0
		for i := range len(out) - 1 {
			if len(out[i])+len(out[i+1]) < len(out[best])+len(out[best+1]) {
				best = i
			}
		}
		join(best)
	}
	return out
}

// placeInitrd places the initial RAM disk and returns where it is, from the
// first byte of the first piece to the last byte of the last one; nil when
// there is none. keep is how many more segments the plan will get.
func (b *builder) placeInitrd(w Want, keep int) (*Range, error) {
	parts := initrdParts(b.RAMDisk(), MaxSegments-len(b.plan.Segments)-keep)
	if len(parts) == 0 {
		return nil, nil
	}
	var total uint64
	for _, p := range parts {
		n, ok := roundUp(uint64(len(p)), b.page)
		if total += n; !ok || total < n {
			return nil, fmt.Errorf("initrd: %w", ErrLimit)
		}
	}
	w.Size, w.Align = total, max(w.Align, b.page)
	at, err := b.space.Take(w)
	if err != nil {
		return nil, fmt.Errorf("place initrd: %w", err)
	}
	r := Range{Start: at}
	for i, p := range parts {
		s := Segment{Name: "initrd", Phys: at, Data: p, Max: w.Max, Origin: b.origin(p)}
		if i > 0 {
			s.Name = fmt.Sprintf("initrd.%d", i)
		}
		if err := b.plan.add(s, b.page); err != nil {
			return nil, err
		}
		r.End = at + uint64(len(p))
		at += b.plan.Segments[len(b.plan.Segments)-1].MemSize
	}
	b.plan.HandOver.Initrd = &r
	return &r, nil
}

// origin tells which part of the RAM disk a piece is a view of; "" when it is
// a copy of several.
func (b *builder) origin(piece []byte) string {
	for _, p := range b.RAMDisk() {
		if len(p.Data) == len(piece) && len(piece) > 0 && &p.Data[0] == &piece[0] {
			return p.Origin
		}
	}
	return ""
}
