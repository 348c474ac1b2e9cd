// SPDX-License-Identifier: Apache-2.0

package bpf

// Func is a function of the host that a program can call, by helper number
// or as a kernel function.
//
// args are R1 to R5; what the program passes beyond the function's real
// arguments is arbitrary. Pointers among them are the program's and must go
// through Machine.View, Machine.Mutable or Machine.CString. The first result
// becomes R0; negative numbers are returned as uint64(int64(n)). An error ends
// the program with a Fault that wraps it.
type Func func(m *Machine, args [5]uint64) (uint64, error)

// A Kfunc is a kernel function that the host plays.
type Kfunc struct {
	Func Func
	// Acquire: a result other than 0 is a reference that the program must
	// give to a releasing function before it ends (KF_ACQUIRE).
	Acquire bool
	// Release: argument 1 must be a reference that is held; the call ends it
	// (KF_RELEASE). Count arguments from 1; 0 means that none is released.
	Release int
	// Held: this argument must be a reference that is held (KF_TRUSTED_ARGS).
	// Counted from 1; 0 means none.
	Held int
}

// A Host is what a program finds around it.
type Host struct {
	// Kfuncs by name.
	Kfuncs map[string]Kfunc
	// Helpers by number, in addition to those that the machine supplies
	// itself and before them.
	Helpers map[int32]Func
	// Hooks are the kernel functions that programs may hang on. Nil accepts
	// every name.
	Hooks []string
	// Types are the kernel's types as this host lays them out, for CO-RE.
	// Relocations against a type that is not here leave the program's own
	// layout in force. See StructOf.
	Types []*Type
}

// Options for Link.
type Options struct {
	Budget Budget
	// Trace receives what the program prints with bpf_trace_printk and
	// bpf_trace_vprintk, without the final newline. Nil drops it.
	Trace func(message string)
	// Output receives the ring-buffer records that the program submits. The
	// record is only valid during the call. Nil drops them.
	Output func(ringbuf string, record []byte)
}

// A Budget bounds what programs of one Machine may use. Wall time is bounded
// by the context given to Run.
type Budget struct {
	// Instructions executed in one Run. Helpers that copy memory are charged
	// one instruction for each 256 bytes. 0 means DefaultInstructions.
	Instructions uint64
	// Memory in bytes that maps and ring-buffer records may hold together;
	// regions that the host maps do not count. 0 means DefaultMemory.
	Memory uint64
	// Touched is how much of Memory may be real: a large record takes up
	// memory only as far as something in it was read or written, counted
	// from its first byte. 0 means as much as Memory.
	Touched uint64
}

// The budget where none is given.
const (
	DefaultInstructions = 16 << 20
	DefaultMemory       = 64 << 20
)

// A Field of a host structure for StructOf.
type Field struct {
	Name string
	Type *Type
}

// StructOf lays fields out as C does on a 64-bit machine (natural alignment,
// size rounded up to the widest field) and returns the type.
func StructOf(name string, fields ...Field) *Type {
	s := &Type{Kind: KindStruct, Name: name}
	var offset, align uint64 = 0, 1
	for _, f := range fields {
		a := alignOf(f.Type)
		align = max(align, a)
		offset = (offset + a - 1) / a * a
		s.Members = append(s.Members, Member{Name: f.Name, Type: f.Type, Offset: uint32(offset * 8)})
		size, _ := sizeOf(f.Type)
		offset += size
	}
	s.Size = uint32((offset + align - 1) / align * align)
	return s
}

// alignOf is the natural alignment of a host type in bytes.
func alignOf(y *Type) uint64 {
	a := uint64(1)
	for range maxTypeDepth {
		if y = plain(y); y == nil {
			return a
		}
		switch y.Kind {
		case KindArray:
			y = y.Elem
		case KindStruct, KindUnion:
			for _, m := range y.Members {
				a = max(a, alignOf(m.Type))
			}
			return a
		default:
			size, err := sizeOf(y)
			if err != nil || size == 0 {
				return 1
			}
			return size
		}
	}
	return a
}

// The types of fields, named as clang names them.

func Bool() *Type { return &Type{Kind: KindInt, Name: "_Bool", Size: 1, Bool: true} }
func Char() *Type { return &Type{Kind: KindInt, Name: "char", Size: 1, Signed: true} }
func U8() *Type   { return &Type{Kind: KindInt, Name: "unsigned char", Size: 1} }
func U16() *Type  { return &Type{Kind: KindInt, Name: "unsigned short", Size: 2} }
func U32() *Type  { return &Type{Kind: KindInt, Name: "unsigned int", Size: 4} }
func U64() *Type  { return &Type{Kind: KindInt, Name: "unsigned long", Size: 8} }
func S32() *Type  { return &Type{Kind: KindInt, Name: "int", Size: 4, Signed: true} }
func S64() *Type  { return &Type{Kind: KindInt, Name: "long", Size: 8, Signed: true} }

// PointerTo is a pointer; nil makes it "void *".
func PointerTo(target *Type) *Type {
	if target == nil {
		target = &Type{}
	}
	return &Type{Kind: KindPointer, Elem: target}
}

// ArrayOf is an array of n elements.
func ArrayOf(n uint32, element *Type) *Type {
	return &Type{Kind: KindArray, Elem: element, Count: n}
}

// EnumOf is an unsigned enumeration of 4 bytes.
func EnumOf(name string, values ...EnumValue) *Type {
	return &Type{Kind: KindEnum, Name: name, Size: 4, Values: values}
}

// CharPtr is "char *".
func CharPtr() *Type { return PointerTo(Char()) }
