// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"testing"
)

// sieve counts the primes below n by trial division: arithmetic and jumps.
func benchPrimes() []byte {
	return program(
		mov(0, 0), mov(6, 2), // r6 candidate
		/* 2 */ mov(7, 2), // r7 divisor
		/* 3 */ movx(8, 7), slot{op: classALU64 | 0x20 | sourceX, dst: 8, src: 7},
		slot{op: classJMP | 0x20 | sourceX, dst: 8, src: 6, off: 5}, // square > candidate: prime
		movx(8, 6), slot{op: classALU64 | aluMOD | sourceX, dst: 8, src: 7},
		slot{op: classJMP | 0x10, dst: 8, off: 3},
		slot{op: classALU64, dst: 7, imm: 1}, slot{op: classJMP, off: -8},
		/* 11 */ slot{op: classALU64, dst: 0, imm: 1},
		/* 12 */ slot{op: classALU64, dst: 6, imm: 1}, slot{op: classJMP | 0xa0 | sourceX, dst: 6, src: 2, off: -12},
		exit)
}

func benchBytes() []byte {
	// FNV-1a over R2 bytes at R1: one load for five other instructions.
	return program(imm64(0, 14695981039346656037), imm64(5, 1099511628211), mov(3, 0),
		slot{op: classLDX | modeMEM | sizeB, dst: 4, src: 1},
		slot{op: classALU64 | 0xa0 | sourceX, dst: 0, src: 4},
		slot{op: classALU64 | 0x20 | sourceX, dst: 0, src: 5},
		slot{op: classALU64, dst: 1, imm: 1}, slot{op: classALU64, dst: 3, imm: 1},
		slot{op: classJMP | 0xa0 | sourceX, dst: 3, src: 2, off: -6}, exit)
}

func benchStack() []byte {
	// Loads and stores on the stack.
	return program(mov(3, 0),
		slot{op: classSTX | modeMEM | sizeDW, dst: 10, src: 3, off: -8},
		slot{op: classLDX | modeMEM | sizeDW, dst: 4, src: 10, off: -8},
		slot{op: classSTX | modeMEM | sizeW, dst: 10, src: 4, off: -12},
		slot{op: classLDX | modeMEM | sizeW, dst: 5, src: 10, off: -12},
		slot{op: classALU64, dst: 3, imm: 1},
		slot{op: classJMP | 0xa0 | sourceX, dst: 3, src: 2, off: -6}, mov(0, 0), exit)
}

func benchCalls() []byte {
	return program(movx(6, 2), slot{op: opcodeCall, src: callLocal, imm: 3}, slot{op: classALU64, dst: 6, imm: -1},
		slot{op: classJMP | 0x50, dst: 6, off: -3}, exit, mov(0, 1), exit)
}

func benchmark(b *testing.B, code []byte, n uint64) {
	m, err := (&Object{Programs: []*Program{{Name: "p", insns: code}}}).Link(nil, Options{Budget: Budget{Instructions: 1 << 40}})
	if err != nil {
		b.Fatal(err)
	}
	mem, err := m.Map("memory", make([]byte, n), PermRead)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var done uint64
	for b.Loop() {
		if _, err := m.Run(context.Background(), "p", mem, n); err != nil {
			b.Fatal(err)
		}
		done += 1<<40 - m.fuel
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds()/1e6, "Minsn/s")
}

func BenchmarkPrimes(b *testing.B) { benchmark(b, benchPrimes(), 20000) }
func BenchmarkBytes(b *testing.B)  { benchmark(b, benchBytes(), 1<<20) }
func BenchmarkStack(b *testing.B)  { benchmark(b, benchStack(), 1<<18) }
func BenchmarkCalls(b *testing.B)  { benchmark(b, benchCalls(), 1<<16) }

func BenchmarkOpenELF(b *testing.B) {
	object := compile(b, "parser")
	b.SetBytes(int64(len(object)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenObject(object, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenSkeleton(b *testing.B) {
	object := skeleton(b, compile(b, "parser"))
	b.SetBytes(int64(len(object)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenObject(object, nil); err != nil {
			b.Fatal(err)
		}
	}
}
