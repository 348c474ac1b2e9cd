// SPDX-License-Identifier: Apache-2.0

package fdt

import (
	"encoding/binary"
	"fmt"
)

// Marshal writes t as a flattened tree: header, memory reservation block,
// structure block, strings block, without slack, as dtc lays it out. It
// refuses a tree that Parse would refuse.
func (t *Tree) Marshal() ([]byte, error) {
	if t.Root == nil || t.Root.Name != "" {
		return nil, fmt.Errorf("fdt: write: no root node: %w", ErrMalformed)
	}
	if len(t.Reserve) > MaxReservations {
		return nil, fmt.Errorf("fdt: write: %d memory reservations: %w", len(t.Reserve), ErrLimit)
	}
	w := writer{at: map[string]uint32{}}
	if err := w.node(t.Root, 1); err != nil {
		return nil, err
	}
	w.cell(tokStop)

	rsv := (len(t.Reserve) + 1) * 16
	structs := headerSize + rsv
	names := structs + len(w.b)
	total := names + len(w.names)
	if total > MaxSize {
		return nil, fmt.Errorf("fdt: write: size %#x, at most %#x: %w", total, MaxSize, ErrLimit)
	}
	out := make([]byte, 0, total)
	for _, v := range [...]int{
		magic, total, structs, names, headerSize, version, compatible,
		int(t.BootCPU), len(w.names), len(w.b),
	} {
		out = binary.BigEndian.AppendUint32(out, uint32(v))
	}
	for _, r := range t.Reserve {
		if r == (Reservation{}) {
			return nil, fmt.Errorf("fdt: write: empty memory reservation: %w", ErrMalformed)
		}
		out = binary.BigEndian.AppendUint64(out, r.Address)
		out = binary.BigEndian.AppendUint64(out, r.Size)
	}
	out = append(out, make([]byte, 16)...)
	out = append(out, w.b...)
	return append(out, w.names...), nil
}

type writer struct {
	b     []byte            // structure block
	names []byte            // strings block
	nodes int               // written so far
	at    map[string]uint32 // first offset of each string and of its tails in names
}

func (w *writer) cell(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }

func (w *writer) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// name returns the offset of s in the strings block. Like dtc it shares
// strings, also with the tail of a longer one that came before.
func (w *writer) name(s string) uint32 {
	if off, ok := w.at[s]; ok {
		return off
	}
	off := uint32(len(w.names))
	w.names = append(append(w.names, s...), 0)
	for i := range len(s) {
		if _, ok := w.at[s[i:]]; !ok {
			w.at[s[i:]] = off + uint32(i)
		}
	}
	return off
}

func (w *writer) node(n *Node, depth int) error {
	w.nodes++
	switch {
	case w.nodes > MaxNodes:
		return fmt.Errorf("fdt: write: more than %d nodes: %w", MaxNodes, ErrLimit)
	case len(n.Props) > MaxProps:
		return fmt.Errorf("fdt: write: %d properties in node %q: %w", len(n.Props), n.Name, ErrLimit)
	case depth > MaxDepth:
		return fmt.Errorf("fdt: write: node %q nested more than %d deep: %w", n.Name, MaxDepth, ErrLimit)
	case depth > 1 && !goodName(n.Name, true):
		return fmt.Errorf("fdt: write: node name %q: %w", n.Name, ErrMalformed)
	case len(w.b) > MaxSize:
		return fmt.Errorf("fdt: write: structure block exceeds %#x bytes: %w", MaxSize, ErrLimit)
	}
	if dup, ok := n.duplicate(); ok {
		return fmt.Errorf("fdt: write: name %q twice in node %q: %w", dup, n.Name, ErrMalformed)
	}
	w.cell(tokBegin)
	w.b = append(append(w.b, n.Name...), 0)
	w.pad()
	for i := range n.Props {
		p := &n.Props[i]
		if !goodName(p.Name, false) {
			return fmt.Errorf("fdt: write: property name %q of node %q: %w", p.Name, n.Name, ErrMalformed)
		}
		if len(p.Value) > MaxSize-min(len(w.b), MaxSize) {
			return fmt.Errorf("fdt: write: structure block exceeds %#x bytes: %w", MaxSize, ErrLimit)
		}
		w.cell(tokProp)
		w.cell(uint32(len(p.Value)))
		w.cell(w.name(p.Name))
		w.b = append(w.b, p.Value...)
		w.pad()
	}
	for _, c := range n.Children {
		if err := w.node(c, depth+1); err != nil {
			return err
		}
	}
	w.cell(tokEnd)
	return nil
}
