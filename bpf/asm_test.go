// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"strconv"
	"testing"
)

// Instructions for tests, by their fields.

func raw(slots ...slot) []byte {
	b := make([]byte, len(slots)*slotBytes)
	for i, s := range slots {
		s.put(b, i)
	}
	return b
}

// imm64 is LD_IMM64.
func imm64(dst uint8, v uint64) []slot {
	return []slot{{op: opcodeLdImm64, dst: dst, imm: int32(uint32(v))}, {imm: int32(uint32(v >> 32))}}
}

var exit = slot{op: opcodeExit}

// program joins slots and runs of slots.
func program(parts ...any) []byte {
	var s []slot
	for _, p := range parts {
		switch p := p.(type) {
		case slot:
			s = append(s, p)
		case []slot:
			s = append(s, p...)
		}
	}
	return raw(s...)
}

func runRaw(t testing.TB, b, memory []byte) (uint64, error) {
	t.Helper()
	return RunRaw(context.Background(), b, memory, Budget{Instructions: 1 << 20})
}

func dec(v uint64) string { return strconv.FormatUint(v, 10) }
