// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/peelboot/peel/efi/process"
)

const getpid = 172 // its number

// words is code.
func words(w ...uint32) []byte {
	var b []byte
	for _, v := range w {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// movX0 sets x0: movz, and movk for the rest.
func movX0(v uint64) []byte {
	return words(0xd2800000|uint32(v&0xffff)<<5, 0xf2a00000|uint32(v>>16&0xffff)<<5,
		0xf2c00000|uint32(v>>32&0xffff)<<5, 0xf2e00000|uint32(v>>48)<<5)
}

func trapCode() []byte { return words(0xd4200000) } // brk #0
func loopCode() []byte { return words(0x14000000) } // b .

// trapLoop goes back to a trap just before it. The guest stops at the trap
// itself, for ever.
func trapLoop() []byte { return words(0x17ffffff) }

// growCode writes to page after page from behind the stack on.
func growCode() []byte {
	return words(0xd2a00240, // mov x0, 1 MiB+128 KiB
		0xf9000000, // 1: str x0, [x0]
		0x91400400, // add x0, x0, #0x1000
		0x17fffffe) // b 1b
}

// writeCode writes a byte to an address.
func writeCode(to uint64) []byte { return cat(movX0(to), words(0x39000000)) } // strb w0, [x0]

// ours is where the page of the child is with RAM below 39 bits.
const ours = 0x7e00000000

// stops are acts that a guest has no business to do.
func stops() []act {
	jump := func(to uint64) []byte { return cat(movX0(to), words(0xd61f0000)) } // br x0
	read := func(at uint64) []byte { return cat(movX0(at), words(0xf9400001)) } // ldr x1, [x0]
	sp := words(0x9100001f)                                                     // mov sp, x0
	exit := words(0xd2800ba8)                                                   // mov x8, #93
	return []act{
		{"svc", cat(exit, words(0xd4000001)), process.Syscall, ""},
		{"svc with a number", cat(exit, words(0xd4001001)), process.Syscall, ""},
		{"svc of the page that is ours", cat(exit, jump(ours+process.StubSyscall)), process.Syscall, ""},
		{"jump to data", jump(data), process.Fetch, ""},
		{"jump to nowhere", jump(0x40000000), process.Fetch, ""},
		{"jump to zero", jump(0), process.Fetch, ""},
		{"jump between instructions", jump(code + 2), process.Fetch, ""},
		{"call of data", cat(movX0(data), words(0xd63f0000)), process.Fetch, ""},
		{"read of nothing", read(0x40000000), process.Access, ""},
		{"kernel address", read(0xffff800080000000), process.Access, ""},
		{"address with a tag", read(0x8000000040000000), process.Access, ""},
		{"write to the page that is ours", cat(movX0(ours), words(0xf9000000)), process.Access, ""},
		{"stack that is none", cat(movX0(0), sp, words(0xf81f0fe0)), process.Access, ""},
		{"hvc", words(0xd4000002), process.Illegal, ""},
		{"smc", words(0xd4000003), process.Illegal, ""},
		{"hlt", words(0xd4400000), process.Illegal, ""},
		{"udf", words(0), process.Illegal, "0x00000000"},
		{"eret", words(0xd69f03e0), process.Illegal, ""},
		{"msr daifset", words(0xd5034fdf), process.Illegal, "system instruction"},
		{"msr spsel", words(0xd50041bf), process.Illegal, "system instruction"},
		{"msr vbar_el1", words(0xd518c000), process.Illegal, "msr"},
		{"msr ttbr0_el1", words(0xd5182000), process.Illegal, "msr"},
		{"mrs ttbr0_el1", words(0xd5382000), process.Illegal, "mrs"},
		{"mrs vbar_el1", words(0xd538c000), process.Illegal, "mrs"},
		{"msr sctlr_el1 with the MMU on", cat(movX0(1), words(0xd5181000)), process.Illegal, "msr SCTLR_EL1, 0x1"},
		{"tlbi vmalle1", words(0xd508871f), process.Illegal, "system instruction"},
		{"dc isw", words(0xd5087640), process.Illegal, "system instruction"},
		{"at s1e1r", words(0xd5087800), process.Illegal, "system instruction"},
		{"brk", words(0xd4200000), process.Trap, ""},
	}
}

func TestEmulated(t *testing.T) {
	p := start(t, context.Background(), process.Config{}, cat(words(
		0xd5384240, // mrs x0, CurrentEL
		0xd5390021, // mrs x1, CLIDR_EL1
		0xd5381002, // mrs x2, SCTLR_EL1
		0xd508711f, // ic ialluis
		0xaa1f03e0, // mov x0, xzr
		0xd5181000, // msr SCTLR_EL1, x0
	), trapCode()))
	for range 5 {
		s, err := p.Resume()
		if err != nil || s.Kind != process.Illegal {
			t.Fatalf("Resume() = %v, %v, want %v", s, err, process.Illegal)
		}
		if what, ok, err := p.Emulate(); !ok || err != nil {
			t.Fatalf("Emulate() = %q, %v, %v, want true", what, ok, err)
		}
		if el := p.CPU().Registers()[0].Value; s.PC == code && el != 4 {
			t.Errorf("CurrentEL = %#x, want EL1", el)
		}
	}
	if s, err := p.Resume(); err != nil || s.Kind != process.Trap || s.PC != code+24 {
		t.Fatalf("Resume() = %v, %v, want a breakpoint at %#x", s, err, code+24)
	}
	if r := p.CPU().Registers(); r[1].Value != 0 || r[2].Value != 0x30d01805 {
		t.Errorf("CLIDR_EL1 = %#x, SCTLR_EL1 = %#x", r[1].Value, r[2].Value)
	}
}

func TestCall(t *testing.T) {
	const slot = code + 0x100
	p := start(t, context.Background(), process.Config{}, cat(
		words(0xd2800062, 0xd2800083), movX0(slot), // mov x2, #3; mov x3, #4
		words(0xaa0003e9, 0xd2800220, 0xd63f0120), // mov x9, x0; mov x0, #0x11; blr x9
		trapCode()))
	copy(p.Memory()[slot:], words(0xd4200020, 0xd65f03c0)) // brk #1; ret
	s, err := p.Resume()
	if err != nil || s.Kind != process.Trap || s.PC != slot {
		t.Fatalf("Resume() = %v, %v, want a breakpoint at %#x", s, err, slot)
	}
	for i, want := range []uint64{0x11, 0x22, 3, 4} {
		if got, err := p.CPU().Arg(i); got != want || err != nil {
			t.Errorf("Arg(%d) = %#x, %v, want %#x", i, got, err, want)
		}
	}
	p.CPU().Return(0x8000000000000003)
	if s, err = p.Resume(); err != nil || s.Kind != process.Trap || s.PC != code+36 {
		t.Fatalf("Resume() = %v, %v, want a breakpoint at %#x", s, err, code+36)
	}
	if got := p.CPU().Result(); got != 0x8000000000000003 {
		t.Errorf("Result() = %#x", got)
	}
}
