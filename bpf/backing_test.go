// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"errors"
	"testing"
)

// A large record is real only as far as it was touched, up to the budget; what
// was written is still there afterwards.
func TestSparseRecord(t *testing.T) {
	const size = 8 << 20
	store := func(off int32) []any {
		return []any{movx(8, 7), slot{op: classALU64, dst: 8, imm: off}, slot{op: classST | modeMEM | sizeDW, dst: 8, imm: 77}}
	}
	load := func(off int32) []any {
		return []any{movx(8, 7), slot{op: classALU64, dst: 8, imm: off}, slot{op: classLDX | modeMEM | sizeDW, dst: 9, src: 8}}
	}
	for _, c := range []struct {
		name    string
		body    [][]any
		want    uint64
		touched uint64
		err     error
	}{
		{"nothing", nil, 0, 0, nil},
		{"first byte", [][]any{store(0), load(0)}, 77, extendBytes, nil},
		{"across a step", [][]any{store(extendBytes - 4), load(extendBytes - 4)}, 77, 2 * extendBytes, nil},
		{"zero before what was written", [][]any{store(3 * extendBytes), load(64)}, 0, 4 * extendBytes, nil},
		{"a load makes real too", [][]any{load(5 * extendBytes)}, 0, 6 * extendBytes, nil},
		{"the budget", [][]any{store(1<<20 - 8), load(1<<20 - 8)}, 77, 1 << 20, nil},
		{"beyond the budget", [][]any{store(1 << 20)}, 0, 0, ErrMemory},
		{"last bytes", [][]any{store(size - 8)}, 0, 0, ErrMemory},
		{"beyond the record", [][]any{store(size - 4)}, 0, 0, ErrAccess},
		{"before the record", [][]any{store(-8)}, 0, 0, ErrAccess},
	} {
		parts := []any{reserve(7, size), mov(9, 0)}
		for _, b := range c.body {
			parts = append(parts, b...)
		}
		parts = append(parts, end(7, helperRingbufDiscard), movx(0, 9), exit)
		m := linkRing(t, ringProgram(parts...), 2*size, Options{Budget: Budget{Touched: 1 << 20}})
		got, err := m.Run(context.Background(), "p")
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s = %d, %v, want %d, %v", c.name, got, err, c.want, c.err)
		}
		if m.Touched() != c.touched {
			t.Errorf("%s: %#x bytes touched, want %#x", c.name, m.Touched(), c.touched)
		}
		if err := m.Close(); err != nil || m.Touched() != 0 || m.memory != 0 {
			t.Errorf("%s: Close = %v, %#x touched, %#x held", c.name, err, m.Touched(), m.memory)
		}
	}
}

// Check says what View would, without making anything real.
func TestCheck(t *testing.T) {
	const size = 4 << 20
	m := linkRing(t, ringProgram(exit), 2*size, Options{})
	b, err := m.newBacking(size)
	if err != nil {
		t.Fatal(err)
	}
	defer b.drop(m)
	addr, err := m.space.add("record", nil, PermRead)
	if err != nil {
		t.Fatal(err)
	}
	m.space.regions[addr>>offsetBits&slotMask].full = b.bytes
	for _, c := range []struct {
		addr, n uint64
		want    error
	}{
		{addr, size, nil}, {addr + size - 1, 1, nil}, {addr, 0, nil}, {0, 0, nil},
		{addr, size + 1, ErrAccess}, {addr + size, 1, ErrAccess}, {addr, 1 << 63, ErrAccess}, {0, 1, ErrAccess}, {^uint64(0), 2, ErrAccess},
	} {
		if err := m.Check(c.addr, c.n); !errors.Is(err, c.want) {
			t.Errorf("Check(%#x, %#x) = %v, want %v", c.addr, c.n, err, c.want)
		}
	}
	if m.Touched() != 0 {
		t.Errorf("%#x bytes touched, want none", m.Touched())
	}
}
