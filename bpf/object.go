// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
)

// Limits on what an object may hold.
const (
	// MaxObjectBytes bounds an object file.
	MaxObjectBytes = 64 << 20
	// MaxInstructions bounds one program, in 8-byte slots, with all the
	// functions it calls.
	MaxInstructions = 64 << 10
	// MaxPrograms and MaxMaps bound one object.
	MaxPrograms = 64
	MaxMaps     = 64
)

// Numbers from enum bpf_prog_type, enum bpf_attach_type and the BPF_F_ flags
// of include/uapi/linux/bpf.h that a parser object carries.
const (
	ProgTypeTracing   = 26
	ProgTypeSyscall   = 31
	AttachTraceFentry = 24
	FlagSleepable     = 1 << 4
)

// MapType is enum bpf_map_type of include/uapi/linux/bpf.h.
type MapType uint32

// The map types that the machine can hold.
const (
	MapArray   MapType = 2
	MapRingbuf MapType = 27
)

// mapReadOnly is BPF_F_RDONLY_PROG: the program may not write.
const mapReadOnly = 1 << 7

// Format tells how an object was shipped.
type Format string

const (
	FormatELF      Format = "elf"
	FormatSkeleton Format = "light skeleton"
)

// An Object is a set of programs and the maps they share. It is inert: plain
// data, nothing of it runs before Link and Run.
type Object struct {
	Format   Format
	License  string
	Programs []*Program
	Maps     []*MapSpec
	// BTF describes the types of the program itself; nil if the object has
	// none.
	BTF *BTF
}

// A Program is one entry point with every function that it calls.
type Program struct {
	// Name is the C function's name. A light skeleton keeps 15 bytes of it.
	Name string
	// Section is the ELF section, such as "fentry.s/function"; light
	// skeletons do not keep it.
	Section string
	// Type, AttachType and Flags are as BPF_PROG_LOAD takes them.
	Type       uint32
	AttachType uint32
	Flags      uint32
	// AttachTo is the kernel function that the program hangs on, if any.
	AttachTo string
	// Kfuncs are the kernel functions that it names, in order of first use.
	Kfuncs []KfuncRef

	// insns holds 8-byte instruction slots, little endian, the entry point
	// first, before relocation.
	insns []byte
	refs  []reference
	relos []coreRecord
	btf   *BTF
	funcs []funcMark
	lines []lineMark
}

// Instructions returns the program's 8-byte instruction slots, little endian,
// the entry point first, before any relocation. Do not change them.
func (p *Program) Instructions() []byte { return p.insns }

// KfuncRef is a kernel function that a program calls.
type KfuncRef struct {
	Name string
	// Weak references may be missing on a host; calling one is then a fault.
	Weak bool
}

// A MapSpec describes a map and its contents at start.
type MapSpec struct {
	Name string
	Type MapType
	// KeySize and ValueSize are bytes; MaxEntries counts entries, or bytes
	// for a ring buffer.
	KeySize, ValueSize, MaxEntries uint32
	Flags                          uint32
	// Contents of entry 0; shorter than ValueSize means zeros follow.
	Contents []byte
	// Frozen maps were closed to user space with BPF_MAP_FREEZE.
	Frozen bool
}

// ReadOnly tells whether a program may not write to the map's values.
func (s *MapSpec) ReadOnly() bool { return s.Flags&mapReadOnly != 0 }

// Program finds a program by its name. A name longer than what a light
// skeleton keeps matches its first 15 bytes there.
func (o *Object) Program(name string) (*Program, error) {
	for _, p := range o.Programs {
		if p.Name == name {
			return p, nil
		}
		if o.Format == FormatSkeleton && len(name) > 15 && p.Name == name[:15] {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%q: %w", name, ErrNoProgram)
}

// refKind says what an instruction refers to.
type refKind uint8

const (
	refMap      refKind = iota // LD_IMM64: the map itself
	refMapValue                // LD_IMM64: a byte of the map's value
	refKfunc                   // CALL: a kernel function
	refKsym                    // LD_IMM64: the address of a kernel symbol
)

// A reference is an instruction that needs something from outside.
type reference struct {
	index  int // instruction slot
	kind   refKind
	target int    // refMap, refMapValue: index into Object.Maps
	offset uint32 // refMapValue: byte within the value
	name   string // refKfunc, refKsym
	weak   bool
}

// funcMark says that a function begins at an instruction slot.
type funcMark struct {
	index int
	name  string
}

// lineMark says which source line begins at an instruction slot. file and
// source are BTF string offsets.
type lineMark struct {
	index        int
	line         int
	file, source uint32
}
