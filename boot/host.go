// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"

	"github.com/peelboot/peel/image"
)

// Host holds the facts of a machine that a plan depends on, as plain values;
// HostOf makes one from a snapshot. All addresses are physical, all sizes are
// bytes.
type Host struct {
	Arch image.Arch
	// PageSize is that of the running kernel, which places segments by
	// pages. 0 is 4096.
	PageSize uint64
	// Map is the memory map for the next kernel (x86).
	Map []E820Entry
	// Usable is RAM in which segments may be placed.
	Usable []Range
	// Crash lists the regions set aside for a crash kernel, lowest first.
	// The last one takes the segments.
	Crash []Range
	// RAM is all RAM of the running kernel, reserved or not: what an ELF
	// core header describes.
	RAM []Range
	// FiveLevel tells that the running kernel uses five levels of page
	// tables (x86).
	FiveLevel bool

	// BootParams is the boot_params page of the running kernel (x86), or nil.
	BootParams []byte
	// SetupData is what was handed to the running kernel as setup_data.
	SetupData []SetupData
	// RSDP is the address of ACPI's root pointer, 0 when not known.
	RSDP uint64
	// EFI tells of UEFI runtime services that the next kernel can go on
	// using (x86), or is nil.
	EFI *EFI

	// FDT is the device tree of the running kernel, or nil.
	FDT []byte

	// CrashNotes are the per-processor notes and VMCoreInfo the note that
	// describes the kernel; for ELF core headers.
	CrashNotes []Range
	VMCoreInfo Range
	// PageOffset is the virtual address at which the running kernel maps, or
	// would map, physical address 0 (modulo 2^64); KernelText is where its
	// code, data and bss are, and KernelTextVirt where it runs them. For ELF
	// core headers; PageOffset 0 and an empty KernelText are not known.
	PageOffset     uint64
	KernelText     Range
	KernelTextVirt uint64
	// OldLowMemory tells that the running kernel is known to be older than
	// 5.6, which is the first that leaves the first megabyte alone when it
	// sets aside a crash region (x86).
	OldLowMemory bool
}

// EFI is what a second x86 kernel needs to go on with runtime services that
// have been given their virtual addresses already.
type EFI struct {
	SystemTable    uint64
	FirmwareVendor uint64
	ConfigTable    uint64
	SMBIOS         uint64 // entry point of SMBIOS 2, 0 when there is none
	RuntimeMap     []EFIDescriptor
}

// EFIDescriptor is an EFI_MEMORY_DESCRIPTOR (UEFI specification, section 7.2).
type EFIDescriptor struct {
	Type      uint32 `json:"type"`
	Phys      uint64 `json:"phys"`
	Virt      uint64 `json:"virt"`
	Pages     uint64 `json:"pages"` // of 4096 bytes
	Attribute uint64 `json:"attribute"`
}

// E820Entry is an entry of the memory map of x86 (boot_e820_entry).
type E820Entry struct {
	Addr uint64 `json:"addr"`
	Size uint64 `json:"size"`
	Type uint32 `json:"type"`
}

// Types of E820Entry (ACPI specification, table "Address Range Types").
const (
	E820RAM      = 1
	E820Reserved = 2
	E820ACPI     = 3
	E820NVS      = 4
	E820Unusable = 5
	E820PMEM     = 7
)

func (e E820Entry) String() string {
	names := map[uint32]string{
		E820RAM: "usable", E820Reserved: "reserved", E820ACPI: "ACPI data",
		E820NVS: "ACPI NVS", E820Unusable: "unusable", E820PMEM: "persistent",
	}
	name := names[e.Type]
	if name == "" {
		name = fmt.Sprintf("type %#x", e.Type)
	}
	return fmt.Sprintf("%#018x + %#014x %s", e.Addr, e.Size, name)
}

func (h *Host) pageSize() uint64 { return max(h.PageSize, 4096) }

// space returns where the segments of a plan may be: usable RAM, or the crash
// region, cut to whole pages.
func (h *Host) space(crash bool) (*Space, error) {
	page := h.pageSize()
	if page&(page-1) != 0 {
		return nil, fmt.Errorf("page size %#x: %w", page, ErrHost)
	}
	in := h.Usable
	if crash {
		if len(h.Crash) == 0 {
			return nil, fmt.Errorf("no crash region is reserved (crashkernel= on the command line of the running kernel): %w", ErrCrash)
		}
		in = h.Crash[len(h.Crash)-1:]
	}
	var out []Range
	for _, r := range normal(in) {
		start, ok := roundUp(r.Start, page)
		if r.End &^= page - 1; ok && start < r.End {
			out = append(out, Range{start, r.End})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no usable RAM is known: %w", ErrHost)
	}
	return NewSpace(out), nil
}
