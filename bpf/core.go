// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
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
