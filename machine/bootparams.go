// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/binary"
	"fmt"
)

// Offsets in the x86 boot_params page (Documentation/arch/x86/zero-page.rst
// and boot.rst). All values are little endian.
const (
	bootParamsSize = 4096

	offACPIRSDP    = 0x070 // u64
	offEFIInfo     = 0x1c0 // struct efi_info, 32 bytes
	offE820Entries = 0x1e8 // u8
	offSecureBoot  = 0x1ec // u8: 0 unset, 1 unknown, 2 disabled, 3 enabled
	offE820Table   = 0x2d0 // 128 entries of 20 bytes
	maxE820        = 128
)

// Types of setup_data (kernel: uapi/asm/setup_data.h of x86).
const (
	SetupE820Ext = 1
	SetupDTB     = 2
	SetupPCI     = 3
	SetupEFI     = 4
	SetupApple   = 5
	SetupCCBlob  = 7
	SetupIMA     = 8
	SetupRNGSeed = 9
	SetupKHO     = 10
	// SetupIndirect marks an entry whose data tell where the data lie.
	SetupIndirect = 1 << 31
)

// BootParams is what an x86 boot loader gave to the running kernel.
type BootParams struct {
	// Data is the page struct boot_params, 4096 bytes.
	Data Fact[[]byte] `json:"data"`
	// Version is the boot protocol of the running kernel, such as 0x20f.
	Version Fact[uint64] `json:"version"`
	// SetupData lists the chained setup_data, in the kernel's order.
	SetupData Fact[[]SetupData] `json:"setup_data"`
	// E820 is the e820 table in Data with the SetupE820Ext entries after it.
	E820 Fact[[]MemoryRange] `json:"e820"`
}

// SetupData is one entry of the setup_data list.
type SetupData struct {
	Type uint32 `json:"type"`
	// Data is the payload behind the 16-byte header. Nil for SetupRNGSeed,
	// which is a secret and never read.
	Data []byte `json:"data"`
}

// EFIInfo is struct efi_info at offset 0x1c0 of boot_params.
type EFIInfo struct {
	// Signature is "EL64" or "EL32".
	Signature string `json:"signature"`
	// SystemTable and MemoryMap are physical addresses.
	SystemTable uint64 `json:"system_table"`
	MemoryMap   uint64 `json:"memory_map"`
	// MemoryMapSize and DescriptorSize are in bytes.
	MemoryMapSize     uint32 `json:"memory_map_size"`
	DescriptorSize    uint32 `json:"descriptor_size"`
	DescriptorVersion uint32 `json:"descriptor_version"`
}

// EFIInfo decodes efi_info; false when boot_params are not known or carry no
// EFI signature.
func (b *BootParams) EFIInfo() (EFIInfo, bool) {
	d, ok := b.Data.Get()
	if !ok || len(d) < bootParamsSize {
		return EFIInfo{}, false
	}
	e := d[offEFIInfo : offEFIInfo+32]
	sig := string(e[:4])
	if sig != "EL64" && sig != "EL32" {
		return EFIInfo{}, false
	}
	u := func(o int) uint32 { return binary.LittleEndian.Uint32(e[o:]) }
	info := EFIInfo{
		Signature:         sig,
		SystemTable:       uint64(u(4)),
		DescriptorSize:    u(8),
		DescriptorVersion: u(12),
		MemoryMap:         uint64(u(16)),
		MemoryMapSize:     u(20),
	}
	if sig == "EL64" {
		info.SystemTable |= uint64(u(24)) << 32
		info.MemoryMap |= uint64(u(28)) << 32
	}
	return info, true
}

// secureBoot returns what the EFI stub told the running kernel of Secure
// Boot; false when it told nothing.
func (b *BootParams) secureBoot() (on, known bool) {
	d, ok := b.Data.Get()
	if !ok || len(d) < bootParamsSize {
		return false, false
	}
	return d[offSecureBoot] == 3, d[offSecureBoot] == 2 || d[offSecureBoot] == 3
}

// rsdp returns acpi_rsdp_addr, 0 when it is not set.
func (b *BootParams) rsdp() uint64 {
	d, ok := b.Data.Get()
	if !ok || len(d) < bootParamsSize {
		return 0
	}
	return binary.LittleEndian.Uint64(d[offACPIRSDP:])
}

func readBootParams(s *snapshot) BootParams {
	const dir = "sys/kernel/boot_params"
	var b BootParams
	b.Data = parsed(s.read(dir+"/data", bootParamsSize), func(d []byte) ([]byte, error) {
		if len(d) != bootParamsSize {
			return nil, fmt.Errorf("%w: boot_params has %d bytes, want %d", ErrMalformed, len(d), bootParamsSize)
		}
		return d, nil
	})
	b.Version = parsed(s.read(dir+"/version", 4096), parseHex)
	b.SetupData = readSetupData(s, dir+"/setup_data")
	b.E820 = b.e820()
	return b
}

func readSetupData(s *snapshot, dir string) Fact[[]SetupData] {
	names, f := s.list(dir)
	if f.state == Unknown && f.why == whyAbsent {
		// The kernel makes the directory only when the list is not empty.
		if e := s.exists("sys/kernel/boot_params"); e.Known() && e.Value {
			return KnownFact[[]SetupData](nil, f.path)
		}
	}
	if f.state != Known {
		return lost[[]SetupData](f)
	}
	var out []SetupData
	for _, n := range numbered(names) {
		s.mark(dir+"/"+n, true)
		typ := s.read(dir+"/"+n+"/type", 4096)
		if typ.state != Known {
			return lost[[]SetupData](typ)
		}
		t, err := parseHex(typ.data)
		if err != nil || t > 0xffffffff {
			return unknownFact[[]SetupData](typ.path, "%v", err)
		}
		e := SetupData{Type: uint32(t)}
		if e.Type != SetupRNGSeed {
			data := s.read(dir+"/"+n+"/data", limitFile)
			if data.state != Known {
				return lost[[]SetupData](data)
			}
			e.Data = data.data
		}
		out = append(out, e)
	}
	return KnownFact(out, "/"+dir)
}

func (b *BootParams) e820() Fact[[]MemoryRange] {
	if !b.Data.Known() {
		return Fact[[]MemoryRange]{State: b.Data.State, Source: b.Data.Source, Why: b.Data.Why}
	}
	n := min(int(b.Data.Value[offE820Entries]), maxE820)
	raw := b.Data.Value[offE820Table : offE820Table+n*20]
	out, err := ParseE820(raw)
	for _, sd := range b.SetupData.Value {
		if err != nil || sd.Type != SetupE820Ext {
			continue
		}
		var more []MemoryRange
		// The kernel reads whole entries and leaves what remains.
		more, err = ParseE820(sd.Data[:len(sd.Data)/20*20])
		out = append(out, more...)
	}
	if err != nil {
		return unknownFact[[]MemoryRange](b.Data.Source, "%v", err)
	}
	return KnownFact(out, b.Data.Source)
}
