// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"slices"
)

// memoryBytes is the memory that R1 points to.
const memoryBytes = 4096

type program struct {
	name string
	code []byte
}

// insn appends one instruction (RFC 9669, section 3.1).
func insn(b []byte, op, dst, src byte, off int16, imm int32) []byte {
	b = append(b, op, dst|src<<4)
	b = binary.LittleEndian.AppendUint16(b, uint16(off))
	return binary.LittleEndian.AppendUint32(b, uint32(imm))
}

// programs run straight through 16000 instructions, more or less.
func programs() []program {
	const (
		exit, movK, movX       = 0x95, 0xb7, 0xbf
		addX, mulK, xorX, rshK = 0x0f, 0x27, 0xaf, 0x77
		add32K, ja             = 0x04, 0x05
		ldxb, ldxdw, stxdw     = 0x71, 0x79, 0x7b
		fnvPrime               = 0x01000193
	)
	start := insn(nil, movK, 0, 0, 0, 7)
	start = insn(start, movK, 6, 0, 0, 3)
	arithmetic, bytes, stack := slices.Clone(start), slices.Clone(start), slices.Clone(start)
	for i := range 2000 {
		off := int16(i % memoryBytes)
		arithmetic = insn(arithmetic, xorX, 0, 6, 0, 0)
		arithmetic = insn(arithmetic, mulK, 0, 0, 0, fnvPrime)
		arithmetic = insn(arithmetic, movX, 5, 0, 0, 0)
		arithmetic = insn(arithmetic, rshK, 5, 0, 0, 13)
		arithmetic = insn(arithmetic, addX, 6, 5, 0, 0)
		arithmetic = insn(arithmetic, add32K, 5, 0, 0, 9)
		arithmetic = insn(arithmetic, xorX, 0, 5, 0, 0)
		arithmetic = insn(arithmetic, ja, 0, 0, 0, 0)

		bytes = insn(bytes, ldxb, 4, 1, off, 0)
		bytes = insn(bytes, xorX, 0, 4, 0, 0)
		bytes = insn(bytes, mulK, 0, 0, 0, fnvPrime)
		bytes = insn(bytes, ldxb, 4, 1, memoryBytes-1-off, 0)
		bytes = insn(bytes, xorX, 0, 4, 0, 0)
		bytes = insn(bytes, mulK, 0, 0, 0, fnvPrime)

		stack = insn(stack, stxdw, 10, 0, -8, 0)
		stack = insn(stack, ldxdw, 4, 10, -8, 0)
		stack = insn(stack, addX, 4, 6, 0, 0)
		stack = insn(stack, stxdw, 10, 4, -16, 0)
		stack = insn(stack, ldxdw, 0, 10, -16, 0)
	}
	return []program{
		{"arithmetic", insn(arithmetic, exit, 0, 0, 0, 0)},
		{"bytes of memory, hashed", insn(bytes, exit, 0, 0, 0, 0)},
		{"stack", insn(stack, exit, 0, 0, 0, 0)},
	}
}
