// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// BootParamsSize is the size of struct boot_params in bytes.
const BootParamsSize = 4096

// Offsets in struct boot_params, the zero page (Documentation/arch/x86/
// zero-page.rst, arch/x86/include/uapi/asm/bootparam.h). All is little
// endian.
const (
	bpScreenInfo     = 0x000 // 64 bytes
	bpExtMemK        = 0x002 // u16
	bpACPIRSDP       = 0x070 // u64
	bpExtRamdisk     = 0x0c0 // u32, upper half of bpRamdisk
	bpExtRamdiskSize = 0x0c4
	bpExtCmdline     = 0x0c8
	bpEDIDInfo       = 0x140 // 128 bytes
	bpEFIInfo        = 0x1c0 // 32 bytes
	bpE820Entries    = 0x1e8 // u8
	bpEDDEntries     = 0x1e9 // u8
	bpEDDSigEntries  = 0x1ea // u8
	bpSecureBoot     = 0x1ec // u8
	bpHeader         = 0x1f1 // struct setup_header
	bpBootFlag       = 0x1fe // u16
	bpMagic          = 0x202 // "HdrS"
	bpVersion        = 0x206 // u16
	bpLoaderType     = 0x210 // u8
	bpLoadFlags      = 0x211 // u8
	bpRamdisk        = 0x218 // u32
	bpRamdiskSize    = 0x21c // u32
	bpCmdline        = 0x228 // u32
	bpCmdlineSize    = 0x238 // u32
	bpSubarch        = 0x23c // u32
	bpSetupData      = 0x250 // u64
	bpHeaderEnd      = 0x290
	bpEDDSig         = 0x290 // 16 u32
	bpE820           = 0x2d0 // 128 entries of 20 bytes
	bpEDD            = 0xd00 // 6 entries of 82 bytes
	bpEDDEnd         = 0xeec
	maxE820          = 128
	e820Size         = 20
)

// loaderType is what boot.rst assigns to kexec-tools and the kernel's own
// kexec uses: D in the upper half.
const loaderType = 0xd0

// loadedHigh is the bit of loadflags that says that the code is not at 64 KiB.
const loadedHigh = 1

// BootParams is a boot_params page.
type BootParams [BootParamsSize]byte

var le = binary.LittleEndian

// NewBootParams makes a page from a setup header: the bytes of a bzImage from
// offset 0x1f1 on. A nil header is made up for a kernel that has none, a
// vmlinux.
func NewBootParams(header []byte) (*BootParams, error) {
	p := &BootParams{}
	if len(header) > bpHeaderEnd-bpHeader {
		return nil, fmt.Errorf("setup header of %#x bytes, at most %#x: %w", len(header), bpHeaderEnd-bpHeader, ErrKernel)
	}
	if header == nil {
		le.PutUint16(p[bpBootFlag:], 0xaa55)
		copy(p[bpMagic:], "HdrS")
		le.PutUint16(p[bpVersion:], 0x020f)
		p[bpLoadFlags] = loadedHigh
		le.PutUint32(p[bpCmdlineSize:], x86CmdlineSize)
	}
	copy(p[bpHeader:], header)
	p[bpLoaderType] = loaderType
	return p, nil
}

// CopyMachine takes over from the page of the running kernel what tells of
// the machine and not of that kernel: screen, EDID, EDD, Secure Boot, kind of
// hardware (kexec-bzimage64.c, setup_boot_parameters).
func (p *BootParams) CopyMachine(running []byte) {
	if len(running) != BootParamsSize {
		return
	}
	for _, r := range [...][2]int{
		{bpScreenInfo, 64}, {bpEDIDInfo, 128}, {bpEDDEntries, 2}, {bpSecureBoot, 1},
		{bpSubarch, 4}, {bpEDDSig, 64}, {bpEDD, bpEDDEnd - bpEDD},
	} {
		copy(p[r[0]:r[0]+r[1]], running[r[0]:])
	}
	// The memory map says it better.
	le.PutUint16(p[bpExtMemK:], 0)
}

// SetRSDP sets the address of ACPI's root pointer.
func (p *BootParams) SetRSDP(addr uint64) { le.PutUint64(p[bpACPIRSDP:], addr) }

// SetInitrd says where the initial RAM disk is.
func (p *BootParams) SetInitrd(r Range) {
	le.PutUint32(p[bpRamdisk:], uint32(r.Start))
	le.PutUint32(p[bpExtRamdisk:], uint32(r.Start>>32))
	le.PutUint32(p[bpRamdiskSize:], uint32(r.Size()))
	le.PutUint32(p[bpExtRamdiskSize:], uint32(r.Size()>>32))
}

// SetCmdline says where the command line with its NUL is.
func (p *BootParams) SetCmdline(addr uint64) {
	le.PutUint32(p[bpCmdline:], uint32(addr))
	le.PutUint32(p[bpExtCmdline:], uint32(addr>>32))
}

// SetSetupData says where the first setup_data is, 0 for none.
func (p *BootParams) SetSetupData(addr uint64) { le.PutUint64(p[bpSetupData:], addr) }

// SetEFI fills efi_info: the firmware's system table, and at mapAddr an array
// of EFIDescriptorSize bytes an entry. mapSize is in bytes.
func (p *BootParams) SetEFI(systemTable, mapAddr, mapSize uint64) {
	e := p[bpEFIInfo : bpEFIInfo+32]
	copy(e, "EL64")
	le.PutUint32(e[4:], uint32(systemTable))
	le.PutUint32(e[8:], EFIDescriptorSize)
	le.PutUint32(e[12:], 1) // EFI_MEMORY_DESCRIPTOR_VERSION
	le.PutUint32(e[16:], uint32(mapAddr))
	le.PutUint32(e[20:], uint32(mapSize))
	le.PutUint32(e[24:], uint32(systemTable>>32))
	le.PutUint32(e[28:], uint32(mapAddr>>32))
}

// ClearEFI removes efi_info: the kernel starts as on a machine with a BIOS.
func (p *BootParams) ClearEFI() { clear(p[bpEFIInfo : bpEFIInfo+32]) }

// SetE820 fills the memory map and returns the data of the SETUP_E820_EXT
// that holds what is more than 128 entries, nil when all fit.
func (p *BootParams) SetE820(m []E820Entry) []byte {
	p[bpE820Entries] = byte(min(len(m), maxE820))
	encodeE820(p[bpE820:bpE820:bpE820+maxE820*e820Size], m[:min(len(m), maxE820)])
	if len(m) <= maxE820 {
		return nil
	}
	return encodeE820(nil, m[maxE820:])
}

func encodeE820(b []byte, m []E820Entry) []byte {
	for _, e := range m {
		b = le.AppendUint64(b, e.Addr)
		b = le.AppendUint64(b, e.Size)
		b = le.AppendUint32(b, e.Type)
	}
	return b
}

func decodeE820(b []byte) []E820Entry {
	var m []E820Entry
	for ; len(b) >= e820Size; b = b[e820Size:] {
		m = append(m, E820Entry{le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[16:])})
	}
	return m
}

// BootParamsInfo is a boot_params page for people.
type BootParamsInfo struct {
	Address     uint64          `json:"address"`
	Protocol    string          `json:"protocol"`
	LoaderType  uint8           `json:"loader_type"`
	Cmdline     uint64          `json:"cmdline_address"`
	Ramdisk     Range           `json:"ramdisk"`
	RSDP        uint64          `json:"acpi_rsdp"`
	SecureBoot  uint8           `json:"secure_boot"`
	VideoType   uint8           `json:"video_type"`
	E820        []E820Entry     `json:"e820"`
	EFI         *EFIInfo        `json:"efi,omitempty"`
	EFIMap      []EFIDescriptor `json:"efi_map,omitempty"`
	SetupData   []SetupDataInfo `json:"setup_data,omitempty"`
	FirmwareEFI *SetupEFIInfo   `json:"setup_efi,omitempty"`
}

// EFIInfo is efi_info of boot_params.
type EFIInfo struct {
	Signature      string `json:"signature"`
	SystemTable    uint64 `json:"system_table"`
	DescriptorSize uint32 `json:"descriptor_size"`
	MapAddress     uint64 `json:"map_address"`
	MapSize        uint64 `json:"map_size"`
}

// SetupDataInfo is an entry of the setup_data list.
type SetupDataInfo struct {
	Type    uint32 `json:"type"`
	Name    string `json:"name"`
	Address uint64 `json:"address"`
	Size    uint64 `json:"size"` // of the data behind the header
}

// DecodeBootParams decodes a page at address, and with read, which returns
// bytes of the plan's memory or nil, what it points to.
func DecodeBootParams(p *BootParams, address uint64, read func(addr, size uint64) []byte) *BootParamsInfo {
	u64 := func(low, high int) uint64 { return uint64(le.Uint32(p[low:])) | uint64(le.Uint32(p[high:]))<<32 }
	ver := le.Uint16(p[bpVersion:])
	i := &BootParamsInfo{
		Address:    address,
		Protocol:   fmt.Sprintf("%d.%02d", ver>>8, ver&0xff),
		LoaderType: p[bpLoaderType],
		Cmdline:    u64(bpCmdline, bpExtCmdline),
		RSDP:       le.Uint64(p[bpACPIRSDP:]),
		SecureBoot: p[bpSecureBoot],
		VideoType:  p[bpScreenInfo+0x0f],
		E820:       decodeE820(p[bpE820 : bpE820+e820Size*min(int(p[bpE820Entries]), maxE820)]),
	}
	i.Ramdisk.Start = u64(bpRamdisk, bpExtRamdisk)
	i.Ramdisk.End = i.Ramdisk.Start + u64(bpRamdiskSize, bpExtRamdiskSize)
	if e := p[bpEFIInfo : bpEFIInfo+32]; e[0] != 0 {
		i.EFI = &EFIInfo{
			Signature:      string(e[:4]),
			SystemTable:    u64(bpEFIInfo+4, bpEFIInfo+24),
			DescriptorSize: le.Uint32(e[8:]),
			MapAddress:     u64(bpEFIInfo+16, bpEFIInfo+28),
			MapSize:        uint64(le.Uint32(e[20:])),
		}
		i.EFIMap = decodeEFIMap(read(i.EFI.MapAddress, i.EFI.MapSize), int(i.EFI.DescriptorSize))
	}
	at := le.Uint64(p[bpSetupData:])
	for at != 0 && len(i.SetupData) < 64 {
		h := read(at, setupHeaderSize)
		if h == nil {
			break
		}
		typ, size := le.Uint32(h[8:]), uint64(le.Uint32(h[12:]))
		i.SetupData = append(i.SetupData, SetupDataInfo{typ, setupName(typ), at, size})
		data := read(at+setupHeaderSize, size)
		switch typ {
		case SetupE820Ext:
			i.E820 = append(i.E820, decodeE820(data)...)
		case SetupEFI:
			if len(data) >= 32 {
				i.FirmwareEFI = &SetupEFIInfo{le.Uint64(data), le.Uint64(data[16:]), le.Uint64(data[24:])}
			}
		}
		at = le.Uint64(h)
	}
	return i
}

func (i *BootParamsInfo) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "boot_params at %#x, protocol %s\n", i.Address, i.Protocol)
	if i.RSDP != 0 {
		fmt.Fprintf(&b, "  ACPI RSDP %#x\n", i.RSDP)
	}
	if e := i.EFI; e != nil {
		fmt.Fprintf(&b, "  EFI %s system table %#x, memory map %#x+%#x\n", e.Signature, e.SystemTable, e.MapAddress, e.MapSize)
		for _, d := range i.EFIMap {
			fmt.Fprintf(&b, "    type %d, %#x pages at %#x mapped at %#x, attributes %#x\n", d.Type, d.Pages, d.Phys, d.Virt, d.Attribute)
		}
	}
	for _, s := range i.SetupData {
		fmt.Fprintf(&b, "  setup_data %s, %#x bytes at %#x\n", s.Name, s.Size, s.Address)
	}
	for _, e := range i.E820 {
		fmt.Fprintf(&b, "  e820 %v\n", e)
	}
	return b.String()
}
