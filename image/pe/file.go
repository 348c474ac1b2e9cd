// SPDX-License-Identifier: Apache-2.0

package pe

// Sizes and limits.
const (
	// MaxSections is the largest number of sections that Parse accepts. A
	// UKI with 256 profiles of a dozen sections each stays below it.
	MaxSections = 4096

	dosHeaderSize     = 64
	coffHeaderSize    = 20
	sectionHeaderSize = 40
	directorySize     = 8
	maxDirectories    = 16

	// Bytes of the optional header before the data directories.
	optionalFixed32 = 96
	optionalFixed64 = 112

	// Offsets in the optional header, equal in PE32 and PE32+.
	offChecksum      = 64
	offSizeOfImage   = 56
	offSizeOfHeaders = 60

	magicPE32     = 0x10b
	magicPE32Plus = 0x20b
)

// Numbers of data directories that matter here.
const (
	DirResource    = 2
	DirCertificate = 4 // its VirtualAddress is an offset in the file
	DirBaseReloc   = 5
	DirDebug       = 6
)

// Subsystems of EFI images.
const (
	SubsystemEFIApplication   = 10
	SubsystemEFIBootDriver    = 11
	SubsystemEFIRuntimeDriver = 12
	SubsystemEFIROM           = 13
)

// DllCharacteristics bits that firmware looks at.
const (
	DllDynamicBase = 0x0040
	DllNXCompat    = 0x0100
)

// Characteristics of sections.
const (
	SectionCode              = 0x00000020
	SectionInitializedData   = 0x00000040
	SectionUninitializedData = 0x00000080
	SectionDiscardable       = 0x02000000
	SectionExecute           = 0x20000000
	SectionRead              = 0x40000000
	SectionWrite             = 0x80000000
)

// Extent is a run of bytes of the file, in bytes from its start.
type Extent struct {
	Offset uint64
	Size   uint64
}

// End returns the offset of the first byte after the extent.
func (e Extent) End() uint64 { return e.Offset + e.Size }

// Directory is an entry of the data directories of the optional header.
// VirtualAddress is relative to ImageBase, but an offset in the file for
// DirCertificate. Size is in bytes.
type Directory struct {
	VirtualAddress uint32
	Size           uint32
}

// Section is a section header. All sizes are in bytes; VirtualAddress is
// relative to ImageBase and PointerToRawData to the start of the file.
type Section struct {
	// Name is the eight-byte name up to its first NUL. A name of the form
	// "/123" is looked up in the COFF string table when it is there and
	// gives a name that the header has no room for; names of eight bytes
	// or fewer always stand in the header itself, as firmware reads them.
	Name             string
	VirtualAddress   uint32
	VirtualSize      uint32
	SizeOfRawData    uint32
	PointerToRawData uint32
	Characteristics  uint32
}

// Raw returns where the section's bytes lie in the file, padding included.
func (s Section) Raw() Extent {
	if s.SizeOfRawData == 0 {
		return Extent{}
	}
	return Extent{uint64(s.PointerToRawData), uint64(s.SizeOfRawData)}
}

// ContentSize returns the number of bytes in the file that are the section's
// contents: the smaller one of VirtualSize and SizeOfRawData. What the raw
// data has more is padding to FileAlignment, what VirtualSize has more is
// zeros in memory.
func (s Section) ContentSize() uint32 { return min(s.VirtualSize, s.SizeOfRawData) }

// File is a PE image whose headers were checked by Parse. It is a value for
// reading: its fields and the bytes it refers to must not be changed.
type File struct {
	// Raw is the whole file.
	Raw []byte
	// Offset is the offset of the "PE\0\0" signature in the file.
	Offset uint32
	// Machine is the COFF machine type.
	Machine uint16
	// TimeDateStamp and Characteristics are fields of the COFF header.
	TimeDateStamp   uint32
	Characteristics uint16
	// Plus tells a PE32+ from a PE32 image.
	Plus               bool
	Subsystem          uint16
	DllCharacteristics uint16
	// EntryPoint is relative to ImageBase; 0 means that there is none.
	EntryPoint       uint32
	SectionAlignment uint32
	FileAlignment    uint32
	SizeOfImage      uint32
	SizeOfHeaders    uint32
	CheckSum         uint32
	ImageBase        uint64
	// Directories are the data directories that the file has, at most 16.
	Directories []Directory
	// Sections are in the order of the section table.
	Sections []Section
	// CertTable is where the certificate table lies. Its Size is 0 when
	// there is none.
	CertTable Extent

	optional     uint64 // offset of the optional header
	optionalSize uint64 // as SizeOfOptionalHeader says
	sectionTable uint64 // offset of the section table
}

// Data returns the contents of section s, a view of Raw: min(VirtualSize,
// SizeOfRawData) bytes. It is empty for a section that is not of this file.
func (f *File) Data(s Section) []byte {
	return f.view(uint64(s.PointerToRawData), uint64(s.ContentSize()))
}

// RawData returns the SizeOfRawData bytes of section s, padding included.
func (f *File) RawData(s Section) []byte {
	return f.view(uint64(s.PointerToRawData), uint64(s.SizeOfRawData))
}

func (f *File) view(off, n uint64) []byte {
	if n == 0 || off > uint64(len(f.Raw)) || n > uint64(len(f.Raw))-off {
		return nil
	}
	return f.Raw[off : off+n : off+n]
}

// Find returns the first section of that name.
func (f *File) Find(name string) (Section, bool) {
	for _, s := range f.Sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// Directory returns data directory number i, or a zero one when the file does
// not have it.
func (f *File) Directory(i int) Directory {
	if i < 0 || i >= len(f.Directories) {
		return Directory{}
	}
	return f.Directories[i]
}

// FileOffset returns where in the file the n bytes at address rva (relative
// to ImageBase) lie: in the headers, or in the raw data of one section. ok is
// false when the file does not have all of them.
func (f *File) FileOffset(rva, n uint32) (off uint64, ok bool) {
	end := uint64(rva) + uint64(n)
	if end <= uint64(f.SizeOfHeaders) {
		return uint64(rva), true
	}
	for _, s := range f.Sections {
		start := uint64(s.VirtualAddress)
		if uint64(rva) >= start && end <= start+uint64(s.SizeOfRawData) {
			return uint64(s.PointerToRawData) + uint64(rva) - start, true
		}
	}
	return 0, false
}

// Trimmed returns the file up to the end of its certificate table, or the
// whole file when it has none. A zboot payload carries zeros there that
// stand for the kernel's BSS and would spoil its digest.
func (f *File) Trimmed() []byte {
	if f.CertTable.Size == 0 {
		return f.Raw
	}
	end := f.CertTable.End()
	return f.Raw[:end:end]
}
