// SPDX-License-Identifier: Apache-2.0

package fdt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Limits that hold for reading and for writing.
const (
	// MaxSize is the greatest size of a tree in bytes. Kernels refuse far
	// smaller ones: 2 MiB on arm64 (Documentation/arch/arm64/booting.rst).
	MaxSize = 4 << 20
	// MaxNodes is the greatest number of nodes, and MaxProps that of
	// properties in one node. Names are searched one after the other, so
	// they bound the work that a tree can cause. Trees of large SoCs have
	// some 5,000 nodes and as many symbols.
	MaxNodes = 32768
	MaxProps = 16384
	// MaxDepth is how deep nodes may be nested, the root counted as 1. The
	// kernel stops at 64 (drivers/of/fdt.c, FDT_MAX_DEPTH).
	MaxDepth = 64
	// MaxName is the longest name of a node or property in bytes. The
	// specification says 31; real trees have longer ones.
	MaxName = 255
	// MaxReservations is the greatest number of entries in the memory
	// reservation block.
	MaxReservations = 4096
)

// What can be wrong with a tree. Errors of this package wrap one of these.
var (
	ErrNotFDT    = errors.New("not a flattened device tree")
	ErrVersion   = errors.New("unsupported version of the flattened device tree")
	ErrTruncated = errors.New("truncated")
	ErrMalformed = errors.New("malformed")
	ErrLimit     = errors.New("limit exceeded")
	ErrNotFound  = errors.New("not found")
	ErrValue     = errors.New("property value of the wrong form")
	ErrOverlay   = errors.New("bad overlay")
)

// Tree is a device tree.
type Tree struct {
	// BootCPU is the physical id of the boot processor (boot_cpuid_phys).
	BootCPU uint32
	// Reserve holds the entries of the memory reservation block in order.
	Reserve []Reservation
	// Root is the root node; its name is empty.
	Root *Node
}

// Reservation is an entry of the memory reservation block: bytes of physical
// memory that the operating system must leave alone.
type Reservation struct {
	Address uint64 // physical address
	Size    uint64 // bytes
}

// Node is a node with its properties and children in the order in which they
// stand in the file.
type Node struct {
	Name     string // with the unit address: "memory@40000000"
	Props    []Property
	Children []*Node
}

// Property is a name and a value. The value may be a view of the bytes given
// to Parse and is not to be written to.
type Property struct {
	Name  string
	Value []byte
}

// New returns a tree that has an empty root node.
func New() *Tree { return &Tree{Root: &Node{}} }

// Clone returns a deep copy of the structure of t. Property values are
// shared; no function of this package writes to them.
func (t *Tree) Clone() *Tree {
	return &Tree{
		BootCPU: t.BootCPU,
		Reserve: append([]Reservation(nil), t.Reserve...),
		Root:    t.Root.clone(),
	}
}

func (n *Node) clone() *Node {
	c := &Node{Name: n.Name, Props: append([]Property(nil), n.Props...)}
	for _, child := range n.Children {
		c.Children = append(c.Children, child.clone())
	}
	return c
}

// Lookup finds a node by its path. As in libfdt, a component without a unit
// address finds the first node of that name with any unit address, and a path
// that does not begin with "/" begins with an alias.
func (t *Tree) Lookup(path string) (*Node, bool) {
	n := t.Root
	if !strings.HasPrefix(path, "/") {
		alias, rest, _ := strings.Cut(path, "/")
		aliases, ok := t.Root.child("aliases")
		if !ok {
			return nil, false
		}
		full, err := aliases.Text(alias)
		// One level only: an alias names a full path.
		if err != nil || !strings.HasPrefix(full, "/") {
			return nil, false
		}
		if n, ok = t.Lookup(full); !ok {
			return nil, false
		}
		path = rest
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		var ok bool
		if n, ok = n.child(part); !ok {
			return nil, false
		}
	}
	return n, true
}

// Ensure returns the node at path, an absolute one, and makes the nodes that
// are missing.
func (t *Tree) Ensure(path string) *Node {
	n := t.Root
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			n = n.Ensure(part)
		}
	}
	return n
}

// Walk calls f for every node, parents before children, with its path. It
// stops at the first error and returns it.
func (t *Tree) Walk(f func(path string, n *Node) error) error {
	return t.Root.walk("/", f)
}

func (n *Node) walk(path string, f func(string, *Node) error) error {
	if err := f(path, n); err != nil {
		return err
	}
	for _, c := range n.Children {
		p := path + "/" + c.Name
		if path == "/" {
			p = path + c.Name
		}
		if err := c.walk(p, f); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the path of n in t.
func (t *Tree) Path(n *Node) (string, bool) {
	var names []string
	var find func(at *Node) bool
	find = func(at *Node) bool {
		if at == n {
			return true
		}
		for _, c := range at.Children {
			names = append(names, c.Name)
			if find(c) {
				return true
			}
			names = names[:len(names)-1]
		}
		return false
	}
	if !find(t.Root) {
		return "", false
	}
	return "/" + strings.Join(names, "/"), true
}

// Child returns the child with exactly this name.
func (n *Node) Child(name string) (*Node, bool) {
	for _, c := range n.Children {
		if c.Name == name {
			return c, true
		}
	}
	return nil, false
}

// child is Child, but a name without unit address also finds a node that has
// one, as libfdt does (fdt_subnode_offset).
func (n *Node) child(name string) (*Node, bool) {
	if strings.Contains(name, "@") {
		return n.Child(name)
	}
	for _, c := range n.Children {
		if base, _, _ := strings.Cut(c.Name, "@"); base == name {
			return c, true
		}
	}
	return nil, false
}

// Ensure returns the child of this name and appends an empty one when there
// is none.
func (n *Node) Ensure(name string) *Node {
	if c, ok := n.Child(name); ok {
		return c
	}
	c := &Node{Name: name}
	n.Children = append(n.Children, c)
	return c
}

// RemoveChild removes the child with exactly this name and all below it, and
// tells whether there was one.
func (n *Node) RemoveChild(name string) bool {
	for i, c := range n.Children {
		if c.Name == name {
			n.Children = append(n.Children[:i:i], n.Children[i+1:]...)
			return true
		}
	}
	return false
}

// Get returns the value of a property.
func (n *Node) Get(name string) ([]byte, bool) {
	for i := range n.Props {
		if n.Props[i].Name == name {
			return n.Props[i].Value, true
		}
	}
	return nil, false
}

// Set gives a property the value v, of which it keeps the slice; a new one is
// appended.
func (n *Node) Set(name string, v []byte) {
	for i := range n.Props {
		if n.Props[i].Name == name {
			n.Props[i].Value = v
			return
		}
	}
	n.Props = append(n.Props, Property{name, v})
}

// Delete removes a property and tells whether there was one.
func (n *Node) Delete(name string) bool {
	for i := range n.Props {
		if n.Props[i].Name == name {
			n.Props = append(n.Props[:i:i], n.Props[i+1:]...)
			return true
		}
	}
	return false
}

// Text returns the value of a property that is one NUL-terminated string.
func (n *Node) Text(name string) (string, error) {
	v, ok := n.Get(name)
	if !ok {
		return "", fmt.Errorf("property %q of node %q: %w", name, n.Name, ErrNotFound)
	}
	if len(v) == 0 || bytes.IndexByte(v, 0) != len(v)-1 {
		return "", fmt.Errorf("property %q of node %q is not a string: %w", name, n.Name, ErrValue)
	}
	return string(v[:len(v)-1]), nil
}

// Texts returns the value of a property that is a list of NUL-terminated
// strings, such as compatible.
func (n *Node) Texts(name string) ([]string, error) {
	v, ok := n.Get(name)
	if !ok {
		return nil, fmt.Errorf("property %q of node %q: %w", name, n.Name, ErrNotFound)
	}
	if len(v) == 0 || v[len(v)-1] != 0 {
		return nil, fmt.Errorf("property %q of node %q is not a list of strings: %w", name, n.Name, ErrValue)
	}
	return strings.Split(string(v[:len(v)-1]), "\x00"), nil
}

// SetText sets a property to a string and its NUL.
func (n *Node) SetText(name, s string) { n.Set(name, append([]byte(s), 0)) }
