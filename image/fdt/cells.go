// SPDX-License-Identifier: Apache-2.0

package fdt

import (
	"encoding/binary"
	"fmt"
)

// U32 returns the value of a property that is one cell.
func (n *Node) U32(name string) (uint32, error) {
	v, ok := n.Get(name)
	if !ok {
		return 0, fmt.Errorf("property %q of node %q: %w", name, n.Name, ErrNotFound)
	}
	if len(v) != 4 {
		return 0, fmt.Errorf("property %q of node %q has %d bytes, want 4: %w", name, n.Name, len(v), ErrValue)
	}
	return binary.BigEndian.Uint32(v), nil
}

// U64 returns the value of a property that is one or two cells, as addresses
// in /chosen are written.
func (n *Node) U64(name string) (uint64, error) {
	v, ok := n.Get(name)
	if !ok {
		return 0, fmt.Errorf("property %q of node %q: %w", name, n.Name, ErrNotFound)
	}
	switch len(v) {
	case 4:
		return uint64(binary.BigEndian.Uint32(v)), nil
	case 8:
		return binary.BigEndian.Uint64(v), nil
	}
	return 0, fmt.Errorf("property %q of node %q has %d bytes, want 4 or 8: %w", name, n.Name, len(v), ErrValue)
}

// SetU32 sets a property to one cell.
func (n *Node) SetU32(name string, v uint32) {
	n.Set(name, binary.BigEndian.AppendUint32(nil, v))
}

// SetU64 sets a property to two cells.
func (n *Node) SetU64(name string, v uint64) {
	n.Set(name, binary.BigEndian.AppendUint64(nil, v))
}

// Cells says how many 32-bit cells addresses and sizes take in the reg and
// ranges properties of the children of a node.
type Cells struct{ Address, Size int }

// Cells returns #address-cells and #size-cells of n for its children. Missing
// ones are 2 and 1 (Devicetree Specification, section 2.3.5).
func (n *Node) Cells() (Cells, error) {
	c := Cells{2, 1}
	for _, e := range []struct {
		name string
		to   *int
	}{{"#address-cells", &c.Address}, {"#size-cells", &c.Size}} {
		if _, ok := n.Get(e.name); !ok {
			continue
		}
		v, err := n.U32(e.name)
		if err != nil {
			return Cells{}, err
		}
		// PCI has three cells; nothing has more than four.
		if v > 4 {
			return Cells{}, fmt.Errorf("property %q of node %q is %d: %w", e.name, n.Name, v, ErrValue)
		}
		*e.to = int(v)
	}
	return c, nil
}

// Region is an address with a size, both in bytes.
type Region struct{ Address, Size uint64 }

// End returns the address after the region; ok is false when it wraps.
func (r Region) End() (end uint64, ok bool) {
	end = r.Address + r.Size
	return end, end >= r.Address
}

// number reads an integer of n cells from b. More than 64 bits are refused
// unless the upper ones are zero.
func number(b []byte, n int) (uint64, bool) {
	var v uint64
	for i := range n {
		if v>>32 != 0 {
			return 0, false
		}
		v = v<<32 | uint64(binary.BigEndian.Uint32(b[4*i:]))
	}
	return v, true
}

// appendNumber appends v as an integer of n cells and fails when it does not fit.
func appendNumber(b []byte, v uint64, n int) ([]byte, bool) {
	if n == 0 && v != 0 || n == 1 && v>>32 != 0 {
		return nil, false
	}
	for i := n - 1; i >= 0; i-- {
		var c uint32
		if i < 2 {
			c = uint32(v >> (32 * i))
		}
		b = binary.BigEndian.AppendUint32(b, c)
	}
	return b, true
}

// Decode reads a value that is a list of address and size pairs, as in reg or
// linux,usable-memory-range.
func (c Cells) Decode(v []byte) ([]Region, error) {
	step := 4 * (c.Address + c.Size)
	if step == 0 || len(v)%step != 0 {
		return nil, fmt.Errorf("%d bytes are not a list of %d+%d cells: %w", len(v), c.Address, c.Size, ErrValue)
	}
	out := make([]Region, 0, len(v)/step)
	for ; len(v) != 0; v = v[step:] {
		a, ok1 := number(v, c.Address)
		s, ok2 := number(v[4*c.Address:], c.Size)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("address or size of more than 64 bits: %w", ErrValue)
		}
		out = append(out, Region{a, s})
	}
	return out, nil
}

// Encode writes regions as address and size pairs.
func (c Cells) Encode(regions ...Region) ([]byte, error) {
	var b []byte
	for _, r := range regions {
		var ok bool
		if b, ok = appendNumber(b, r.Address, c.Address); ok {
			b, ok = appendNumber(b, r.Size, c.Size)
		}
		if !ok {
			return nil, fmt.Errorf("%#x+%#x does not fit %d+%d cells: %w", r.Address, r.Size, c.Address, c.Size, ErrValue)
		}
	}
	return b, nil
}

// Reg returns the reg property of n, whose parent is parent, in the address
// space of the parent.
func (n *Node) Reg(parent *Node) ([]Region, error) {
	c, err := parent.Cells()
	if err != nil {
		return nil, err
	}
	v, ok := n.Get("reg")
	if !ok {
		return nil, fmt.Errorf("property \"reg\" of node %q: %w", n.Name, ErrNotFound)
	}
	r, err := c.Decode(v)
	if err != nil {
		return nil, fmt.Errorf("property \"reg\" of node %q: %w", n.Name, err)
	}
	return r, nil
}

// RangeMap is an entry of a ranges property: Size bytes at Child in the
// address space of the children are found at Parent in that of the parent.
type RangeMap struct{ Child, Parent, Size uint64 }

// Ranges returns the ranges property of n, a bus below parent. identity is
// true for an empty one: both address spaces are the same. Without the
// property the children are not visible to the parent: ErrNotFound.
func (n *Node) Ranges(parent *Node) (maps []RangeMap, identity bool, err error) {
	v, ok := n.Get("ranges")
	if !ok {
		return nil, false, fmt.Errorf("property \"ranges\" of node %q: %w", n.Name, ErrNotFound)
	}
	if len(v) == 0 {
		return nil, true, nil
	}
	in, err := n.Cells()
	if err != nil {
		return nil, false, err
	}
	out, err := parent.Cells()
	if err != nil {
		return nil, false, err
	}
	step := 4 * (in.Address + out.Address + in.Size)
	if step == 0 || len(v)%step != 0 {
		return nil, false, fmt.Errorf("property \"ranges\" of node %q: %d bytes are not a list of %d+%d+%d cells: %w",
			n.Name, len(v), in.Address, out.Address, in.Size, ErrValue)
	}
	for ; len(v) != 0; v = v[step:] {
		// The upper of three address cells holds flags (PCI bus binding).
		child := v[:4*in.Address]
		if in.Address > 2 {
			child = child[4*(in.Address-2):]
		}
		var m RangeMap
		var ok1, ok2, ok3 bool
		m.Child, ok1 = number(child, len(child)/4)
		m.Parent, ok2 = number(v[4*in.Address:], out.Address)
		m.Size, ok3 = number(v[4*(in.Address+out.Address):], in.Size)
		if !ok1 || !ok2 || !ok3 {
			return nil, false, fmt.Errorf("property \"ranges\" of node %q: more than 64 bits: %w", n.Name, ErrValue)
		}
		maps = append(maps, m)
	}
	return maps, false, nil
}

// Translate turns a region in the address space of the children of the last
// node of chain into one of the root. chain holds the nodes from the root
// down to that bus, the root included.
func Translate(chain []*Node, r Region) (Region, error) {
	for i := len(chain) - 1; i > 0; i-- {
		maps, identity, err := chain[i].Ranges(chain[i-1])
		if err != nil {
			return Region{}, err
		}
		if identity {
			continue
		}
		found := false
		for _, m := range maps {
			if r.Address >= m.Child && r.Address-m.Child < m.Size && r.Size <= m.Size-(r.Address-m.Child) {
				r.Address, found = m.Parent+(r.Address-m.Child), true
				break
			}
		}
		if !found {
			return Region{}, fmt.Errorf("region %#x+%#x in no range of node %q: %w", r.Address, r.Size, chain[i].Name, ErrNotFound)
		}
	}
	return r, nil
}
