// SPDX-License-Identifier: Apache-2.0

package fdt

import (
	"errors"
	"fmt"
)

// Chosen returns the /chosen node and makes one when there is none.
func (t *Tree) Chosen() *Node { return t.Root.Ensure("chosen") }

// isMemory tells whether n, a child of the root, describes memory
// (Devicetree Specification, section 3.4).
func isMemory(n *Node) bool {
	s, err := n.Text("device_type")
	return err == nil && s == "memory"
}

// enabled tells whether the node's status lets it be used (section 2.3.4).
func enabled(n *Node) bool {
	s, err := n.Text("status")
	return errors.Is(err, ErrNotFound) || s == "okay" || s == "ok"
}

// Memory returns the regions of all enabled memory nodes in order, empty ones
// left out.
func (t *Tree) Memory() ([]Region, error) {
	var out []Region
	for _, n := range t.Root.Children {
		if !isMemory(n) || !enabled(n) {
			continue
		}
		// The kernel prefers linux,usable-memory (drivers/of/fdt.c,
		// early_init_dt_scan_memory).
		c, err := t.Root.Cells()
		if err != nil {
			return nil, err
		}
		v, ok := n.Get("linux,usable-memory")
		if !ok {
			v, ok = n.Get("reg")
		}
		if !ok {
			continue
		}
		regions, err := c.Decode(v)
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", n.Name, err)
		}
		for _, r := range regions {
			if r.Size == 0 {
				continue
			}
			if _, ok := r.End(); !ok {
				return nil, fmt.Errorf("node %q: region %#x+%#x wraps: %w", n.Name, r.Address, r.Size, ErrValue)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// SetMemory replaces all memory nodes by one per region.
func (t *Tree) SetMemory(regions []Region) error {
	c, err := t.Root.Cells()
	if err != nil {
		return err
	}
	var keep []*Node
	for _, n := range t.Root.Children {
		if !isMemory(n) {
			keep = append(keep, n)
		}
	}
	for _, r := range regions {
		reg, err := c.Encode(r)
		if err != nil {
			return err
		}
		n := &Node{Name: fmt.Sprintf("memory@%x", r.Address)}
		n.SetText("device_type", "memory")
		n.Set("reg", reg)
		keep = append(keep, n)
	}
	t.Root.Children = keep
	return nil
}

// Reserved is memory that the tree sets aside.
type Reserved struct {
	Name string // node name, or "memreserve" for the reservation block
	Region
	NoMap bool // must not even be mapped (no-map)
}

// ReservedMemory returns the memory reservation block and the children of
// /reserved-memory that state their place (reserved-memory.yaml of the device
// tree schema). Those that only state a size are placed by each kernel for
// itself and are left out.
func (t *Tree) ReservedMemory() ([]Reserved, error) {
	var out []Reserved
	for _, r := range t.Reserve {
		out = append(out, Reserved{Name: "memreserve", Region: Region(r)})
	}
	parent, ok := t.Root.Child("reserved-memory")
	if !ok {
		return out, nil
	}
	for _, n := range parent.Children {
		if !enabled(n) {
			continue
		}
		regions, err := n.Reg(parent)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		_, noMap := n.Get("no-map")
		for _, r := range regions {
			if r.Size != 0 {
				out = append(out, Reserved{n.Name, r, noMap})
			}
		}
	}
	return out, nil
}
