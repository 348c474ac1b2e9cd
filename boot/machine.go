// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/machine"
)

// HostOf takes from a snapshot what plans depend on. Facts that are not known
// stay empty; Build says which of them it misses.
func HostOf(m *machine.Machine) *Host {
	h := &Host{
		Arch:       m.CPU.Arch.Or(image.ArchUnknown),
		PageSize:   m.CPU.PageSize.Or(0),
		Usable:     ranges(m.Memory.Usable.Value),
		Crash:      ranges(m.Memory.Crash.Value),
		FiveLevel:  m.CPU.Has("la57"),
		BootParams: m.BootParams.Data.Value,
		RSDP:       m.ACPI.RSDP.Or(0),
		FDT:        m.FDT.Value,
		CrashNotes: ranges(m.Kexec.CrashNotes.Value),
	}
	for _, r := range m.Memory.Map.Value {
		h.Map = append(h.Map, E820Entry{r.Start, r.Size(), r.Type.E820()})
	}
	for _, r := range m.Memory.IOMem.Value {
		if r.Name == string(machine.RAM) {
			h.RAM = append(h.RAM, ranges([]machine.Range{r.Range})...)
		}
	}
	for _, sd := range m.BootParams.SetupData.Value {
		h.SetupData = append(h.SetupData, SetupData{sd.Type, sd.Data})
	}
	if v, ok := m.Kexec.VMCoreInfo.Get(); ok {
		h.VMCoreInfo = Range{v.Start, v.End()}
	}
	h.setMappings(m.Memory.Mappings.Value)
	h.OldLowMemory = before(m.Kernel.Release.Or(""), 5, 6)
	h.EFI = efiOf(m)
	return h
}

// setMappings tells the linear mapping of all RAM, most of what is mapped at
// one distance, from that of the kernel itself, the largest one at another.
func (h *Host) setMappings(all []machine.Mapping) {
	sizes := map[uint64]uint64{}
	for _, m := range all {
		sizes[m.Virt-m.Start] += m.Size()
	}
	best := uint64(0)
	for distance, size := range sizes {
		if size > best || size == best && distance < h.PageOffset {
			best, h.PageOffset = size, distance
		}
	}
	for _, m := range all {
		if m.Virt-m.Start != h.PageOffset && m.Size() > h.KernelText.Size() {
			h.KernelText, h.KernelTextVirt = Range{m.Start, m.End()}, m.Virt
		}
	}
}

// before tells whether a release, such as "6.12.48+deb13-cloud-amd64", is
// older than major.minor. One that cannot be read is not.
func before(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}

func ranges(in []machine.Range) []Range {
	var out []Range
	for _, r := range in {
		out = append(out, Range{r.Start, r.End()})
	}
	return out
}

// efiOf returns the runtime services of a 64-bit UEFI on x86, or nil when
// there are none, or the running kernel does not tell all that it takes.
func efiOf(m *machine.Machine) *EFI {
	if info, ok := m.BootParams.EFIInfo(); !ok || info.Signature != "EL64" || !m.EFI.Present.Or(false) {
		return nil
	}
	e := &EFI{
		SystemTable:    m.EFI.SystemTable.Or(0),
		FirmwareVendor: m.EFI.FirmwareVendor.Or(0),
		ConfigTable:    m.EFI.ConfigTable.Or(0),
		SMBIOS:         m.EFI.Tables.Value["SMBIOS"],
	}
	for _, r := range m.EFI.RuntimeMap.Value {
		e.RuntimeMap = append(e.RuntimeMap, EFIDescriptor{r.Type, r.Phys, r.Virt, r.Pages, r.Attribute})
	}
	if e.ConfigTable == 0 {
		// Without it the second kernel would call SetVirtualAddressMap a
		// second time, which firmware refuses.
		e.RuntimeMap = nil
	}
	return e
}
