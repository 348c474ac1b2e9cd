// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// coreKind is enum bpf_core_relo_kind of include/uapi/linux/bpf.h.
type coreKind uint32

const (
	coreFieldOffset coreKind = iota
	coreFieldSize
	coreFieldExists
	coreFieldSigned
	coreFieldLshift
	coreFieldRshift
	coreTypeIDLocal
	coreTypeIDTarget
	coreTypeExists
	coreTypeSize
	coreEnumExists
	coreEnumValue
	coreTypeMatches
)

func (k coreKind) isType() bool {
	return k >= coreTypeIDLocal && k <= coreTypeSize || k == coreTypeMatches
}
func (k coreKind) isEnum() bool { return k == coreEnumExists || k == coreEnumValue }

// A coreRecord is one struct bpf_core_relo, with the instruction counted in
// slots of the linked program.
type coreRecord struct {
	index  int
	typeID uint32
	access string
	kind   coreKind
}

// coreAnswer is what a record comes to.
type coreAnswer struct {
	poison      bool
	local, host uint64
	check       bool // the instruction must hold local
	// localSize and hostSize are set for loads and stores of a whole field.
	localSize, hostSize uint64
	resize              bool
}

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

// essential strips a "___flavour" from a type name.
func essential(name string) string {
	if i := strings.LastIndex(name, "___"); i > 0 {
		return name[:i]
	}
	return name
}

// resolve computes what a record means on a host with the given types.
func (r coreRecord) resolve(b *BTF, host []*Type) (coreAnswer, error) {
	local, err := b.at(r.typeID)
	if err != nil {
		return coreAnswer{}, err
	}
	if r.kind > coreTypeMatches {
		return coreAnswer{}, fmt.Errorf("CO-RE record of kind %d: %w", r.kind, ErrUnsupported)
	}
	if r.kind == coreTypeIDLocal {
		return coreAnswer{local: uint64(r.typeID), host: uint64(r.typeID), check: true}, nil
	}
	lp, err := parsePath(local, r.access, r.kind)
	if err != nil {
		return coreAnswer{}, err
	}
	known := false
	var target *path
	var targetID int
	if name := essential(plainName(local)); name != "" {
		for i, h := range host {
			if essential(h.Name) != name || !sameKind(plain(local), plain(h)) {
				continue
			}
			known = true
			if target = match(lp, h, r.kind); target != nil {
				targetID = i + 1
				break
			}
		}
	}
	if !known && !r.kind.isType() && r.kind != coreFieldExists && r.kind != coreEnumExists {
		// A type that the host says nothing about, such as a file format
		// that the program describes for itself: its own layout holds.
		target = lp
	}
	return r.answer(lp, target, uint64(targetID))
}

// answer compares where a path leads in the program and on the host; target is
// nil when it leads nowhere there.
func (r coreRecord) answer(lp, target *path, targetID uint64) (coreAnswer, error) {
	switch r.kind {
	case coreFieldExists, coreEnumExists, coreTypeExists, coreTypeMatches:
		a := coreAnswer{local: 1, check: true}
		if target != nil {
			a.host = 1
		}
		return a, nil
	case coreTypeIDTarget:
		a := coreAnswer{local: uint64(r.typeID), check: false}
		if target != nil {
			a.host = targetID
		}
		return a, nil
	case coreTypeSize:
		size, err := sizeOf(lp.root)
		if err != nil {
			return coreAnswer{}, err
		}
		a := coreAnswer{local: size, check: true}
		if target != nil {
			if a.host, err = sizeOf(target.root); err != nil {
				return coreAnswer{}, err
			}
		}
		return a, nil
	case coreEnumValue:
		a := coreAnswer{local: plain(lp.root).Values[lp.enum].Value, check: true, poison: target == nil}
		if target != nil {
			a.host = plain(target.root).Values[target.enum].Value
		}
		return a, nil
	}
	lf, err := lp.field()
	if err != nil {
		return coreAnswer{}, err
	}
	a := coreAnswer{local: lf.value(r.kind), localSize: lf.size, check: !lf.bitfield || r.kind == coreFieldSigned}
	if target == nil {
		a.poison = true
		return a, nil
	}
	hf, err := target.field()
	if err != nil {
		return coreAnswer{}, err
	}
	a.host, a.hostSize = hf.value(r.kind), hf.size
	if r.kind == coreFieldOffset && !lf.bitfield && !hf.bitfield && lf.size != hf.size {
		a.resize = resizable(lf.typ) && resizable(hf.typ)
	}
	return a, nil
}

// resizable types can be loaded and stored in another width: without a sign,
// zero extension is right.
func resizable(y *Type) bool {
	y = plain(y)
	return y != nil && (y.Kind == KindPointer || y.Kind == KindInt && !y.Signed)
}

// fieldPlace is where a field lies and how it is read.
type fieldPlace struct {
	typ      *Type
	offset   uint64 // bytes from the root
	size     uint64 // bytes to load
	bitfield bool
	bits     uint64 // width
	bit      uint64 // offset in bits from the root
	signed   bool
}

// field works out the last step of a path.
func (p *path) field() (fieldPlace, error) {
	last := p.steps[len(p.steps)-1]
	f := fieldPlace{typ: last.typ, bit: p.bit}
	y := plain(last.typ)
	if y == nil {
		return f, fmt.Errorf("CO-RE field of a type without end: %w", ErrFormat)
	}
	size, err := sizeOf(y)
	if err != nil {
		return f, err
	}
	f.signed = y.Signed
	if last.in != nil {
		m := last.in.Members[last.member]
		f.bits = uint64(m.Bits)
		if f.bits == 0 && y.Kind == KindInt && y.bits != 0 {
			f.bits = uint64(y.bits)
			f.bit += uint64(y.bitOffset)
		}
	}
	if f.bits == 0 {
		f.size, f.offset, f.bits = size, f.bit/8, 8*size
		return f, nil
	}
	f.bitfield = true
	f.size = size
	if f.size == 0 || f.size > 8 || f.size&(f.size-1) != 0 || f.bits > 64 {
		return f, fmt.Errorf("CO-RE bit field of %d bits in %d bytes: %w", f.bits, f.size, ErrFormat)
	}
	f.offset = f.bit / 8 / f.size * f.size
	for f.bit+f.bits-8*f.offset > 8*f.size {
		if f.size == 8 {
			return f, fmt.Errorf("CO-RE bit field of %d bits across 8 bytes: %w", f.bits, ErrFormat)
		}
		f.size *= 2
		f.offset = f.bit / 8 / f.size * f.size
	}
	return f, nil
}

// value is the number that a field relocation asks for. Shifts are those that
// isolate a bit field in a little-endian 64-bit register.
func (f fieldPlace) value(k coreKind) uint64 {
	switch k {
	case coreFieldOffset:
		return f.offset
	case coreFieldSize:
		return f.size
	case coreFieldSigned:
		if f.signed {
			return 1
		}
		return 0
	case coreFieldLshift:
		return 64 - (f.bit + f.bits - 8*f.offset)
	case coreFieldRshift:
		return 64 - f.bits
	}
	return 0
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

// match follows the names of a path through a host type.
func match(lp *path, host *Type, kind coreKind) *path {
	hp := &path{root: host}
	if kind.isType() {
		if kind == coreTypeMatches && !sameShape(lp.root, host, 0) {
			return nil
		}
		return hp
	}
	if kind.isEnum() {
		want := essential(plain(lp.root).Values[lp.enum].Name)
		for i, v := range plain(host).Values {
			if essential(v.Name) == want {
				hp.enum = i
				return hp
			}
		}
		return nil
	}
	if hp.addIndex(host, lp.steps[0].index) != nil {
		return nil
	}
	for _, s := range lp.steps[1:] {
		at := plain(hp.steps[len(hp.steps)-1].typ)
		if at == nil {
			return nil
		}
		if s.in == nil {
			if at.Kind != KindArray || !hp.flexible(at) && s.index >= uint64(at.Count) || hp.addIndex(at.Elem, s.index) != nil {
				return nil
			}
			continue
		}
		want := s.in.Members[s.member]
		if want.Name == "" {
			// An unnamed structure: its members are looked for by name in
			// all that the host has at this place.
			continue
		}
		if !findMember(hp, at, want, 0) {
			return nil
		}
	}
	return hp
}

// findMember extends p to the member of y that has the name and a compatible
// type, looking into unnamed structures and unions.
func findMember(p *path, y *Type, want Member, depth int) bool {
	if y.Kind != KindStruct && y.Kind != KindUnion || depth > maxTypeDepth {
		return false
	}
	for i := range y.Members {
		m := &y.Members[i]
		bit, n := p.bit, len(p.steps)
		switch {
		case m.Name == "":
			inner := plain(m.Type)
			if inner == nil {
				continue
			}
			p.addMember(y, i)
			if findMember(p, inner, want, depth+1) {
				return true
			}
			p.bit, p.steps = bit, p.steps[:n]
		case m.Name == want.Name:
			if !compatible(want.Type, m.Type) {
				return false
			}
			p.addMember(y, i)
			return true
		}
	}
	return false
}

// compatible says whether one field can stand for another (libbpf's "fields
// are compatible"): same kind of thing, integers of any width.
func compatible(a, b *Type) bool {
	for range maxTypeDepth {
		a, b = plain(a), plain(b)
		if a == nil || b == nil {
			return false
		}
		composite := func(y *Type) bool { return y.Kind == KindStruct || y.Kind == KindUnion }
		enum := func(y *Type) bool { return y.Kind == KindEnum || y.Kind == KindEnum64 }
		if composite(a) && composite(b) {
			return true
		}
		if enum(a) && enum(b) {
			return a.Name == "" || b.Name == "" || essential(a.Name) == essential(b.Name)
		}
		if a.Kind != b.Kind {
			return false
		}
		switch a.Kind {
		case KindArray:
			a, b = a.Elem, b.Elem
		case KindForward:
			return a.Name == "" || b.Name == "" || essential(a.Name) == essential(b.Name)
		case KindInt:
			// Old-style bit fields cannot be told from their container.
			return a.bitOffset == 0 && b.bitOffset == 0
		case KindPointer, KindFloat:
			return true
		default:
			return false
		}
	}
	return false
}

// sameKind tells whether two types can stand for each other at all.
func sameKind(a, b *Type) bool {
	if a == nil || b == nil {
		return false
	}
	enum := func(y *Type) bool { return y.Kind == KindEnum || y.Kind == KindEnum64 }
	return a.Kind == b.Kind || enum(a) && enum(b)
}

// sameShape is the stricter comparison of BPF_CORE_TYPE_MATCHES: every member
// and enumerator of a must be in b, with a matching type.
func sameShape(a, b *Type, depth int) bool {
	a, b = plain(a), plain(b)
	if !sameKind(a, b) || depth > maxTypeDepth {
		return false
	}
	switch a.Kind {
	case KindStruct, KindUnion:
		if len(a.Members) > 256 {
			return false
		}
		for i := range a.Members {
			m := &a.Members[i]
			p := &path{}
			if m.Name == "" {
				continue
			}
			if !findMember(p, b, *m, 0) {
				return false
			}
			if depth < 2 && !sameShape(m.Type, p.steps[len(p.steps)-1].typ, depth+1) {
				return false
			}
		}
		return true
	case KindEnum, KindEnum64:
		for _, v := range a.Values {
			found := false
			for _, w := range b.Values {
				found = found || essential(v.Name) == essential(w.Name)
			}
			if !found {
				return false
			}
		}
		return true
	case KindInt:
		return a.Size == b.Size && a.Signed == b.Signed
	case KindArray:
		return a.Count == b.Count && sameShape(a.Elem, b.Elem, depth+1)
	case KindPointer:
		// What is pointed to need only be the same kind of thing.
		pa, pb := plain(a.Elem), plain(b.Elem)
		return pa == nil || pb == nil || sameKind(pa, pb) ||
			pa.Kind == KindForward || pb.Kind == KindForward || pa.Kind == KindVoid || pb.Kind == KindVoid
	}
	return true
}

// plainName is the name of a type, qualifiers aside.
func plainName(y *Type) string {
	for range maxTypeDepth {
		if y == nil {
			return ""
		}
		if y.Name != "" && y.Kind != KindTypeTag {
			return y.Name
		}
		switch y.Kind {
		case KindVolatile, KindConst, KindRestrict, KindTypeTag:
			y = y.Elem
		default:
			return ""
		}
	}
	return ""
}
