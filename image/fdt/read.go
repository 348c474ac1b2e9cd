// SPDX-License-Identifier: Apache-2.0

package fdt

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The header (Devicetree Specification 0.4, section 5.2): ten big-endian
// 32-bit fields.
const (
	headerSize = 40
	magic      = 0xd00dfeed
	version    = 17
	compatible = 16 // last_comp_version that this package writes
)

// Tokens of the structure block (section 5.4.1).
const (
	tokBegin = 1
	tokEnd   = 2
	tokProp  = 3
	tokNop   = 4
	tokStop  = 9
)

// Is tells whether b begins with the magic number of a flattened tree.
func Is(b []byte) bool {
	return len(b) >= headerSize && binary.BigEndian.Uint32(b) == magic
}

// Size returns the size in bytes that the header of a flattened tree states,
// or ErrNotFDT.
func Size(b []byte) (uint32, error) {
	if !Is(b) {
		return 0, fmt.Errorf("header of %#x bytes: %w", min(len(b), headerSize), ErrNotFDT)
	}
	return binary.BigEndian.Uint32(b[4:]), nil
}

// Parse reads a tree. The values of properties are views of b. Bytes of b
// that follow the tree are ignored. A tree is refused when a block lies
// outside of it or over another, when a token, name or order is not as the
// specification has it, or when one of the limits is exceeded.
func Parse(b []byte) (*Tree, error) {
	size, err := Size(b)
	if err != nil {
		return nil, fmt.Errorf("fdt: %w", err)
	}
	u32 := func(off int) uint64 { return uint64(binary.BigEndian.Uint32(b[off:])) }
	ver, comp := u32(20), u32(24)
	if ver < version || comp > version {
		return nil, fmt.Errorf("fdt: version %d, compatible with %d: %w", ver, comp, ErrVersion)
	}
	if size > MaxSize {
		return nil, fmt.Errorf("fdt: size %#x, at most %#x: %w", size, MaxSize, ErrLimit)
	}
	if uint64(size) > uint64(len(b)) {
		return nil, fmt.Errorf("fdt: size %#x of which %#x bytes are there: %w", size, len(b), ErrTruncated)
	}
	if size < headerSize {
		return nil, fmt.Errorf("fdt: size %#x is less than the header: %w", size, ErrMalformed)
	}
	b = b[:size:size]

	structs, err := block(b, "structure block", u32(8), u32(36), 4)
	if err != nil {
		return nil, err
	}
	names, err := block(b, "strings block", u32(12), u32(32), 1)
	if err != nil {
		return nil, err
	}
	t := &Tree{BootCPU: uint32(u32(28))}
	rsvSize, err := t.readReserve(b, u32(16))
	if err != nil {
		return nil, err
	}
	spans := [...][2]uint64{
		{u32(8), u32(8) + u32(36)}, {u32(12), u32(12) + u32(32)}, {u32(16), u32(16) + rsvSize},
	}
	for i, a := range spans {
		for _, c := range spans[:i] {
			if a[0] < c[1] && c[0] < a[1] {
				return nil, fmt.Errorf("fdt: blocks at %#x and %#x overlap: %w", c[0], a[0], ErrMalformed)
			}
		}
	}
	r := reader{b: structs, base: u32(8), names: names}
	t.Root, err = r.tree()
	if err != nil {
		return nil, err
	}
	return t, nil
}

// block returns b[off:off+size] after checking that it is inside of b, behind
// the header and aligned.
func block(b []byte, what string, off, size, align uint64) ([]byte, error) {
	if off < headerSize || off%align != 0 {
		return nil, fmt.Errorf("fdt: %s at offset %#x: %w", what, off, ErrMalformed)
	}
	if off+size > uint64(len(b)) { // both came from 32 bits: no wrap
		return nil, fmt.Errorf("fdt: %s %#x+%#x exceeds size %#x: %w", what, off, size, len(b), ErrTruncated)
	}
	return b[off : off+size : off+size], nil
}

// readReserve reads the memory reservation block at off (section 5.3) and
// returns its size with the terminating entry.
func (t *Tree) readReserve(b []byte, off uint64) (uint64, error) {
	start := off
	for {
		e, err := block(b, "memory reservation block", off, 16, 8)
		if err != nil {
			return 0, err
		}
		r := Reservation{binary.BigEndian.Uint64(e), binary.BigEndian.Uint64(e[8:])}
		off += 16
		if r == (Reservation{}) {
			return off - start, nil
		}
		if len(t.Reserve) == MaxReservations {
			return 0, fmt.Errorf("fdt: more than %d memory reservations: %w", MaxReservations, ErrLimit)
		}
		t.Reserve = append(t.Reserve, r)
	}
}

// reader walks the structure block.
type reader struct {
	b     []byte // structure block
	off   uint64 // next byte in b
	base  uint64 // offset of b in the file, for messages
	names []byte // strings block
	nodes int    // read so far
}

func (r *reader) fail(what string, err error) error {
	return fmt.Errorf("fdt: %s at offset %#x: %w", what, r.base+r.off, err)
}

// u32 reads the next cell; what it is, is named in the error.
func (r *reader) u32(what string) (uint32, error) {
	if uint64(len(r.b))-r.off < 4 {
		return 0, r.fail(what, ErrTruncated)
	}
	v := binary.BigEndian.Uint32(r.b[r.off:])
	r.off += 4
	return v, nil
}

// token reads the next token that is not FDT_NOP.
func (r *reader) token() (uint32, error) {
	for {
		v, err := r.u32("token")
		if err != nil || v != tokNop {
			return v, err
		}
	}
}

// align moves to the next multiple of four.
func (r *reader) align() error {
	next := (r.off + 3) &^ 3
	if next > uint64(len(r.b)) {
		return r.fail("padding", ErrTruncated)
	}
	r.off = next
	return nil
}

func (r *reader) tree() (*Node, error) {
	tok, err := r.token()
	if err != nil {
		return nil, err
	}
	if tok != tokBegin {
		return nil, r.fail(fmt.Sprintf("token %#x instead of the root node", tok), ErrMalformed)
	}
	root, err := r.node(1)
	if err != nil {
		return nil, err
	}
	if tok, err = r.token(); err != nil {
		return nil, err
	}
	if tok != tokStop {
		return nil, r.fail(fmt.Sprintf("token %#x instead of the end", tok), ErrMalformed)
	}
	return root, nil
}

// node reads a node whose FDT_BEGIN_NODE has been read.
func (r *reader) node(depth int) (*Node, error) {
	if depth > MaxDepth {
		return nil, r.fail(fmt.Sprintf("node nested more than %d deep", MaxDepth), ErrLimit)
	}
	if r.nodes++; r.nodes > MaxNodes {
		return nil, r.fail(fmt.Sprintf("more than %d nodes", MaxNodes), ErrLimit)
	}
	name, err := cString(r.b[r.off:])
	if err != nil {
		return nil, r.fail("node name", err)
	}
	if (depth == 1) != (name == "") || name != "" && !goodName(name, true) {
		return nil, r.fail(fmt.Sprintf("node name %q", name), ErrMalformed)
	}
	r.off += uint64(len(name)) + 1
	if err := r.align(); err != nil {
		return nil, err
	}
	n := &Node{Name: name}
	for {
		tok, err := r.token()
		if err != nil {
			return nil, err
		}
		switch tok {
		case tokProp:
			if len(n.Children) != 0 {
				return nil, r.fail(fmt.Sprintf("property after a subnode of %q", n.Name), ErrMalformed)
			}
			if len(n.Props) == MaxProps {
				return nil, r.fail(fmt.Sprintf("more than %d properties in node %q", MaxProps, n.Name), ErrLimit)
			}
			p, err := r.property()
			if err != nil {
				return nil, err
			}
			n.Props = append(n.Props, p)
		case tokBegin:
			c, err := r.node(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Children = append(n.Children, c)
		case tokEnd:
			if dup, ok := n.duplicate(); ok {
				return nil, r.fail(fmt.Sprintf("name %q twice in node %q", dup, n.Name), ErrMalformed)
			}
			return n, nil
		default:
			return nil, r.fail(fmt.Sprintf("token %#x in node %q", tok, n.Name), ErrMalformed)
		}
	}
}

// property reads a property whose FDT_PROP has been read.
func (r *reader) property() (Property, error) {
	size, err := r.u32("length of a property")
	if err != nil {
		return Property{}, err
	}
	off, err := r.u32("name of a property")
	if err != nil {
		return Property{}, err
	}
	if uint64(off) >= uint64(len(r.names)) {
		return Property{}, r.fail(fmt.Sprintf("property name %#x exceeds strings block of %#x bytes", off, len(r.names)), ErrTruncated)
	}
	name, err := cString(r.names[off:])
	if err != nil {
		return Property{}, r.fail(fmt.Sprintf("property name %#x in the strings block", off), err)
	}
	if !goodName(name, false) {
		return Property{}, r.fail(fmt.Sprintf("property name %q", name), ErrMalformed)
	}
	if uint64(size) > uint64(len(r.b))-r.off {
		return Property{}, r.fail(fmt.Sprintf("value of property %q, %#x bytes", name, size), ErrTruncated)
	}
	end := r.off + uint64(size)
	p := Property{name, r.b[r.off:end:end]}
	r.off = end
	return p, r.align()
}

// cString returns the string that ends with the first NUL of b.
func cString(b []byte) (string, error) {
	head := b[:min(len(b), MaxName+1)]
	i := bytes.IndexByte(head, 0)
	if i >= 0 {
		return string(head[:i]), nil
	}
	if len(b) > MaxName {
		return "", fmt.Errorf("longer than %d bytes: %w", MaxName, ErrLimit)
	}
	return "", fmt.Errorf("without final NUL: %w", ErrTruncated)
}

// goodName tells whether s can name a node or a property. The specification's
// own sets (sections 2.2.1 and 2.2.4.1) are narrower than what is found in
// the field; excluded is only what would make a path or a text ambiguous.
func goodName(s string, node bool) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || node && c == '/' {
			return false
		}
	}
	return true
}

// duplicate returns a name that two properties or two children of n share.
func (n *Node) duplicate() (string, bool) {
	if len(n.Props) > 1 {
		seen := make(map[string]bool, len(n.Props))
		for i := range n.Props {
			if seen[n.Props[i].Name] {
				return n.Props[i].Name, true
			}
			seen[n.Props[i].Name] = true
		}
	}
	if len(n.Children) > 1 {
		seen := make(map[string]bool, len(n.Children))
		for _, c := range n.Children {
			if seen[c.Name] {
				return c.Name, true
			}
			seen[c.Name] = true
		}
	}
	return "", false
}
