// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Range is a range of physical addresses, in bytes, both ends included, the
// way the kernel prints them. An empty range cannot be expressed.
type Range struct {
	Start uint64 `json:"start"`
	Last  uint64 `json:"last"`
}

// Size returns the number of bytes. The range of all 2^64 addresses returns
// 2^64-1.
func (r Range) Size() uint64 {
	if n := r.Last - r.Start; n != math.MaxUint64 {
		return n + 1
	}
	return math.MaxUint64
}

// End returns the address after the last one; 2^64-1 where that would wrap.
func (r Range) End() uint64 {
	if r.Last == math.MaxUint64 {
		return math.MaxUint64
	}
	return r.Last + 1
}

// Contains reports whether all of o lies in r.
func (r Range) Contains(o Range) bool { return r.Start <= o.Start && o.Last <= r.Last }

// Overlaps reports whether r and o share an address.
func (r Range) Overlaps(o Range) bool { return r.Start <= o.Last && o.Start <= r.Last }

// String returns the range in hexadecimal, as /proc/iomem prints it.
func (r Range) String() string { return fmt.Sprintf("%#x-%#x", r.Start, r.Last) }

// MemoryType says what a range of memory is for, in the words of the kernel's
// e820 table.
type MemoryType string

// The types of memory. The number is the one of the e820 table (ACPI
// specification, "Address Range Types"; kernel: arch/x86 e820/types.h).
const (
	RAM             MemoryType = "System RAM"                // 1
	Reserved        MemoryType = "Reserved"                  // 2
	ACPITables      MemoryType = "ACPI Tables"               // 3
	ACPINVS         MemoryType = "ACPI Non-volatile Storage" // 4
	Unusable        MemoryType = "Unusable memory"           // 5
	PMEM            MemoryType = "Persistent Memory"         // 7
	PMEMLegacy      MemoryType = "Persistent Memory (legacy)"
	SoftReserved    MemoryType = "Soft Reserved" // 0xefffffff
	UnknownMemory   MemoryType = "Unknown"
	reservedByLinux            = "RAM reserved by kernel" // never told apart by firmware
)

// e820Numbers maps the numbers of an e820 entry to types.
var e820Numbers = map[uint32]MemoryType{
	1: RAM, 2: Reserved, 3: ACPITables, 4: ACPINVS, 5: Unusable, 7: PMEM,
	12: PMEMLegacy, 0xefffffff: SoftReserved,
}

// E820 returns the number of t in an e820 entry; types that have none count
// as reserved (2).
func (t MemoryType) E820() uint32 {
	for n, x := range e820Numbers {
		if x == t {
			return n
		}
	}
	return 2
}

// memoryType reads the names that memmap and iomem give, which changed their
// capitals over the years.
func memoryType(name string) (MemoryType, bool) {
	switch strings.ToLower(name) {
	case "system ram", "ram":
		return RAM, true
	case "reserved", reservedByLinux:
		return Reserved, true
	case "acpi tables", "acpi reclaimable memory":
		return ACPITables, true
	case "acpi non-volatile storage":
		return ACPINVS, true
	case "unusable memory", "unusable":
		return Unusable, true
	case "persistent memory":
		return PMEM, true
	case "persistent memory (legacy)":
		return PMEMLegacy, true
	case "soft reserved":
		return SoftReserved, true
	}
	return UnknownMemory, false
}

// MemoryRange is a range of memory with its type.
type MemoryRange struct {
	Range
	Type MemoryType `json:"type"`
}

// String returns range and type.
func (r MemoryRange) String() string { return r.Range.String() + " " + string(r.Type) }

// Memory is what the machine tells of its physical memory.
type Memory struct {
	// Firmware is the map the firmware or boot loader gave to the kernel:
	// /sys/firmware/memmap, or else the e820 table in boot_params. Only x86
	// has one. In the order of the table.
	Firmware Fact[[]MemoryRange] `json:"firmware"`
	// IOMem is /proc/iomem, in its order.
	IOMem Fact[[]Resource] `json:"iomem"`
	// Map is what the next kernel should be told: Firmware, and from IOMem
	// the ranges that Firmware does not speak of. Sorted, without overlaps;
	// where two entries of one source overlap, the one that is no RAM wins.
	Map Fact[[]MemoryRange] `json:"map"`
	// Usable is the RAM of the running kernel that segments may be placed
	// in: "System RAM" of IOMem less the reserved ranges and the crash
	// kernel ranges inside it. The code and data of the running kernel count
	// as usable, because they are overwritten only when it is gone.
	Usable Fact[[]Range] `json:"usable"`
	// ReservedRanges lists what lies inside System RAM but must stay as it is,
	// such as the device tree, EFI tables, ACPI and GICv3 tables of arm64.
	ReservedRanges Fact[[]Range] `json:"reserved_ranges"`
	// Crash lists the regions set aside for a crash kernel, lowest first.
	// Known and empty when there are none.
	Crash Fact[[]Range] `json:"crash"`
	// Kernel lists where the running kernel's code, data and bss lie.
	Kernel Fact[[]Range] `json:"kernel"`
	// Mappings tells at which virtual addresses the running kernel has its
	// memory and its own code, from the headers of /proc/kcore. They are in
	// no recording and no JSON.
	Mappings Fact[[]Mapping] `json:"-"`
}

// Total returns the bytes of System RAM in Map.
func (m *Memory) Total() Fact[uint64] {
	if !m.Map.Known() {
		return Fact[uint64]{State: m.Map.State, Source: m.Map.Source, Why: m.Map.Why}
	}
	var n uint64
	for _, r := range m.Map.Value {
		if r.Type == RAM {
			n += r.Size()
		}
	}
	return KnownFact(n, m.Map.Source)
}

func readMemory(s *snapshot, boot *BootParams) Memory {
	var m Memory
	m.Firmware = readMemmap(s)
	if !m.Firmware.Known() {
		if e := boot.E820; e.Known() && len(e.Value) > 0 {
			m.Firmware = e
		}
	}
	m.IOMem = readIOMem(s)
	m.Mappings = readMappings(s)
	m.derive()
	return m
}

// derive fills the facts that follow from Firmware and IOMem.
func (m *Memory) derive() {
	iomem := m.IOMem
	if !iomem.Known() {
		m.Usable = Fact[[]Range]{State: iomem.State, Source: iomem.Source, Why: iomem.Why}
		m.ReservedRanges, m.Crash, m.Kernel = m.Usable, m.Usable, m.Usable
	} else {
		var ram, reserved, crash, kernel []Range
		walk(iomem.Value, func(r Resource, inRAM bool) {
			t, isMemory := memoryType(r.Name)
			switch {
			case strings.HasPrefix(r.Name, "Crash kernel"):
				crash = append(crash, r.Range)
			case !inRAM && t == RAM:
				ram = append(ram, r.Range)
			case inRAM && isMemory && t != RAM:
				reserved = append(reserved, r.Range)
			case inRAM && strings.HasPrefix(r.Name, "Kernel "):
				kernel = append(kernel, r.Range)
			}
		})
		reserved, crash = union(reserved), union(crash)
		m.ReservedRanges = KnownFact(reserved, iomem.Source)
		m.Crash = KnownFact(crash, iomem.Source)
		m.Kernel = KnownFact(union(kernel), iomem.Source)
		m.Usable = KnownFact(Subtract(Subtract(union(ram), reserved), crash), iomem.Source)
	}

	switch fw := m.Firmware; {
	case fw.Known() && iomem.Known():
		m.Map = KnownFact(merge(fw.Value, topLevel(iomem.Value)), fw.Source+" and "+iomem.Source)
	case fw.Known():
		m.Map = KnownFact(merge(fw.Value, nil), fw.Source)
	case iomem.Known():
		m.Map = KnownFact(merge(nil, topLevel(iomem.Value)), iomem.Source)
	default:
		m.Map = Fact[[]MemoryRange]{State: iomem.State, Source: iomem.Source, Why: iomem.Why}
	}
}

// union sorts ranges and joins those that overlap or touch.
func union(in []Range) []Range {
	in = slices.Clone(in)
	slices.SortFunc(in, compareRange)
	out := []Range{}
	for _, r := range in {
		if n := len(out); n > 0 && r.Start <= out[n-1].End() {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

func compareRange(a, b Range) int {
	switch {
	case a.Start < b.Start || (a.Start == b.Start && a.Last < b.Last):
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Subtract returns what is left of the sorted, disjoint ranges from when the
// sorted, disjoint ranges holes are taken out.
func Subtract(from, holes []Range) []Range {
	var out []Range
	h := 0
	for _, r := range from {
		for h < len(holes) && holes[h].Last < r.Start {
			h++
		}
		start, open := r.Start, true
		for i := h; i < len(holes) && holes[i].Start <= r.Last; i++ {
			if holes[i].Start > start {
				out = append(out, Range{start, holes[i].Start - 1})
			}
			if holes[i].Last >= r.Last {
				open = false
				break
			}
			start = max(start, holes[i].Last+1)
		}
		if open {
			out = append(out, Range{start, r.Last})
		}
	}
	return out
}

// merge lays two maps over each other: first wins over second, and within one
// map anything wins over RAM.
func merge(first, second []MemoryRange) []MemoryRange {
	taken := flatten(first)
	holes := make([]Range, 0, len(taken))
	for _, r := range taken {
		holes = append(holes, r.Range)
	}
	holes = union(holes)
	out := taken
	for _, r := range flatten(second) {
		for _, left := range Subtract([]Range{r.Range}, holes) {
			out = append(out, MemoryRange{left, r.Type})
		}
	}
	slices.SortFunc(out, func(a, b MemoryRange) int { return compareRange(a.Range, b.Range) })
	return joinSame(out)
}

// flatten sorts a map and takes its overlaps out: types other than RAM first,
// among those the earlier entry.
func flatten(in []MemoryRange) []MemoryRange {
	var out []MemoryRange
	var holes []Range
	for _, ram := range []bool{false, true} {
		var layer []MemoryRange
		for _, r := range in {
			if (r.Type == RAM) == ram {
				layer = append(layer, r)
			}
		}
		slices.SortStableFunc(layer, func(a, b MemoryRange) int { return compareRange(a.Range, b.Range) })
		covered := Range{}
		some := false
		var own []Range
		for _, r := range layer {
			if some && r.Start <= covered.Last {
				if r.Last <= covered.Last {
					continue
				}
				r.Start = covered.Last + 1
			}
			covered, some = r.Range, true
			own = append(own, r.Range)
			for _, left := range Subtract([]Range{r.Range}, holes) {
				out = append(out, MemoryRange{left, r.Type})
			}
		}
		holes = union(append(holes, own...))
	}
	slices.SortFunc(out, func(a, b MemoryRange) int { return compareRange(a.Range, b.Range) })
	return out
}

func joinSame(in []MemoryRange) []MemoryRange {
	var out []MemoryRange
	for _, r := range in {
		if n := len(out); n > 0 && out[n-1].Type == r.Type && out[n-1].End() == r.Start {
			out[n-1].Last = r.Last
			continue
		}
		out = append(out, r)
	}
	return out
}
