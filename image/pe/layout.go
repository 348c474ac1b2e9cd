// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	"fmt"
	"math"
)

// Layout is a finished image: headers and, behind them, views of the section
// contents. WriteTo streams it.
type Layout struct {
	// Header holds the first SizeOfHeaders bytes of the image. A caller may
	// change fields it owns, such as those of a zboot header in the DOS
	// part, and then calls UpdateCheckSum.
	Header []byte
	// Sections are the sections as they stand in the section table.
	Sections []Section

	chunks   []chunk
	size     uint64
	checksum uint64 // offset of the CheckSum field
}

// chunk is a run of contents at an offset of the file, at least as far as
// the end of the chunk before it.
type chunk struct {
	off  uint64
	data []byte
}

// Size returns the size of the image in bytes.
func (l *Layout) Size() int64 { return int64(l.size) }

// Layout assigns addresses and offsets. Sections of the image given to
// FromFile keep their addresses; their file offsets change only when the
// larger section table needs the room. CheckSum is set.
func (b *Builder) Layout() (*Layout, error) {
	b.defaults()
	if err := b.checkAlignment(); err != nil {
		return nil, err
	}
	header, table, err := b.header()
	if err != nil {
		return nil, err
	}
	end := table + uint64(len(b.parts))*sectionHeaderSize
	headers := alignUp(end, uint64(b.opt.FileAlignment))
	l := &Layout{}
	if b.base != nil {
		headers = max(headers, uint64(b.base.SizeOfHeaders))
	}
	if err := b.place(l, headers); err != nil {
		return nil, err
	}
	l.Header = make([]byte, headers)
	copy(l.Header, header)
	for i, s := range l.Sections {
		h := l.Header[table+uint64(i)*sectionHeaderSize:]
		copy(h, b.parts[i].rawName[:])
		le.PutUint32(h[8:], s.VirtualSize)
		le.PutUint32(h[12:], s.VirtualAddress)
		le.PutUint32(h[16:], s.SizeOfRawData)
		le.PutUint32(h[20:], s.PointerToRawData)
		le.PutUint32(h[36:], s.Characteristics)
	}
	if err := b.finish(l); err != nil {
		return nil, err
	}
	l.UpdateCheckSum()
	return l, nil
}

// defaults fills in what Options leaves open.
func (b *Builder) defaults() {
	o := &b.opt
	if b.base != nil {
		return
	}
	if o.SectionAlignment == 0 {
		o.SectionAlignment = 4096
	}
	if o.FileAlignment == 0 {
		o.FileAlignment = 512
	}
	if o.Subsystem == 0 {
		o.Subsystem = SubsystemEFIApplication
	}
	if o.Characteristics == 0 {
		const executable, lineNumbers, symbols, large, word32, debug = 0x2, 0x4, 0x8, 0x20, 0x100, 0x200
		o.Characteristics = executable | lineNumbers | symbols | debug
		if o.PE32 {
			o.Characteristics |= word32
		} else {
			o.Characteristics |= large
		}
	}
}

// header returns the bytes before the section table, without what depends on
// the placing of sections, and the table's offset.
func (b *Builder) header() (h []byte, table uint64, err error) {
	n := len(b.parts)
	if b.base != nil {
		f := b.base
		h = bytes.Clone(f.Raw[:f.sectionTable])
		coff := h[f.Offset+4:]
		le.PutUint16(coff[0:], b.opt.Machine)
		le.PutUint16(coff[2:], uint16(n))
		clear(coff[8:16]) // PointerToSymbolTable, NumberOfSymbols
		opt := h[f.optional:]
		le.PutUint16(opt[68:], b.opt.Subsystem)
		le.PutUint16(opt[70:], b.opt.DllCharacteristics)
		if len(f.Directories) > DirCertificate {
			clear(h[f.directoryOffset(DirCertificate):][:directorySize])
		}
		return h, f.sectionTable, nil
	}
	o := &b.opt
	dos := o.DOS
	if dos == nil {
		dos = append([]byte("MZ"), make([]byte, dosHeaderSize-2)...)
	}
	dirs := o.Directories
	if dirs == nil {
		dirs = make([]Directory, maxDirectories)
	}
	if len(dos) < dosHeaderSize || dos[0] != 'M' || dos[1] != 'Z' || len(dos) > math.MaxUint16 {
		return nil, 0, fmt.Errorf("%w: DOS header of 0x%x bytes", ErrBuild, len(dos))
	}
	if len(dirs) > maxDirectories || len(dirs) > DirCertificate && dirs[DirCertificate].Size != 0 {
		return nil, 0, fmt.Errorf("%w: %d data directories, or a certificate table", ErrBuild, len(dirs))
	}
	fixed, magic := optionalFixed64, uint16(magicPE32Plus)
	if o.PE32 {
		fixed, magic = optionalFixed32, magicPE32
		if o.ImageBase > math.MaxUint32 {
			return nil, 0, fmt.Errorf("%w: PE32 image base 0x%x", ErrBuild, o.ImageBase)
		}
	}
	pe := alignUp(uint64(len(dos)), 8)
	optional := pe + 4 + coffHeaderSize
	table = optional + uint64(fixed+len(dirs)*directorySize)
	h = make([]byte, table)
	copy(h, dos)
	le.PutUint32(h[0x3c:], uint32(pe))
	copy(h[pe:], "PE\x00\x00")
	coff := h[pe+4:]
	le.PutUint16(coff[0:], o.Machine)
	le.PutUint16(coff[2:], uint16(n))
	le.PutUint32(coff[4:], o.TimeDateStamp)
	le.PutUint16(coff[16:], uint16(table-optional))
	le.PutUint16(coff[18:], o.Characteristics)
	opt := h[optional:]
	le.PutUint16(opt[0:], magic)
	le.PutUint32(opt[16:], o.EntryPoint)
	if o.PE32 {
		le.PutUint32(opt[28:], uint32(o.ImageBase))
	} else {
		le.PutUint64(opt[24:], o.ImageBase)
	}
	le.PutUint32(opt[32:], o.SectionAlignment)
	le.PutUint32(opt[36:], o.FileAlignment)
	le.PutUint16(opt[68:], o.Subsystem)
	le.PutUint16(opt[70:], o.DllCharacteristics)
	le.PutUint32(opt[fixed-4:], uint32(len(dirs)))
	for i, d := range dirs {
		le.PutUint32(opt[fixed+i*directorySize:], d.VirtualAddress)
		le.PutUint32(opt[fixed+i*directorySize+4:], d.Size)
	}
	return h, table, nil
}

// place gives each section its address and file offset.
func (b *Builder) place(l *Layout, headers uint64) error {
	sa, fa := uint64(b.opt.SectionAlignment), uint64(b.opt.FileAlignment)
	move := false
	next := headers // first free file offset
	free := alignUp(headers, sa)
	for _, p := range b.parts {
		if p.kept && p.SizeOfRawData > 0 {
			move = move || uint64(p.PointerToRawData) < headers
			next = max(next, p.Raw().End())
		}
		if p.kept || p.VirtualAddress != 0 {
			if uint64(p.VirtualAddress) < headers && p.VirtualSize > 0 {
				return fmt.Errorf("%w: headers of 0x%x bytes, section %q at address 0x%x", ErrNoRoom, headers, p.Name, p.VirtualAddress)
			}
			free = max(free, alignUp(uint64(p.VirtualAddress)+uint64(max(p.VirtualSize, 1)), sa))
		}
	}
	if move {
		next = headers
	}
	for _, p := range b.parts {
		s := p.Section
		if !p.kept {
			s.SizeOfRawData = 0
			var n uint64
			for _, d := range p.data {
				n += uint64(len(d))
			}
			n = alignUp(n, fa)
			if s.VirtualAddress == 0 {
				s.VirtualAddress = uint32(free)
				free = alignUp(free+uint64(max(s.VirtualSize, 1)), sa)
			}
			if free > math.MaxUint32 || n > math.MaxUint32 {
				return fmt.Errorf("%w: section %q ends beyond 4 GiB", ErrBuild, s.Name)
			}
			s.SizeOfRawData = uint32(n)
		}
		switch {
		case s.SizeOfRawData == 0:
			s.PointerToRawData = 0
		case !p.kept || move:
			next = alignUp(next, fa)
			if next+uint64(s.SizeOfRawData) > math.MaxUint32 {
				return fmt.Errorf("%w: section %q ends beyond 4 GiB of the file", ErrBuild, s.Name)
			}
			s.PointerToRawData = uint32(next)
			next += uint64(s.SizeOfRawData)
		}
		at := uint64(s.PointerToRawData)
		for _, d := range p.data {
			l.chunks = append(l.chunks, chunk{at, d})
			at += uint64(len(d))
		}
		if s.SizeOfRawData > 0 {
			l.size = max(l.size, uint64(s.PointerToRawData)+uint64(s.SizeOfRawData))
		}
		l.Sections = append(l.Sections, s)
	}
	l.size = max(l.size, headers)
	return sortChunks(l)
}

// finish fills in the header fields that depend on the placing, and checks
// the result with the reader's own rules.
func (b *Builder) finish(l *Layout) error {
	sa := uint64(b.opt.SectionAlignment)
	pe := uint64(le.Uint32(l.Header[0x3c:]))
	opt := l.Header[pe+4+coffHeaderSize:]
	image := alignUp(uint64(len(l.Header)), sa)
	var code, data, bss, codeAt uint64
	for _, s := range l.Sections {
		image = max(image, alignUp(uint64(s.VirtualAddress)+uint64(s.VirtualSize), sa))
		switch {
		case s.Characteristics&SectionCode != 0:
			if code == 0 {
				codeAt = uint64(s.VirtualAddress)
			}
			code += uint64(s.SizeOfRawData)
		case s.Characteristics&SectionInitializedData != 0:
			data += uint64(s.SizeOfRawData)
		case s.Characteristics&SectionUninitializedData != 0:
			bss += uint64(s.VirtualSize)
		}
	}
	if image > math.MaxUint32 || max(code, data, bss) > math.MaxUint32 {
		return fmt.Errorf("%w: image of 0x%x bytes in memory", ErrBuild, image)
	}
	le.PutUint32(opt[4:], uint32(code))
	le.PutUint32(opt[8:], uint32(data))
	le.PutUint32(opt[12:], uint32(bss))
	le.PutUint32(opt[20:], uint32(codeAt))
	le.PutUint32(opt[offSizeOfImage:], uint32(image))
	le.PutUint32(opt[offSizeOfHeaders:], uint32(len(l.Header)))
	l.checksum = pe + 4 + coffHeaderSize + offChecksum

	f := &File{Raw: l.Header}
	n, err := f.parseCOFF()
	if err == nil {
		err = f.parseOptional()
	}
	if err == nil {
		err = f.parseSections(n)
	}
	if err == nil {
		err = f.checkSpans(l.size)
	}
	if err == nil && b.base != nil {
		err = b.fixDebug(l, f)
	}
	return err
}

// fixDebug rewrites the file offsets in the debug directory of a moved image:
// its entries name their data by address and by offset (PE Format, section
// "Debug Directory (Image Only)"; AddressOfRawData at 20, PointerToRawData at
// 24 of 28 bytes). Everything else in an image goes by address.
func (b *Builder) fixDebug(l *Layout, f *File) error {
	const entrySize = 28
	d := b.base.Directory(DirDebug)
	if d.Size == 0 {
		return nil
	}
	off, ok := b.base.FileOffset(d.VirtualAddress, d.Size)
	to, ok2 := f.FileOffset(d.VirtualAddress, d.Size)
	if !ok || !ok2 || off == to {
		return nil
	}
	if d.Size > 64*entrySize || off+uint64(d.Size) > uint64(len(b.base.Raw)) {
		return fmt.Errorf("%w: debug directory of 0x%x bytes at offset 0x%x", ErrBuild, d.Size, off)
	}
	fixed := bytes.Clone(b.base.Raw[off : off+uint64(d.Size)])
	for e := fixed; len(e) >= entrySize; e = e[entrySize:] {
		if at, ok := f.FileOffset(le.Uint32(e[20:]), le.Uint32(e[16:])); ok && le.Uint32(e[20:]) != 0 {
			le.PutUint32(e[24:], uint32(at))
		}
	}
	return l.replace(to, fixed)
}
