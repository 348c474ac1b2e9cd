// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A path leads from a type to a field, an array element or an enumerator.
type path struct {
	root  *Type
	steps []step
	bit   uint64 // offset from the root
	enum  int    // index of an enumerator
}

// step is one accessor: the array index at the root, a member, or an index
// into an array member.
type step struct {
	in     *Type // structure or union, nil for an index
	member int
	index  uint64
	typ    *Type // what the step arrives at
}

// parsePath reads an access string such as "0:2:1" against the program's own
// type.
func parsePath(root *Type, access string, kind coreKind) (*path, error) {
	p := &path{root: root}
	parts := strings.Split(access, ":")
	if len(parts) > maxTypeDepth {
		return nil, fmt.Errorf("CO-RE access of %d steps: %w", len(parts), ErrLimit)
	}
	nums := make([]uint64, len(parts))
	for i, s := range parts {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("CO-RE access string %q: %w", access, ErrFormat)
		}
		nums[i] = n
	}
	switch {
	case kind.isType():
		if len(nums) != 1 || nums[0] != 0 {
			return nil, fmt.Errorf("CO-RE access string %q for a type: %w", access, ErrFormat)
		}
		return p, nil
	case kind.isEnum():
		y := plain(root)
		if len(nums) != 1 || y == nil || y.Kind != KindEnum && y.Kind != KindEnum64 || nums[0] >= uint64(len(y.Values)) {
			return nil, fmt.Errorf("CO-RE access string %q for an enumerator: %w", access, ErrFormat)
		}
		p.enum = int(nums[0])
		return p, nil
	}
	if err := p.addIndex(root, nums[0]); err != nil {
		return nil, err
	}
	for _, n := range nums[1:] {
		at := plain(p.steps[len(p.steps)-1].typ)
		var err error
		switch {
		case at == nil:
			err = fmt.Errorf("CO-RE access through types without end: %w", ErrFormat)
		case at.Kind == KindArray:
			if !p.flexible(at) && n >= uint64(at.Count) {
				err = fmt.Errorf("CO-RE access of element %d of %d: %w", n, at.Count, ErrFormat)
			} else {
				err = p.addIndex(at.Elem, n)
			}
		case at.Kind == KindStruct || at.Kind == KindUnion:
			if n >= uint64(len(at.Members)) {
				err = fmt.Errorf("CO-RE access of member %d of %d: %w", n, len(at.Members), ErrFormat)
			} else {
				p.addMember(at, int(n))
			}
		default:
			err = fmt.Errorf("CO-RE access into a type of kind %d: %w", at.Kind, ErrFormat)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// flexible tells whether an array is the open end of the structure before it.
func (p *path) flexible(array *Type) bool {
	last := p.steps[len(p.steps)-1]
	return array.Count == 0 && last.in != nil && last.member == len(last.in.Members)-1
}

func (p *path) addIndex(elem *Type, n uint64) error {
	size, err := sizeOf(elem)
	if err != nil {
		return err
	}
	// Both factors are below 2^33, and few steps are allowed.
	if n != 0 && size > math.MaxUint32 {
		return fmt.Errorf("CO-RE access of element %d of %#x bytes: %w", n, size, ErrLimit)
	}
	p.bit += 8 * n * size
	p.steps = append(p.steps, step{index: n, typ: elem})
	return nil
}

func (p *path) addMember(in *Type, i int) {
	m := &in.Members[i]
	p.bit += uint64(m.Offset)
	p.steps = append(p.steps, step{in: in, member: i, typ: m.Type})
}
