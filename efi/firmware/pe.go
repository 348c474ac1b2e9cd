// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"fmt"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
)

func machineOf(a image.Arch) uint16 {
	switch a {
	case image.ArchX86_64:
		return 0x8664
	case image.ArchARM64:
		return 0xaa64
	}
	return 0
}

// load puts a PE image into guest memory: headers and sections at their
// addresses, relocated, the rest zero.
func (f *Firmware) load(b []byte) (*loaded, error) {
	if len(f.images) >= maxImages {
		return nil, fmt.Errorf("%w: more than %d images", ErrImage, maxImages)
	}
	p, err := pe.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	switch {
	case p.Machine != machineOf(f.cfg.Arch) || !p.Plus:
		return nil, fmt.Errorf("%w: machine %#x on %s", ErrImage, p.Machine, f.cfg.Arch)
	case p.Subsystem < pe.SubsystemEFIApplication || p.Subsystem > pe.SubsystemEFIRuntimeDriver:
		return nil, fmt.Errorf("%w: subsystem %d", ErrImage, p.Subsystem)
	case p.EntryPoint == 0 || p.EntryPoint >= p.SizeOfImage:
		return nil, fmt.Errorf("%w: entry %#x in %#x bytes", ErrImage, p.EntryPoint, p.SizeOfImage)
	case uint64(p.SizeOfImage) > maxImageSize || uint64(p.SizeOfHeaders) > uint64(len(b)) || p.SizeOfHeaders > p.SizeOfImage:
		return nil, fmt.Errorf("%w: %#x bytes, headers %#x", ErrImage, p.SizeOfImage, p.SizeOfHeaders)
	}
	size := (uint64(p.SizeOfImage) + pageSize - 1) &^ (pageSize - 1)
	base, err := f.imagePlace(size, uint64(p.SectionAlignment))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	img := &loaded{base: base, size: size, entry: base + uint64(p.EntryPoint), file: b}
	m := f.mem[base : base+size : base+size]
	if err := f.touch(m); err != nil {
		return nil, err
	}
	clear(m) // also makes the pages exist, so that they count as contents
	copy(m, b[:p.SizeOfHeaders])
	for _, s := range p.Sections {
		copy(m[s.VirtualAddress:], p.Data(s))
	}
	if err := relocate(m, p, base); err != nil {
		f.setType(base, size, Conventional)
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	if err := f.p.Code(base, size, true, true); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlatform, err)
	}
	f.code = append(f.code, Region{Start: base, Size: size})
	f.images = append(f.images, img)
	return img, nil
}

func (f *Firmware) imagePlace(size, align uint64) (uint64, error) {
	if align&(align-1) != 0 {
		align = pageSize
	}
	align = min(max(align, imageAlign), 16<<20)
	if f.cfg.Arch != image.ArchARM64 || align > imageAlign {
		return f.allocate(LoaderCode, size, align, 0)
	}
	at, err := f.allocate(LoaderCode, size+imageAlign, imageAlign, 0)
	if err != nil {
		return 0, err
	}
	spare := at + size
	if at%(2<<20) == 0 {
		spare, at = at, at+imageAlign
	}
	f.setType(spare, imageAlign, Conventional)
	return at, nil
}

// Types of base relocations (PE format, ".reloc Section").
const (
	relocAbsolute = 0
	relocHighLow  = 3
	relocDir64    = 10
)

// relocate applies base relocations to an image in memory.
func relocate(m []byte, p *pe.File, base uint64) error {
	delta := base - p.ImageBase
	if delta == 0 || len(p.Directories) <= pe.DirBaseReloc {
		return nil
	}
	d := p.Directories[pe.DirBaseReloc]
	at, end := uint64(d.VirtualAddress), uint64(d.VirtualAddress)+uint64(d.Size)
	if d.Size == 0 {
		return nil
	}
	if end > uint64(len(m)) {
		return fmt.Errorf("relocations %#x+%#x in an image of %#x bytes", at, d.Size, len(m))
	}
	// A copy: relocations must not change what they are read from.
	list := bytes.Clone(m[at:end])
	for len(list) >= 8 {
		page, size := uint64(le.Uint32(list)), uint64(le.Uint32(list[4:]))
		if size < 8 || size > uint64(len(list)) {
			return fmt.Errorf("block of %#x bytes of relocations", size)
		}
		for e := list[8:size]; len(e) >= 2; e = e[2:] {
			v := le.Uint16(e)
			to := page + uint64(v&0xfff)
			switch v >> 12 {
			case relocAbsolute:
			case relocHighLow:
				if to+4 > uint64(len(m)) {
					return fmt.Errorf("relocation at %#x", to)
				}
				le.PutUint32(m[to:], le.Uint32(m[to:])+uint32(delta))
			case relocDir64:
				if to+8 > uint64(len(m)) {
					return fmt.Errorf("relocation at %#x", to)
				}
				le.PutUint64(m[to:], le.Uint64(m[to:])+delta)
			default:
				return fmt.Errorf("relocation of type %d", v>>12)
			}
		}
		list = list[size:]
	}
	return nil
}
