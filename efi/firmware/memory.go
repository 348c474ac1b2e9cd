// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"fmt"
	"slices"
)

// Memory services (UEFI, section 7.2).

const pageSize = 4096

// MemoryType is an EFI_MEMORY_TYPE (UEFI, section 7.2, AllocatePages).
type MemoryType uint32

// Types of memory.
const (
	Reserved MemoryType = iota
	LoaderCode
	LoaderData
	BootServicesCode
	BootServicesData
	RuntimeServicesCode
	RuntimeServicesData
	Conventional
	Unusable
	ACPIReclaim
	ACPINVS
	MMIO
	MMIOPort
	PalCode
	Persistent
	Unaccepted
)

func (t MemoryType) String() string {
	names := [...]string{"Reserved", "LoaderCode", "LoaderData", "BootServicesCode", "BootServicesData", "RuntimeServicesCode",
		"RuntimeServicesData", "Conventional", "Unusable", "ACPIReclaim", "ACPINVS", "MMIO", "MMIOPort", "PalCode", "Persistent", "Unaccepted"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type %#x", uint32(t))
}

// attributes of all RAM: UC, WC, WT, WB.
const memoryAttributes = 0xf

// Region is a range of the memory map; Start and Size are bytes, multiples of
// 4096.
type Region struct {
	Start, Size uint64
	Type        MemoryType
	// Attribute is that of EFI_MEMORY_DESCRIPTOR.
	Attribute uint64
}

// End returns the address after the last byte.
func (r Region) End() uint64 { return r.Start + r.Size }

// allocatable tells types that can be allocated.
func allocatable(t MemoryType) bool {
	switch t {
	case LoaderCode, LoaderData, BootServicesCode, BootServicesData, RuntimeServicesCode, RuntimeServicesData, ACPIReclaim, ACPINVS, Reserved:
		return true
	}
	return t >= 0x70000000 // for loaders of operating systems, and OEMs
}

// fourGiB is preferred as the end of what is allocated anywhere, as firmware
// does: some code still keeps addresses in 32 bits.
const fourGiB = 1 << 32

// setType makes a range of the map another type. The range lies in regions of
// the map.
func (f *Firmware) setType(start, size uint64, t MemoryType) {
	end := start + size
	var out []Region
	for _, r := range f.regions {
		if r.End() <= start || r.Start >= end {
			out = append(out, r)
			continue
		}
		if r.Start < start {
			out = append(out, Region{r.Start, start - r.Start, r.Type, r.Attribute})
		}
		lo, hi := max(r.Start, start), min(r.End(), end)
		out = append(out, Region{lo, hi - lo, t, r.Attribute})
		if r.End() > end {
			out = append(out, Region{end, r.End() - end, r.Type, r.Attribute})
		}
	}
	f.regions = mergeRegions(out)
	f.mapKey++
}

func mergeRegions(in []Region) []Region {
	var out []Region
	for _, r := range in {
		if n := len(out); n > 0 && out[n-1].Type == r.Type && out[n-1].Attribute == r.Attribute && out[n-1].End() == r.Start {
			out[n-1].Size += r.Size
			continue
		}
		out = append(out, r)
	}
	return out
}

// find returns a free place for size bytes that ends at or below limit (0: no
// limit), the highest one.
func (f *Firmware) findFree(size, align, limit uint64) (uint64, bool) {
	if limit == 0 {
		if at, ok := f.findFree(size, align, fourGiB); ok {
			return at, true
		}
		limit = ^uint64(0)
	}
	for _, r := range slices.Backward(f.regions) {
		hi := min(r.End(), limit)
		if r.Type != Conventional || hi < r.Start || hi-r.Start < size {
			continue
		}
		if at := (hi - size) &^ (align - 1); at >= r.Start {
			return at, true
		}
	}
	return 0, false
}

// allocate takes pages of a type; align is a power of two.
func (f *Firmware) allocate(t MemoryType, size, align, limit uint64) (uint64, error) {
	size = (size + pageSize - 1) &^ (pageSize - 1)
	at, ok := f.findFree(size, max(align, pageSize), limit)
	if !ok || size == 0 || len(f.regions) >= maxRegions {
		return 0, fmt.Errorf("no room for %#x bytes of guest memory", size)
	}
	f.setType(at, size, t)
	return at, nil
}

// typeOf returns the type of the region that holds a whole range.
func (f *Firmware) typeOf(start, size uint64) (MemoryType, bool) {
	for _, r := range f.regions {
		if start >= r.Start && start-r.Start <= r.Size && size <= r.Size-(start-r.Start) {
			return r.Type, true
		}
	}
	return 0, false
}

func (f *Firmware) allocatePages(c *call) Status {
	how, t, pages, at := c.args[0], MemoryType(c.args[1]), c.args[2], c.args[3]
	addr := c.u64(at)
	if c.out(at, 8); c.bad != nil || how > 2 || !allocatable(t) {
		return InvalidParameter
	}
	if pages == 0 || pages > 1<<40 {
		return OutOfResources
	}
	size := pages * pageSize
	switch how {
	case 0: // AllocateAnyPages
		addr = 0
	case 1: // AllocateMaxAddress: no byte above
		if addr != ^uint64(0) {
			addr++
		} else {
			addr = 0
		}
		if addr != 0 && addr < pageSize {
			return NotFound
		}
	case 2: // AllocateAddress
		if addr%pageSize != 0 || addr+size < addr {
			return InvalidParameter
		}
		if have, ok := f.typeOf(addr, size); !ok || have != Conventional || len(f.regions) >= maxRegions {
			return NotFound
		}
		f.setType(addr, size, t)
		c.notef("%#x", addr)
		f.allocated(addr, size, t)
		return Success
	}
	got, err := f.allocate(t, size, pageSize, addr)
	if err != nil {
		return OutOfResources
	}
	f.allocated(got, size, t)
	c.put64(at, got)
	c.notef("%#x", got)
	return Success
}

// allocated keeps account of memory for code; what goes beyond the limit can
// be had but not run.
func (f *Firmware) allocated(addr, size uint64, t MemoryType) {
	if (t == LoaderCode || t == BootServicesCode) && len(f.allocations) < maxRegions {
		f.allocations = append(f.allocations, Region{Start: addr, Size: size, Type: t})
	}
}

func (f *Firmware) freePages(c *call) Status {
	addr, pages := c.args[0], c.args[1]
	if addr%pageSize != 0 || pages == 0 || pages > 1<<40 {
		return InvalidParameter
	}
	size := pages * pageSize
	if addr+size < addr {
		return InvalidParameter
	}
	t, ok := f.typeOf(addr, size)
	if !ok || t == Conventional || !allocatable(t) || f.owned(addr, size) {
		return NotFound
	}
	if len(f.regions) >= 2*maxRegions {
		return OutOfResources // freeing could cut the map into ever more pieces
	}
	if err := f.freeRange(addr, size); err != nil {
		c.bad = err
	}
	return Success
}

// owned tells ranges that a guest cannot free: what is not RAM, and what
// firmware allocated for itself.
func (f *Firmware) owned(addr, size uint64) bool {
	if _, err := f.view(addr, size); err != nil {
		return true
	}
	for _, r := range f.own {
		if addr < r.End() && r.Start < addr+size {
			return true
		}
	}
	return false
}

// freeRange gives pages back; code becomes data.
func (f *Firmware) freeRange(addr, size uint64) error {
	for _, r := range f.code {
		start, end := max(r.Start, addr), min(r.End(), addr+size)
		if start >= end {
			continue
		}
		if err := f.p.Code(start, end-start, false, true); err != nil {
			return fmt.Errorf("%w: %w", ErrPlatform, err)
		}
	}
	f.code = without(f.code, addr, size)
	f.allocations = without(f.allocations, addr, size)
	f.setType(addr, size, Conventional)
	return nil
}

// without takes a range out of regions: loaders allocate more than they need
// and give back what is left over at both ends.
func without(in []Region, addr, size uint64) []Region {
	var out []Region
	end := addr + size
	for _, r := range in {
		if addr >= r.End() || end <= r.Start {
			out = append(out, r)
			continue
		}
		if r.Start < addr {
			out = append(out, Region{r.Start, addr - r.Start, r.Type, r.Attribute})
		}
		if end < r.End() {
			out = append(out, Region{end, r.End() - end, r.Type, r.Attribute})
		}
	}
	return out
}

// descriptorSize is what firmware uses; the specification defines 40 bytes of
// it and wants callers to use the size that they are told.
const descriptorSize = 48

func (f *Firmware) encodeMap() []byte {
	b := make([]byte, 0, len(f.regions)*descriptorSize)
	for _, r := range f.regions {
		b = le.AppendUint64(b, uint64(r.Type))
		b = le.AppendUint64(b, r.Start)
		b = le.AppendUint64(b, 0)
		b = le.AppendUint64(b, r.Size/pageSize)
		b = le.AppendUint64(b, r.Attribute)
		b = le.AppendUint64(b, 0)
	}
	return b
}

func (f *Firmware) getMemoryMap(c *call) Status {
	sizeAt, at, keyAt, descAt, versionAt := c.args[0], c.args[1], c.args[2], c.args[3], c.args[4]
	have := c.u64(sizeAt)
	need := uint64(len(f.regions) * descriptorSize)
	c.put64(sizeAt, need)
	if descAt != 0 {
		c.put64(descAt, descriptorSize)
	}
	if versionAt != 0 {
		c.put32(versionAt, 1)
	}
	if c.bad != nil {
		return InvalidParameter
	}
	if have < need || at == 0 {
		if have >= need {
			return InvalidParameter
		}
		return BufferTooSmall
	}
	if b := c.out(at, need); b != nil {
		copy(b, f.encodeMap())
	}
	if keyAt != 0 {
		c.put64(keyAt, f.mapKey)
	}
	c.notef("%d descriptors, key %d", len(f.regions), f.mapKey)
	return Success
}

// RunnableCode makes the pages executable that were allocated for code
// together with the one at pc: loaders allocate such memory for programs that
// they load themselves. It happens when one first runs there, and not after
// ExitBootServices: what first runs then is the kernel.
func (f *Firmware) RunnableCode(pc uint64) (bool, error) {
	if f.exited {
		return false, nil
	}
	for _, r := range f.allocations {
		if pc < r.Start || pc >= r.End() {
			continue
		}
		for _, c := range f.code {
			if pc >= c.Start && pc < c.End() {
				return false, nil
			}
		}
		if err := f.p.Code(r.Start, r.Size, true, true); err != nil {
			return false, fmt.Errorf("%w: %w", ErrPlatform, err)
		}
		f.code = append(f.code, r)
		return true, nil
	}
	return false, nil
}
