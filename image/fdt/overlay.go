// SPDX-License-Identifier: Apache-2.0

package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// maxPhandle is the greatest phandle; 0 and 0xffffffff are none.
const maxPhandle = 0xfffffffe

// Phandle returns the phandle of n, or 0. The old name of the property is
// understood too.
func (n *Node) Phandle() uint32 {
	for _, name := range phandleNames {
		if v, err := n.U32(name); err == nil && v <= maxPhandle {
			return v
		}
	}
	return 0
}

var phandleNames = [...]string{"phandle", "linux,phandle"}

// ByPhandle returns the node with a phandle.
func (t *Tree) ByPhandle(ph uint32) (*Node, bool) {
	n, ok := t.phandles()[ph]
	return n, ok
}

// phandles maps phandles to the first node that has each.
func (t *Tree) phandles() map[uint32]*Node {
	m := map[uint32]*Node{}
	var walk func(*Node)
	walk = func(n *Node) {
		if ph := n.Phandle(); ph != 0 {
			if _, ok := m[ph]; !ok {
				m[ph] = n
			}
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(t.Root)
	return m
}

// Apply applies an overlay as libfdt's fdt_overlay_apply does: phandles of
// the overlay are moved above those of t, its references are resolved by
// __local_fixups__ and, against __symbols__ of t, by __fixups__; then each
// fragment is merged into its target and the overlay's symbols are added to
// those of t. A node of t that has a phandle keeps it, and the references of
// the overlay follow (libfdt since 1.7.1). On error t is unchanged; overlay
// is never changed.
func (t *Tree) Apply(overlay *Tree) error {
	a := applier{base: t.Clone(), over: overlay.Clone()}
	if err := a.run(); err != nil {
		return fmt.Errorf("fdt: overlay: %w", err)
	}
	*t = *a.base
	return nil
}

type applier struct {
	base, over *Tree
	phandles   map[uint32]*Node // of base, kept up while merging
	owned      map[*Property]bool
	merged     map[*Node]string // fragment to the path of its target
	nodes      int              // added to base
}

func (a *applier) run() error {
	a.phandles = a.base.phandles()
	var delta uint32
	for ph := range a.phandles {
		delta = max(delta, ph)
	}
	if err := a.movePhandles(a.over.Root, delta); err != nil {
		return err
	}
	if local, ok := a.over.Root.Child("__local_fixups__"); ok {
		err := a.eachLocal(local, a.over.Root, func(cell []byte) error {
			v := uint64(binary.BigEndian.Uint32(cell)) + uint64(delta)
			if v > maxPhandle {
				return fmt.Errorf("phandle %#x: %w", v, ErrOverlay)
			}
			binary.BigEndian.PutUint32(cell, uint32(v))
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := a.resolve(); err != nil {
		return err
	}
	if err := a.keepPhandles(); err != nil {
		return err
	}
	a.merged = map[*Node]string{}
	for _, n := range a.over.Root.Children {
		content, ok := n.Child("__overlay__")
		if !ok {
			continue
		}
		target, path, err := a.target(n)
		if err != nil {
			return err
		}
		if err := a.merge(target, content, 1); err != nil {
			return err
		}
		a.merged[n] = path
	}
	return a.symbols()
}

// movePhandles adds delta to all phandles below n.
func (a *applier) movePhandles(n *Node, delta uint32) error {
	for _, name := range phandleNames {
		v, ok := n.Get(name)
		if !ok {
			continue
		}
		if len(v) != 4 {
			return fmt.Errorf("%s of node %q has %d bytes: %w", name, n.Name, len(v), ErrOverlay)
		}
		ph := uint64(binary.BigEndian.Uint32(v)) + uint64(delta)
		if ph > maxPhandle {
			return fmt.Errorf("%s of node %q becomes %#x: %w", name, n.Name, ph, ErrOverlay)
		}
		n.SetU32(name, uint32(ph))
	}
	for _, c := range n.Children {
		if err := a.movePhandles(c, delta); err != nil {
			return err
		}
	}
	return nil
}

// cell returns the four bytes at off of a property for writing. The first
// time a property is asked for, its value is copied.
func (a *applier) cell(n *Node, prop string, off uint64) ([]byte, error) {
	for i := range n.Props {
		p := &n.Props[i]
		if p.Name != prop {
			continue
		}
		if off > uint64(len(p.Value)) || uint64(len(p.Value))-off < 4 {
			return nil, fmt.Errorf("fixup at %#x of property %q of node %q, which has %#x bytes: %w", off, prop, n.Name, len(p.Value), ErrOverlay)
		}
		if !a.owned[p] {
			if a.owned == nil {
				a.owned = map[*Property]bool{}
			}
			p.Value, a.owned[p] = bytes.Clone(p.Value), true
		}
		return p.Value[off : off+4], nil
	}
	return nil, fmt.Errorf("fixup of property %q of node %q, which has none: %w", prop, n.Name, ErrOverlay)
}

// eachLocal calls f for each cell that __local_fixups__ names: fix mirrors
// the nodes of the overlay, its properties list byte offsets.
func (a *applier) eachLocal(fix, n *Node, f func(cell []byte) error) error {
	for i := range fix.Props {
		p := &fix.Props[i]
		if len(p.Value)%4 != 0 {
			return fmt.Errorf("__local_fixups__: property %q has %d bytes: %w", p.Name, len(p.Value), ErrOverlay)
		}
		for v := p.Value; len(v) != 0; v = v[4:] {
			cell, err := a.cell(n, p.Name, uint64(binary.BigEndian.Uint32(v)))
			if err != nil {
				return err
			}
			if err := f(cell); err != nil {
				return err
			}
		}
	}
	for _, c := range fix.Children {
		to, ok := n.child(c.Name)
		if !ok {
			return fmt.Errorf("__local_fixups__: no node %q in node %q: %w", c.Name, n.Name, ErrOverlay)
		}
		if err := a.eachLocal(c, to, f); err != nil {
			return err
		}
	}
	return nil
}

// resolve writes the phandles of nodes of the base where __fixups__ wants
// them: a property per symbol, "path:property:offset" for each place.
func (a *applier) resolve() error {
	fixups, ok := a.over.Root.Child("__fixups__")
	if !ok {
		return nil
	}
	symbols, ok := a.base.Root.Child("__symbols__")
	if !ok && len(fixups.Props) != 0 {
		return fmt.Errorf("the base tree has no __symbols__ (compile it with dtc -@): %w", ErrOverlay)
	}
	for i := range fixups.Props {
		label := fixups.Props[i].Name
		path, err := symbols.Text(label)
		if err != nil {
			return fmt.Errorf("symbol %q of the base tree: %w: %w", label, err, ErrOverlay)
		}
		node, ok := a.base.Lookup(path)
		if !ok {
			return fmt.Errorf("symbol %q: no node %q: %w", label, path, ErrOverlay)
		}
		ph := node.Phandle()
		if ph == 0 {
			return fmt.Errorf("symbol %q: node %q has no phandle: %w", label, path, ErrOverlay)
		}
		places, err := fixups.Texts(label)
		if err != nil {
			return fmt.Errorf("__fixups__: %w: %w", err, ErrOverlay)
		}
		for _, place := range places {
			parts := strings.Split(place, ":")
			if len(parts) != 3 || !strings.HasPrefix(parts[0], "/") {
				return fmt.Errorf("__fixups__: %q: %w", place, ErrOverlay)
			}
			off, err := strconv.ParseUint(parts[2], 10, 32)
			if err != nil {
				return fmt.Errorf("__fixups__: offset of %q: %w", place, ErrOverlay)
			}
			n, ok := a.over.Lookup(parts[0])
			if !ok {
				return fmt.Errorf("__fixups__: no node %q: %w", parts[0], ErrOverlay)
			}
			cell, err := a.cell(n, parts[1], off)
			if err != nil {
				return err
			}
			binary.BigEndian.PutUint32(cell, ph)
		}
	}
	return nil
}

// target finds the node that a fragment is for and its path. A path may lead
// to what an earlier fragment has added.
func (a *applier) target(frag *Node) (*Node, string, error) {
	if _, ok := frag.Get("target"); ok {
		ph, err := frag.U32("target")
		if err != nil {
			return nil, "", fmt.Errorf("%w: %w", err, ErrOverlay)
		}
		n, ok := a.phandles[ph]
		if !ok {
			return nil, "", fmt.Errorf("fragment %q: no node with phandle %#x: %w", frag.Name, ph, ErrOverlay)
		}
		path, _ := a.base.Path(n)
		return n, path, nil
	}
	path, err := frag.Text("target-path")
	if err != nil {
		return nil, "", fmt.Errorf("fragment %q has no target: %w: %w", frag.Name, err, ErrOverlay)
	}
	n, ok := a.base.Lookup(path)
	if !ok {
		return nil, "", fmt.Errorf("fragment %q: no node %q: %w", frag.Name, path, ErrOverlay)
	}
	return n, path, nil
}

// keepPhandles lets nodes of the base that the overlay gives a phandle keep
// their own, and changes the overlay's references to it.
func (a *applier) keepPhandles() error {
	renamed := map[uint32]uint32{}
	var compare func(base, over *Node)
	compare = func(base, over *Node) {
		if was, now := base.Phandle(), over.Phandle(); was != 0 && now != 0 {
			renamed[now] = was
			for _, name := range phandleNames {
				if _, ok := over.Get(name); ok {
					over.SetU32(name, was)
				}
			}
		}
		for _, c := range over.Children {
			if b, ok := base.child(c.Name); ok {
				compare(b, c)
			}
		}
	}
	for _, n := range a.over.Root.Children {
		content, ok := n.Child("__overlay__")
		if !ok {
			continue
		}
		// A target that is not there yet has no phandle to keep.
		if target, _, err := a.target(n); err == nil {
			compare(target, content)
		}
	}
	local, ok := a.over.Root.Child("__local_fixups__")
	if len(renamed) == 0 || !ok {
		return nil
	}
	return a.eachLocal(local, a.over.Root, func(cell []byte) error {
		if to, ok := renamed[binary.BigEndian.Uint32(cell)]; ok {
			binary.BigEndian.PutUint32(cell, to)
		}
		return nil
	})
}

// merge sets the properties of from in to and descends into the children.
func (a *applier) merge(to, from *Node, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("node %q nested more than %d deep: %w", from.Name, MaxDepth, ErrLimit)
	}
	for i := range from.Props {
		to.Set(from.Props[i].Name, from.Props[i].Value)
	}
	if ph := to.Phandle(); ph != 0 {
		if _, ok := a.phandles[ph]; !ok {
			a.phandles[ph] = to
		}
	}
	for _, c := range from.Children {
		n, ok := to.child(c.Name)
		if !ok {
			if a.nodes++; a.nodes > MaxNodes {
				return fmt.Errorf("more than %d nodes added: %w", MaxNodes, ErrLimit)
			}
			n = &Node{Name: c.Name}
			to.Children = append(to.Children, n)
		}
		if err := a.merge(n, c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// symbols adds the overlay's symbols to those of the base, with the path that
// the nodes have after merging. Symbols of anything else than the content of
// a fragment are left out.
func (a *applier) symbols() error {
	from, ok := a.over.Root.Child("__symbols__")
	if !ok {
		return nil
	}
	to := a.base.Root.Ensure("__symbols__")
	for i := range from.Props {
		label := from.Props[i].Name
		path, err := from.Text(label)
		if err != nil || !strings.HasPrefix(path, "/") {
			return fmt.Errorf("__symbols__: %q is not a path: %w", label, ErrOverlay)
		}
		name, rest, ok := strings.Cut(path[1:], "/")
		if !ok {
			continue
		}
		below, rel, _ := strings.Cut(rest, "/")
		if below != "__overlay__" {
			continue
		}
		frag, _ := a.over.Root.child(name)
		full, ok := a.merged[frag]
		if !ok {
			return fmt.Errorf("__symbols__: %q lies in no fragment: %w", path, ErrOverlay)
		}
		if full != "/" {
			full += "/"
		}
		to.SetText(label, full+rel)
	}
	return nil
}
