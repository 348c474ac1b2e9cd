// SPDX-License-Identifier: Apache-2.0

package boot

import "fmt"

// Types of setup_data (arch/x86/include/uapi/asm/setup_data.h).
const (
	SetupE820Ext   = 1
	SetupDTB       = 2
	SetupPCI       = 3
	SetupEFI       = 4
	SetupApple     = 5
	SetupJailhouse = 6
	SetupCCBlob    = 7
	SetupIMA       = 8
	SetupRNGSeed   = 9
	SetupKHO       = 10

	setupIndirect   = 1 << 31
	setupHeaderSize = 16 // u64 next, u32 type, u32 len
)

func setupName(typ uint32) string {
	names := [...]string{
		SetupE820Ext: "E820_EXT", SetupDTB: "DTB", SetupPCI: "PCI", SetupEFI: "EFI", SetupApple: "APPLE_PROPERTIES",
		SetupJailhouse: "JAILHOUSE", SetupCCBlob: "CC_BLOB", SetupIMA: "IMA", SetupRNGSeed: "RNG_SEED", SetupKHO: "KEXEC_KHO",
	}
	if typ < uint32(len(names)) && names[typ] != "" {
		return names[typ]
	}
	return fmt.Sprintf("type %#x", typ)
}

// SetupData is an entry of the list at setup_data of boot_params, without its
// header.
type SetupData struct {
	Type uint32
	Data []byte
}

// EncodeSetupData writes entries as the list that boot_params point to, for
// the address at, a multiple of 8. Each entry begins on a multiple of 8. An
// empty list is no bytes.
func EncodeSetupData(at uint64, entries []SetupData) []byte {
	var b []byte
	for i, e := range entries {
		size := (setupHeaderSize + len(e.Data) + 7) &^ 7
		next := uint64(0)
		if i < len(entries)-1 {
			next = at + uint64(len(b)+size)
		}
		start := len(b)
		b = le.AppendUint64(b, next)
		b = le.AppendUint32(b, e.Type)
		b = le.AppendUint32(b, uint32(len(e.Data)))
		b = append(b, e.Data...)
		b = append(b, make([]byte, start+size-len(b))...)
	}
	return b
}

// EFIDescriptorSize is the size in bytes of the descriptors in EncodeEFIMap:
// what firmware uses, of which the UEFI specification defines the first 40.
const EFIDescriptorSize = 48

// EncodeEFIMap writes descriptors as an EFI memory map of version 1.
func EncodeEFIMap(m []EFIDescriptor) []byte {
	b := make([]byte, 0, len(m)*EFIDescriptorSize)
	for _, d := range m {
		b = le.AppendUint64(b, uint64(d.Type))
		b = le.AppendUint64(b, d.Phys)
		b = le.AppendUint64(b, d.Virt)
		b = le.AppendUint64(b, d.Pages)
		b = le.AppendUint64(b, d.Attribute)
		b = le.AppendUint64(b, 0)
	}
	return b
}

func decodeEFIMap(b []byte, size int) []EFIDescriptor {
	if size < 40 {
		return nil
	}
	var m []EFIDescriptor
	for ; len(b) >= size; b = b[size:] {
		m = append(m, EFIDescriptor{le.Uint32(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])})
	}
	return m
}

// SetupEFIInfo is SETUP_EFI for people.
type SetupEFIInfo struct {
	FirmwareVendor uint64 `json:"firmware_vendor"`
	ConfigTable    uint64 `json:"config_table"`
	SMBIOS         uint64 `json:"smbios"`
}

// encodeSetupEFI writes struct efi_setup_data (arch/x86/include/asm/efi.h).
// With it the kernel knows that virtual addresses have been given already.
// The second field was the address of the runtime services; no kernel since
// 5.6 reads it.
func encodeSetupEFI(e *EFI) []byte {
	b := make([]byte, 96)
	le.PutUint64(b, e.FirmwareVendor)
	le.PutUint64(b[16:], e.ConfigTable)
	le.PutUint64(b[24:], e.SMBIOS)
	return b
}
