// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
)

// BTF limits. The kernel accepts 2^20-1 types and 16 MiB of strings; a parser
// has some hundreds of types, or thousands where it includes vmlinux.h.
const (
	maxBTFBytes = 16 << 20
	maxBTFTypes = 1 << 18
)

// BTF is the type information of an object (Documentation/bpf/btf.rst).
//
// The decoder is this package's own, since objects are hostile: it neither
// recurses along chains of types nor copies names, so that memory stays a
// small multiple of the bytes read.
type BTF struct {
	types  []Type // by id; 0 is void
	text   string // the string section
	byName map[string][]uint32
}

// TypeKind is the kind of a Type, numbered as in include/uapi/linux/btf.h.
type TypeKind uint8

const (
	KindVoid TypeKind = iota
	KindInt
	KindPointer
	KindArray
	KindStruct
	KindUnion
	KindEnum
	KindForward
	KindTypedef
	KindVolatile
	KindConst
	KindRestrict
	KindFunc
	KindFuncProto
	KindVar
	KindDatasec
	KindFloat
	KindDeclTag
	KindTypeTag
	KindEnum64
)

// A Type is a node of a type graph. Graphs of hostile objects can have cycles
// where C has none.
type Type struct {
	Kind TypeKind
	Name string
	// Size in bytes of integers, structures, unions, enumerations, floats and
	// data sections.
	Size uint32
	// Signed integers and enumerations.
	Signed bool
	// Bool integers.
	Bool bool
	// Elem is what a pointer, array, qualifier, typedef, function or variable
	// refers to; for a function prototype, what it returns.
	Elem *Type
	// Count of an array's elements.
	Count uint32
	// Linkage of a function or variable (0 static, 1 global, 2 extern).
	Linkage uint32
	// Members of structures and unions, the variables of a data section, the
	// parameters of a prototype.
	Members []Member
	// Values of an enumeration.
	Values []EnumValue

	id uint32
	// bits and bitOffset of an old-style bit field's integer; 0 otherwise.
	bits, bitOffset uint32
}

// A Member of a structure or union, a variable of a data section, or a
// parameter.
type Member struct {
	Name string
	Type *Type
	// Offset in bits; in bytes for a data section.
	Offset uint32
	// Bits is the width of a bit field, 0 for other members; for a data
	// section, the variable's size in bytes.
	Bits uint32
}

// An EnumValue is one name of an enumeration.
type EnumValue struct {
	Name  string
	Value uint64
}

// parseBTF decodes a .BTF section or what BPF_BTF_LOAD is given.
func parseBTF(b []byte) (*BTF, error) {
	le := binary.LittleEndian
	if len(b) > maxBTFBytes {
		return nil, fmt.Errorf("BTF of %#x bytes, %#x allowed: %w", len(b), maxBTFBytes, ErrLimit)
	}
	if len(b) < 24 {
		return nil, fmt.Errorf("BTF header at %#x bytes: %w", len(b), ErrTruncated)
	}
	if le.Uint16(b) != 0xeb9f || b[2] != 1 {
		return nil, fmt.Errorf("BTF magic %#x, version %d: %w", le.Uint16(b), b[2], ErrFormat)
	}
	head := uint64(le.Uint32(b[4:]))
	part := func(off, n uint32) ([]byte, error) {
		start := head + uint64(off)
		if head < 24 || start+uint64(n) > uint64(len(b)) {
			return nil, fmt.Errorf("BTF section at %#x+%#x of %#x bytes: %w", start, n, len(b), ErrTruncated)
		}
		return b[start : start+uint64(n)], nil
	}
	types, err := part(le.Uint32(b[8:]), le.Uint32(b[12:]))
	if err != nil {
		return nil, err
	}
	text, err := part(le.Uint32(b[16:]), le.Uint32(b[20:]))
	if err != nil {
		return nil, err
	}
	if len(text) > 0 && text[len(text)-1] != 0 {
		return nil, fmt.Errorf("BTF strings do not end in NUL: %w", ErrFormat)
	}
	t := &BTF{text: string(text), byName: map[string][]uint32{}}
	offsets, err := btfOffsets(types)
	if err != nil {
		return nil, err
	}
	t.types = make([]Type, len(offsets)+1)
	for i, off := range offsets {
		if err := t.decodeType(uint32(i+1), types[off:]); err != nil {
			return nil, fmt.Errorf("BTF type %d: %w", i+1, err)
		}
	}
	return t, nil
}

// btfOffsets finds where each type begins, from id 1 on.
func btfOffsets(b []byte) ([]uint32, error) {
	var out []uint32
	for off := 0; off < len(b); {
		if len(out) == maxBTFTypes {
			return nil, fmt.Errorf("more than %d BTF types: %w", maxBTFTypes, ErrLimit)
		}
		if len(b)-off < 12 {
			return nil, fmt.Errorf("BTF type %d at %#x: %w", len(out)+1, off, ErrTruncated)
		}
		info := binary.LittleEndian.Uint32(b[off+4:])
		n := int(info & 0xffff)
		var extra int
		switch TypeKind(info >> 24 & 0x1f) {
		case KindInt, KindVar, KindDeclTag:
			extra = 4
		case KindArray:
			extra = 12
		case KindStruct, KindUnion, KindDatasec, KindEnum64:
			extra = 12 * n
		case KindEnum, KindFuncProto:
			extra = 8 * n
		case KindPointer, KindForward, KindTypedef, KindVolatile, KindConst,
			KindRestrict, KindFunc, KindFloat, KindTypeTag:
		default:
			return nil, fmt.Errorf("BTF type %d of kind %d: %w", len(out)+1, info>>24&0x1f, ErrUnsupported)
		}
		if len(b)-off-12 < extra {
			return nil, fmt.Errorf("BTF type %d at %#x: %w", len(out)+1, off, ErrTruncated)
		}
		out = append(out, uint32(off))
		off += 12 + extra
	}
	return out, nil
}

// at returns a type by its id.
func (t *BTF) at(id uint32) (*Type, error) {
	if t == nil || id >= uint32(len(t.types)) {
		return nil, fmt.Errorf("BTF type %d does not exist: %w", id, ErrFormat)
	}
	return &t.types[id], nil
}

// str returns a string by its offset. It shares memory with the section.
func (t *BTF) str(off uint32) (string, error) {
	if off == 0 || t == nil {
		return "", nil
	}
	if uint64(off) >= uint64(len(t.text)) {
		return "", fmt.Errorf("BTF string at %#x of %#x: %w", off, len(t.text), ErrTruncated)
	}
	// The section ends in NUL, so there is one.
	s := t.text[off:]
	return s[:strings.IndexByte(s, 0)], nil
}

// maxName bounds the names of types and members, which are looked for again
// and again (KSYM_NAME_LEN of the kernel).
const maxName = 512

func (t *BTF) name(off uint32) (string, error) {
	if off == 0 {
		return "", nil
	}
	if uint64(off) >= uint64(len(t.text)) {
		return "", fmt.Errorf("BTF string at %#x of %#x: %w", off, len(t.text), ErrTruncated)
	}
	s := t.text[off:]
	if len(s) > maxName {
		s = s[:maxName]
	}
	i := strings.IndexByte(s, 0)
	if i < 0 {
		return "", fmt.Errorf("BTF name at %#x longer than %d bytes: %w", off, maxName, ErrLimit)
	}
	return s[:i], nil
}

// decodeType decodes one type; b begins with it and is long enough.
func (t *BTF) decodeType(id uint32, b []byte) error {
	le := binary.LittleEndian
	info := le.Uint32(b[4:])
	count, flag := int(info&0xffff), info>>31 != 0
	value := le.Uint32(b[8:])
	y := &t.types[id]
	y.id = id
	y.Kind = TypeKind(info >> 24 & 0x1f)
	var err error
	if y.Name, err = t.name(le.Uint32(b)); err != nil {
		return err
	}
	b = b[12:]
	switch y.Kind {
	case KindInt:
		enc := le.Uint32(b)
		y.Size, y.Signed, y.Bool = value, enc>>24&1 != 0, enc>>24&4 != 0
		if y.Size > 16 {
			return fmt.Errorf("integer of %d bytes: %w", y.Size, ErrFormat)
		}
		if bits := enc & 0xff; bits != 8*y.Size || enc>>16&0xff != 0 {
			y.bits, y.bitOffset = bits, enc>>16&0xff
		}
	case KindArray:
		y.Count = le.Uint32(b[8:])
		y.Elem, err = t.at(le.Uint32(b))
	case KindStruct, KindUnion:
		y.Size = value
		err = t.decodeMembers(y, b, count, flag)
	case KindEnum, KindEnum64:
		y.Size, y.Signed = value, flag
		err = t.decodeEnum(y, b, count)
	case KindFuncProto:
		if y.Elem, err = t.at(value); err != nil {
			return err
		}
		y.Members = make([]Member, count)
		for i := range y.Members {
			m := &y.Members[i]
			if m.Name, err = t.name(le.Uint32(b[8*i:])); err != nil {
				return err
			}
			if m.Type, err = t.at(le.Uint32(b[8*i+4:])); err != nil {
				return err
			}
		}
	case KindDatasec:
		y.Size = value
		y.Members = make([]Member, count)
		for i := range y.Members {
			m := &y.Members[i]
			if m.Type, err = t.at(le.Uint32(b[12*i:])); err != nil {
				return err
			}
			m.Offset, m.Bits = le.Uint32(b[12*i+4:]), le.Uint32(b[12*i+8:])
		}
	case KindVar:
		y.Linkage = le.Uint32(b)
		y.Elem, err = t.at(value)
	case KindFunc:
		y.Linkage = uint32(count)
		y.Elem, err = t.at(value)
	case KindPointer, KindTypedef, KindVolatile, KindConst, KindRestrict, KindTypeTag, KindDeclTag:
		y.Elem, err = t.at(value)
	case KindFloat:
		y.Size = value
	}
	if err == nil && y.Name != "" {
		t.byName[y.Name] = append(t.byName[y.Name], id)
	}
	return err
}

func (t *BTF) decodeMembers(y *Type, b []byte, count int, flag bool) error {
	le := binary.LittleEndian
	y.Members = make([]Member, count)
	for i := range y.Members {
		m := &y.Members[i]
		var err error
		if m.Name, err = t.name(le.Uint32(b[12*i:])); err != nil {
			return err
		}
		if m.Type, err = t.at(le.Uint32(b[12*i+4:])); err != nil {
			return err
		}
		m.Offset = le.Uint32(b[12*i+8:])
		if flag {
			m.Bits = m.Offset >> 24
			m.Offset &= 0xffffff
		}
	}
	return nil
}

func (t *BTF) decodeEnum(y *Type, b []byte, count int) error {
	le := binary.LittleEndian
	step := 8
	if y.Kind == KindEnum64 {
		step = 12
	}
	y.Values = make([]EnumValue, count)
	for i := range y.Values {
		e := b[step*i:]
		v := &y.Values[i]
		var err error
		if v.Name, err = t.name(le.Uint32(e)); err != nil {
			return err
		}
		switch {
		case y.Kind == KindEnum64:
			v.Value = uint64(le.Uint32(e[4:])) | uint64(le.Uint32(e[8:]))<<32
		case y.Signed:
			v.Value = uint64(int64(int32(le.Uint32(e[4:]))))
		default:
			v.Value = uint64(le.Uint32(e[4:]))
		}
	}
	return nil
}

// Find returns the first type of a kind and name, or nil. It can be called on
// a nil BTF.
func (t *BTF) Find(kind TypeKind, name string) *Type {
	for y := range t.All(kind, name) {
		return y
	}
	return nil
}

// All yields the types of a kind and name, of which C permits several in
// different scopes. It can be called on a nil BTF.
func (t *BTF) All(kind TypeKind, name string) iter.Seq[*Type] {
	return func(yield func(*Type) bool) {
		if t == nil {
			return
		}
		for _, id := range t.byName[name] {
			if t.types[id].Kind == kind && !yield(&t.types[id]) {
				return
			}
		}
	}
}

// Len returns how many types there are, void included.
func (t *BTF) Len() int {
	if t == nil {
		return 0
	}
	return len(t.types)
}

// Field returns the member of a structure or union with that name, looking
// into unnamed structures and unions. Offset and size are bytes.
func (y *Type) Field(name string) (offset, size uint32, ok bool) {
	return y.field(name, 0)
}

func (y *Type) field(name string, depth int) (offset, size uint32, ok bool) {
	if depth > maxTypeDepth {
		return 0, 0, false
	}
	for i := range y.Members {
		m := &y.Members[i]
		if m.Name == name {
			n, _ := sizeOf(m.Type)
			return m.Offset / 8, uint32(min(n, 1<<32-1)), true
		}
		if u := plain(m.Type); m.Name == "" && u != nil && (u.Kind == KindStruct || u.Kind == KindUnion) {
			if off, n, ok := u.field(name, depth+1); ok {
				return m.Offset/8 + off, n, true
			}
		}
	}
	return 0, 0, false
}

// maxTypeDepth bounds walks along qualifiers, typedefs and nested members.
const maxTypeDepth = 32

// plain skips qualifiers and typedefs; nil where they form a cycle.
func plain(y *Type) *Type {
	for range maxTypeDepth {
		if y == nil {
			return nil
		}
		switch y.Kind {
		case KindTypedef, KindVolatile, KindConst, KindRestrict, KindTypeTag:
			y = y.Elem
		default:
			return y
		}
	}
	return nil
}

// sizeOf returns the size of a value of a type in bytes.
func sizeOf(y *Type) (uint64, error) {
	n := uint64(1)
	for range maxTypeDepth {
		if y = plain(y); y == nil {
			break
		}
		switch y.Kind {
		case KindInt, KindStruct, KindUnion, KindEnum, KindEnum64, KindFloat, KindDatasec:
			if n > 1<<32 {
				return 0, fmt.Errorf("BTF array of %d elements: %w", n, ErrLimit)
			}
			return n * uint64(y.Size), nil
		case KindPointer:
			if n > 1<<32 {
				return 0, fmt.Errorf("BTF array of %d elements: %w", n, ErrLimit)
			}
			return n * 8, nil
		case KindArray:
			if y.Count != 0 && n > 1<<32/uint64(y.Count) {
				return 0, fmt.Errorf("BTF array of %d times %d elements: %w", n, y.Count, ErrLimit)
			}
			n *= uint64(y.Count)
			y = y.Elem
		case KindVar:
			y = y.Elem
		default:
			return 0, fmt.Errorf("BTF type of kind %d has no size: %w", y.Kind, ErrFormat)
		}
	}
	return 0, fmt.Errorf("BTF types nested too deep: %w", ErrFormat)
}
