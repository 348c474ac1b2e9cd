// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Errors of the writing side.
var (
	// ErrNoRoom means that a larger section table would reach into the
	// address of the first section.
	ErrNoRoom = errors.New("no room for section headers")
	// ErrBuild means that the parts given to a Builder make no valid image.
	ErrBuild = errors.New("cannot lay out image")
)

// Options describes a new image for NewBuilder. The zero value of a field
// stands for the default told there.
type Options struct {
	// DOS is what precedes the PE header: at least 64 bytes starting with
	// "MZ", whose length is rounded up to 8. The offset of the PE header at
	// 0x3c is filled in. Default: 64 bytes with nothing but the signature.
	DOS                []byte
	Machine            uint16
	PE32               bool   // write a PE32 instead of a PE32+ image
	TimeDateStamp      uint32 // seconds since 1970, default 0: reproducible
	Characteristics    uint16 // default: executable, line numbers, symbols and debug stripped, for PE32+ large address aware
	ImageBase          uint64
	EntryPoint         uint32
	SectionAlignment   uint32 // default 4096
	FileAlignment      uint32 // default 512
	Subsystem          uint16 // default SubsystemEFIApplication
	DllCharacteristics uint16
	Directories        []Directory // default: 16 empty ones; DirCertificate must be empty
}

// NewSection describes a section to add.
type NewSection struct {
	// Name has one to eight bytes.
	Name string
	// Data holds the contents in order, without padding. The slices are
	// kept as views until the layout is written.
	Data [][]byte
	// VirtualSize in bytes; 0 means the length of Data.
	VirtualSize uint32
	// VirtualAddress relative to ImageBase; 0 means the first free aligned
	// address after all other sections.
	VirtualAddress  uint32
	Characteristics uint32
}

// part is a section on its way into a layout.
type part struct {
	Section
	rawName [8]byte
	kept    bool // from an existing image: SizeOfRawData and address stay
	data    [][]byte
}

// Builder collects the sections of an image to be written. It holds views of
// what it is given, never copies, so an image of any size costs headers only.
type Builder struct {
	opt   Options
	base  *File // image the headers come from, or nil
	parts []part
}

// NewBuilder returns a Builder for an image made from nothing.
func NewBuilder(o Options) *Builder { return &Builder{opt: o} }

// FromFile returns a Builder that starts with the headers and sections of f,
// such as a boot stub. The certificate table, COFF symbols and whatever else
// follows the sections are left out.
func FromFile(f *File) (*Builder, error) {
	b := &Builder{base: f, opt: Options{
		Machine: f.Machine, PE32: !f.Plus, ImageBase: f.ImageBase, EntryPoint: f.EntryPoint,
		SectionAlignment: f.SectionAlignment, FileAlignment: f.FileAlignment,
		Subsystem: f.Subsystem, DllCharacteristics: f.DllCharacteristics,
	}}
	if err := b.checkAlignment(); err != nil {
		return nil, err
	}
	for i, s := range f.Sections {
		p := part{Section: s, kept: true}
		copy(p.rawName[:], f.Raw[f.sectionTable+uint64(i)*sectionHeaderSize:])
		if s.SizeOfRawData > 0 {
			p.data = [][]byte{f.RawData(s)}
		}
		b.parts = append(b.parts, p)
	}
	return b, nil
}

func (b *Builder) checkAlignment() error {
	sa, fa := b.opt.SectionAlignment, b.opt.FileAlignment
	if bits.OnesCount32(sa) != 1 || bits.OnesCount32(fa) != 1 || sa > 1<<24 || fa > 1<<16 {
		return fmt.Errorf("%w: section alignment 0x%x, file alignment 0x%x", ErrBuild, sa, fa)
	}
	return nil
}

// Add appends a section.
func (b *Builder) Add(s NewSection) error {
	if len(s.Name) < 1 || len(s.Name) > 8 {
		return fmt.Errorf("%w: section name %q is not of 1 to 8 bytes", ErrBuild, s.Name)
	}
	var size uint64
	for _, d := range s.Data {
		size += uint64(len(d))
	}
	if size > math.MaxUint32/2 {
		return fmt.Errorf("%w: section %q of 0x%x bytes", ErrBuild, s.Name, size)
	}
	if len(b.parts) == MaxSections {
		return fmt.Errorf("%w: section %q is number %d", ErrSectionCount, s.Name, len(b.parts)+1)
	}
	p := part{data: s.Data, Section: Section{
		Name: s.Name, VirtualAddress: s.VirtualAddress, VirtualSize: s.VirtualSize,
		SizeOfRawData: uint32(size), Characteristics: s.Characteristics,
	}}
	copy(p.rawName[:], s.Name)
	if p.VirtualSize == 0 {
		p.VirtualSize = uint32(size)
	}
	b.parts = append(b.parts, p)
	return nil
}

// Remove drops every section of that name and returns how many there were.
func (b *Builder) Remove(name string) int {
	n := 0
	keep := b.parts[:0:0]
	for _, p := range b.parts {
		if p.Name == name {
			n++
			continue
		}
		keep = append(keep, p)
	}
	b.parts = keep
	return n
}

// SetSubsystem sets the Subsystem field.
func (b *Builder) SetSubsystem(v uint16) { b.opt.Subsystem = v }

// SetDllCharacteristics sets the DllCharacteristics field.
func (b *Builder) SetDllCharacteristics(v uint16) { b.opt.DllCharacteristics = v }

// SetMachine sets the Machine field.
func (b *Builder) SetMachine(v uint16) { b.opt.Machine = v }
