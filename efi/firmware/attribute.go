// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"cmp"
	"slices"
)

// EFI_MEMORY_ATTRIBUTE_PROTOCOL (UEFI, section 37.7). Attributes are kept and
// told again. What is executable is decided by who allocated it: pages of
// code, when something first runs there.

const attributeMask = 0x2000 | 0x4000 | 0x20000 // RP, XP, RO

func (f *Firmware) attributeRange(c *call) bool {
	base, size := c.args[1], c.args[2]
	if base%pageSize != 0 || size%pageSize != 0 || size == 0 {
		return false
	}
	_, err := f.view(base, size)
	return err == nil
}

func (f *Firmware) getAttributes(c *call) Status {
	if !f.attributeRange(c) {
		return InvalidParameter
	}
	start, end := c.args[1], c.args[1]+c.args[2]
	have, covered := uint64(0), uint64(0)
	for _, r := range f.attributes {
		lo, hi := max(r.Start, start), min(r.End(), end)
		if lo >= hi {
			continue
		}
		if covered != 0 && have != r.Attribute {
			return NoMapping
		}
		have = r.Attribute
		covered += hi - lo
	}
	if covered != 0 && covered != c.args[2] {
		return NoMapping // the rest has none
	}
	c.put64(c.args[3], have)
	return Success
}

func (f *Firmware) setAttributes(c *call) Status {
	return f.changeAttributes(c, func(old uint64) uint64 { return old | c.args[3] })
}

func (f *Firmware) clearAttributes(c *call) Status {
	return f.changeAttributes(c, func(old uint64) uint64 { return old &^ c.args[3] })
}

// changeAttributes keeps ranges, not pages: a guest may change those of all
// its memory.
func (f *Firmware) changeAttributes(c *call, change func(old uint64) uint64) Status {
	if bits := c.args[3]; !f.attributeRange(c) || bits == 0 || bits&^uint64(attributeMask) != 0 {
		return InvalidParameter
	}
	start, end := c.args[1], c.args[1]+c.args[2]
	var out []Region
	add := func(from, to, attribute uint64) {
		if from < to && attribute != 0 {
			out = append(out, Region{Start: from, Size: to - from, Attribute: attribute})
		}
	}
	at := start
	for _, r := range f.attributes {
		lo, hi := max(r.Start, start), min(r.End(), end)
		if lo >= hi {
			out = append(out, r)
			continue
		}
		add(r.Start, lo, r.Attribute)
		add(at, lo, change(0))
		add(lo, hi, change(r.Attribute))
		add(hi, r.End(), r.Attribute)
		at = hi
	}
	add(at, end, change(0))
	slices.SortFunc(out, func(a, b Region) int { return cmp.Compare(a.Start, b.Start) })
	if out = mergeRegions(out); len(out) > maxRegions {
		return OutOfResources
	}
	f.attributes = out
	return Success
}
