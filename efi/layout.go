// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"fmt"
	"slices"

	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/machine"
)

const (
	lowMemory = 1 << 20 // what x86 kernels want of it they take themselves
	attrRAM   = 0xf     // UC, WC, WT, WB
	maxRAM    = 0x7d0000000000
)

// layout makes the memory map that a guest is shown: RAM as it will be free
// after kexec, and all that the firmware of this machine keeps. x86 stubs make
// the kernel's e820 map of it. Memory that the running kernel keeps for
// itself, and the first MiB of x86, is RAM for the next kernel but not for
// the guest.
func layout(m *machine.Machine, arch image.Arch, page uint64) ([]firmware.Region, error) {
	usable, ok := m.Memory.Usable.Get()
	if !ok || len(usable) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrMachine, why(m.Memory.Usable))
	}
	all, ok := m.Memory.Map.Get()
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrMachine, why(m.Memory.Map))
	}
	var out []firmware.Region
	add := func(start, end uint64, t firmware.MemoryType) {
		if start < end {
			out = append(out, firmware.Region{Start: start, Size: end - start, Type: t, Attribute: attrRAM})
		}
	}
	for _, r := range all {
		if r.Type == machine.RAM {
			// In whole pages, less rather than more.
			start, end := (r.Start+page-1)&^(page-1), r.End()&^(page-1)
			at := start
			for _, u := range usable {
				us, ue := max((u.Start+page-1)&^(page-1), start), min(u.End()&^(page-1), end)
				if arch == image.ArchX86_64 {
					us = max(us, lowMemory)
				}
				if us >= ue {
					continue
				}
				add(at, us, firmware.BootServicesData)
				add(us, ue, firmware.Conventional)
				at = ue
			}
			add(at, end, firmware.BootServicesData)
			continue
		}
		add(r.Start&^4095, (r.End()+4095)&^4095, typeOf(r.Type))
	}
	slices.SortFunc(out, func(a, b firmware.Region) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	var disjoint []firmware.Region
	conventional := false
	for _, r := range out {
		if n := len(disjoint); n > 0 && r.Start < disjoint[n-1].End() {
			if r.End() <= disjoint[n-1].End() {
				continue
			}
			r.Size -= disjoint[n-1].End() - r.Start
			r.Start = disjoint[n-1].End()
		}
		conventional = conventional || r.Type == firmware.Conventional
		if r.End() > maxRAM && r.Type == firmware.Conventional {
			r.Type = firmware.BootServicesData
		}
		disjoint = append(disjoint, r)
	}
	if !conventional {
		return nil, fmt.Errorf("%w: no usable RAM", ErrMachine)
	}
	return disjoint, nil
}

func why[T any](f machine.Fact[T]) string {
	if f.Why != "" {
		return f.Why
	}
	return fmt.Sprintf("memory map is %v (%s)", f.State, f.Source)
}

func typeOf(t machine.MemoryType) firmware.MemoryType {
	switch t {
	case machine.ACPITables:
		return firmware.ACPIReclaim
	case machine.ACPINVS:
		return firmware.ACPINVS
	case machine.Unusable:
		return firmware.Unusable
	case machine.PMEM, machine.PMEMLegacy:
		return firmware.Persistent
	}
	return firmware.Reserved
}
