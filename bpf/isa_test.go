// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
)

// corners are the values at which arithmetic goes wrong.
var corners = []uint64{
	0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000,
	math.MaxInt32 - 1, math.MaxInt32, 1 << 31, 1<<31 + 1, math.MaxUint32 - 1, math.MaxUint32, 1 << 32, 1<<32 + 1,
	0x123456789abcdef0, 0xfedcba9876543210, 0x80000000_00000001, 0x00000001_80000000,
	math.MaxInt64 - 1, math.MaxInt64, 1 << 63, 1<<63 + 1, math.MaxUint64 - 1, math.MaxUint64,
}

// aluForms lists every arithmetic instruction of RFC 9669, with constants
// left at 0.
func aluForms() []slot {
	var out []slot
	for _, class := range []uint8{classALU, classALU64} {
		for op := uint8(0); op <= aluARSH; op += 0x10 {
			if op == aluNEG {
				out = append(out, slot{op: class | op, dst: 1})
				continue
			}
			for _, source := range []uint8{0, sourceX} {
				offs := []int16{0}
				if op == aluDIV || op == aluMOD {
					offs = []int16{0, 1}
				}
				if op == aluMOV && source == sourceX {
					offs = []int16{0, 8, 16}
					if class == classALU64 {
						offs = []int16{0, 8, 16, 32}
					}
				}
				for _, off := range offs {
					s := slot{op: class | op | source, dst: 1, off: off}
					if source == sourceX {
						s.src = 2
					}
					out = append(out, s)
				}
			}
		}
	}
	for _, op := range []uint8{classALU | aluEND, classALU | aluEND | sourceX, classALU64 | aluEND} {
		for _, bits := range []int32{16, 32, 64} {
			out = append(out, slot{op: op, dst: 1, imm: bits})
		}
	}
	return out
}

func TestALU(t *testing.T) {
	for _, s := range aluForms() {
		takesConstant := s.op&sourceX == 0 && s.op&0xf0 != aluEND && s.op&0xf0 != aluNEG
		name := fmt.Sprintf("%02x,off=%d,imm=%d", s.op, s.off, s.imm)
		t.Run(name, func(t *testing.T) {
			for _, dst := range corners {
				for _, src := range corners {
					if takesConstant {
						s.imm = int32(uint32(src))
					}
					b := program(imm64(1, dst), imm64(2, src), s, slot{op: classALU64 | aluMOV | sourceX, dst: 0, src: 1}, exit)
					got, err := runRaw(t, b, nil)
					if err != nil {
						t.Fatalf("%+v: %v", s, err)
					}
					if want := referenceALU(s, dst, src); got != want {
						t.Fatalf("%+v with dst %#x, src %#x = %#x, want %#x", s, dst, src, got, want)
					}
				}
			}
		})
	}
}

func TestJumps(t *testing.T) {
	for _, class := range []uint8{classJMP, classJMP32} {
		for op := uint8(0x10); op <= jmpJSLE; op += 0x10 {
			if op == jmpCALL || op == jmpEXIT {
				continue
			}
			for _, source := range []uint8{0, sourceX} {
				s := slot{op: class | op | source, dst: 1, off: 1}
				if source == sourceX {
					s.src = 2
				}
				t.Run(fmt.Sprintf("%02x", s.op), func(t *testing.T) {
					for _, dst := range corners {
						for _, src := range corners {
							if source == 0 {
								s.imm = int32(uint32(src))
							}
							b := program(imm64(1, dst), imm64(2, src), slot{op: classALU64 | aluMOV, dst: 0, imm: 1}, s,
								slot{op: classALU64 | aluMOV, dst: 0}, exit)
							got, err := runRaw(t, b, nil)
							if err != nil {
								t.Fatal(err)
							}
							want := uint64(0)
							if referenceJump(s, dst, src) {
								want = 1
							}
							if got != want {
								t.Fatalf("%+v with dst %#x, src %#x taken = %d, want %d", s, dst, src, got, want)
							}
						}
					}
				})
			}
		}
	}
}

func TestLongJump(t *testing.T) {
	mov := func(n int32) slot { return slot{op: classALU64 | aluMOV, dst: 0, imm: n} }
	// Forwards over a stretch that a 16-bit offset cannot span, then back.
	parts := []any{mov(1), slot{op: classJMP32, imm: 40000}}
	parts = append(parts, slot{op: classALU64, dst: 0, imm: 4}, exit)
	for range 40000 - 2 {
		parts = append(parts, mov(99))
	}
	parts = append(parts, slot{op: classALU64, dst: 0, imm: 2}, slot{op: classJMP32, imm: -40002})
	got, err := runRaw(t, program(parts...), nil)
	if err != nil || got != 7 {
		t.Errorf("long jump = %d, %v, want 7", got, err)
	}
}

func TestLoadsAndStores(t *testing.T) {
	memory := []byte{0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7, 0x08}
	mov := slot{op: classALU64 | aluMOV | sourceX, dst: 0, src: 3}
	for _, c := range []struct {
		name string
		in   slot
		want uint64
	}{
		{"ldxb", slot{op: classLDX | modeMEM | sizeB, dst: 3, src: 1}, 0x80},
		{"ldxh unaligned", slot{op: classLDX | modeMEM | sizeH, dst: 3, src: 1, off: 1}, 0xa291},
		{"ldxw unaligned", slot{op: classLDX | modeMEM | sizeW, dst: 3, src: 1, off: 3}, 0xe6d5c4b3},
		{"ldxdw unaligned", slot{op: classLDX | modeMEM | sizeDW, dst: 3, src: 1, off: 1}, 0x08f7e6d5c4b3a291},
		{"ldxsb", slot{op: classLDX | modeMEMSX | sizeB, dst: 3, src: 1}, 0xffffffffffffff80},
		{"ldxsh", slot{op: classLDX | modeMEMSX | sizeH, dst: 3, src: 1}, 0xffffffffffff9180},
		{"ldxsw", slot{op: classLDX | modeMEMSX | sizeW, dst: 3, src: 1}, 0xffffffffb3a29180},
		{"ldxsb positive", slot{op: classLDX | modeMEMSX | sizeB, dst: 3, src: 1, off: 8}, 8},
	} {
		got, err := runRaw(t, program(c.in, mov, exit), memory)
		if err != nil || got != c.want {
			t.Errorf("%s = %#x, %v, want %#x", c.name, got, err, c.want)
		}
	}
	for size, n := range map[uint8]int{sizeB: 1, sizeH: 2, sizeW: 4, sizeDW: 8} {
		mem := make([]byte, 10)
		b := program(imm64(3, 0x1122334455667788), slot{op: classSTX | modeMEM | size, dst: 1, src: 3, off: 1}, exit)
		if _, err := runRaw(t, b, mem); err != nil {
			t.Fatal(err)
		}
		for i, v := range mem {
			want := byte(0)
			if i >= 1 && i <= n {
				want = byte(0x99 - 0x11*i)
			}
			if v != want {
				t.Errorf("stx of %d bytes: byte %d = %#x, want %#x", n, i, v, want)
			}
		}
		clear(mem)
		b = program(slot{op: classST | modeMEM | size, dst: 1, off: 1, imm: -2}, exit)
		if _, err := runRaw(t, b, mem); err != nil {
			t.Fatal(err)
		}
		for i, v := range mem {
			want := byte(0)
			switch {
			case i == 1:
				want = 0xfe
			case i > 1 && i <= n:
				want = 0xff
			}
			if v != want {
				t.Errorf("st of %d bytes: byte %d = %#x, want %#x", n, i, v, want)
			}
		}
	}
}

func TestAtomics(t *testing.T) {
	var mem, src, r0 uint64 = 0xf0f0f0f0_12345678, 0x0ff00ff0_89abcdef, 0xf0f0f0f0_12345678
	type result struct{ mem, src, r0 uint64 }
	for _, size := range []uint8{sizeW, sizeDW} {
		mask := uint64(math.MaxUint64)
		if size == sizeW {
			mask = math.MaxUint32
		}
		keep := mem &^ mask
		old := mem & mask
		for imm, want := range map[int32]result{
			0x00: {keep | (mem+src)&mask, src, r0},
			0x01: {keep | (mem+src)&mask, old, r0},
			0x40: {keep | (mem|src)&mask, src, r0},
			0x41: {keep | (mem|src)&mask, old, r0},
			0x50: {keep | mem&src&mask, src, r0},
			0x51: {keep | mem&src&mask, old, r0},
			0xa0: {keep | (mem^src)&mask, src, r0},
			0xa1: {keep | (mem^src)&mask, old, r0},
			0xe1: {keep | src&mask, old, r0},
			0xf1: {keep | src&mask, src, old}, // equal to R0
		} {
			for _, out := range []string{"mem", "src", "r0"} {
				m := make([]byte, 16)
				storeLE(m[8:], mem)
				parts := []any{imm64(0, r0), imm64(3, src), slot{op: classSTX | modeATOMIC | size, dst: 1, src: 3, off: 8, imm: imm}}
				expect := want.r0
				if out == "src" {
					parts = append(parts, slot{op: classALU64 | aluMOV | sourceX, dst: 0, src: 3})
					expect = want.src
				}
				got, err := runRaw(t, program(append(parts, exit)...), m)
				if out == "mem" {
					got, expect = loadLE(m[8:]), want.mem
				}
				if err != nil || got != expect {
					t.Errorf("atomic %#x of %#x: %s = %#x, %v, want %#x", imm, size, out, got, err, expect)
				}
			}
		}
		// cmpxchg that does not match leaves memory and takes the old value.
		m := make([]byte, 8)
		storeLE(m, mem)
		b := program(imm64(0, 1), imm64(3, src), slot{op: classSTX | modeATOMIC | size, dst: 1, src: 3, imm: 0xf1}, exit)
		if got, err := runRaw(t, b, m); err != nil || got != old || loadLE(m) != mem {
			t.Errorf("failing cmpxchg of %#x = %#x, %v, memory %#x, want %#x and no change", size, got, err, loadLE(m), old)
		}
		b = program(slot{op: classSTX | modeATOMIC | size, dst: 1, src: 2, off: 2}, exit)
		if _, err := runRaw(t, b, make([]byte, 16)); !errors.Is(err, ErrAlignment) {
			t.Errorf("misaligned atomic: %v, want %v", err, ErrAlignment)
		}
	}
	for size, n := range map[uint8]int{sizeB: 1, sizeH: 2, sizeW: 4, sizeDW: 8} {
		m := make([]byte, 16)
		b := program(imm64(3, src),
			slot{op: classSTX | modeATOMIC | size, dst: 1, src: 3, off: 8, imm: atomicStoreRelease},
			slot{op: classSTX | modeATOMIC | size, dst: 0, src: 1, off: 8, imm: atomicLoadAcquire}, exit)
		want := src & (1<<(8*n) - 1)
		if n == 8 {
			want = src
		}
		if got, err := runRaw(t, b, m); err != nil || got != want {
			t.Errorf("release and acquire of %d bytes = %#x, %v, want %#x", n, got, err, want)
		}
	}
}

func TestCalls(t *testing.T) {
	mov := func(dst uint8, n int32) slot { return slot{op: classALU64 | aluMOV, dst: dst, imm: n} }
	call := func(n int32) slot { return slot{op: opcodeCall, src: callLocal, imm: n} }
	store := slot{op: classSTX | modeMEM | sizeDW, dst: 10, src: 6, off: -8}
	load := slot{op: classLDX | modeMEM | sizeDW, dst: 7, src: 10, off: -8}
	add := slot{op: classALU64 | sourceX, dst: 0, src: 7}
	// R6 to R9 and the frame belong to the caller.
	b := program(mov(6, 5), store, call(3), load, add, exit,
		/* callee */ mov(6, 70), store, load, slot{op: classALU64 | aluMOV | sourceX, dst: 0, src: 7}, exit)
	if got, err := runRaw(t, b, nil); err != nil || got != 75 {
		t.Errorf("call = %d, %v, want 75", got, err)
	}
	// A frame begins as zeros, whatever the last one left there.
	b = program(call(2), call(1), exit,
		slot{op: classLDX | modeMEM | sizeDW, dst: 0, src: 10, off: -8}, mov(6, 9), store, exit)
	if got, err := runRaw(t, b, nil); err != nil || got != 0 {
		t.Errorf("second frame reads %d, %v, want 0", got, err)
	}
	// sum(n) = n + sum(n-1), recursing n deep.
	sum := func(n int32) []byte {
		return program(mov(1, n), call(1), exit,
			slot{op: classALU64 | aluMOV | sourceX, dst: 6, src: 1},
			mov(0, 0),
			slot{op: classJMP | 0x10, dst: 1, off: 2},
			slot{op: classALU64, dst: 1, imm: -1},
			call(-5),
			slot{op: classALU64 | sourceX, dst: 0, src: 6},
			exit)
	}
	if got, err := runRaw(t, sum(6), nil); err != nil || got != 21 {
		t.Errorf("eight frames = %d, %v, want 21", got, err)
	}
	if _, err := runRaw(t, sum(7), nil); !errors.Is(err, ErrDepth) {
		t.Errorf("nine frames: %v, want %v", err, ErrDepth)
	}
	// A pointer into a frame that is gone.
	b = program(call(2), slot{op: classLDX | modeMEM | sizeDW, dst: 0, src: 0}, exit,
		slot{op: classALU64 | aluMOV | sourceX, dst: 0, src: 10}, slot{op: classALU64, dst: 0, imm: -8}, exit)
	if _, err := runRaw(t, b, nil); !errors.Is(err, ErrPermission) {
		t.Errorf("read of a dead frame: %v, want %v", err, ErrPermission)
	}
}

func TestMayGoto(t *testing.T) {
	// while (may_goto) r0++
	b := program(slot{op: classALU64 | aluMOV}, slot{op: classJMP | jmpJCOND, off: 2}, slot{op: classALU64, imm: 1},
		slot{op: classJMP, off: -3}, exit)
	got, err := RunRaw(context.Background(), b, nil, Budget{Instructions: 100 << 20})
	if err != nil || got != mayGotoLimit {
		t.Errorf("may_goto = %d, %v, want %d", got, err, mayGotoLimit)
	}
}
