// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ringProgram is a program whose first instruction loads the ring buffer into
// R6; the rest follows.
func ringProgram(rest ...any) []byte {
	return program(append([]any{slot{op: opcodeLdImm64, dst: 6, src: pseudoMapIdx}, slot{}}, rest...)...)
}

// reserve n bytes into a register.
func reserve(dst uint8, n int32) []slot {
	return []slot{movx(1, 6), mov(2, n), mov(3, 0), helper(helperRingbufReserve), movx(dst, 0)}
}

func end(src uint8, n int32) []slot { return []slot{movx(1, src), mov(2, 1), helper(n)} }

func linkRing(t *testing.T, b []byte, size uint32, opts Options) *Machine {
	t.Helper()
	m, err := (&Object{
		Programs: []*Program{{Name: "p", insns: b}},
		Maps:     []*MapSpec{{Name: "ring", Type: MapRingbuf, MaxEntries: size}},
	}).Link(nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRingbuf(t *testing.T) {
	store := func(dst uint8, off int16, n int32) slot {
		return slot{op: classST | modeMEM | sizeDW, dst: dst, off: off, imm: n}
	}
	load := func(src uint8, off int16) slot {
		return slot{op: classLDX | modeMEM | sizeDW, dst: 0, src: src, off: off}
	}
	sum := slot{op: classALU64 | sourceX, dst: 0, src: 9}
	for _, c := range []struct {
		name string
		b    []byte
		want uint64
		err  error
	}{
		{"zero at first", ringProgram(reserve(7, 64), load(7, 56), movx(9, 0), end(7, helperRingbufDiscard), movx(0, 9), exit), 0, nil},
		{"old contents on reuse", ringProgram(reserve(7, 64), store(7, 8, 77), end(7, helperRingbufDiscard),
			reserve(7, 32), load(7, 8), movx(9, 0), end(7, helperRingbufDiscard), movx(0, 9), exit), 77, nil},
		{"two at once", ringProgram(reserve(7, 64), reserve(8, 64), store(7, 0, 1), store(8, 0, 2), load(7, 0), movx(9, 0),
			load(8, 0), sum, movx(9, 0), end(7, helperRingbufDiscard), end(8, helperRingbufSubmit), movx(0, 9), exit), 3, nil},
		{"larger than the ring", ringProgram(reserve(7, 4096), exit), 0, nil},
		{"as large as the ring allows", ringProgram(reserve(7, 4088), end(7, helperRingbufDiscard), mov(0, 5), exit), 5, nil},
		{"no room for a second", ringProgram(reserve(7, 4000), reserve(8, 4000), movx(9, 0), end(7, helperRingbufDiscard), movx(0, 9), exit), 0, nil},
		{"unknown flags", ringProgram(movx(1, 6), mov(2, 8), mov(3, 4), helper(helperRingbufReserve), exit), 0, nil},
		{"beyond the record", ringProgram(reserve(7, 64), load(7, 57), exit), 0, ErrAccess},
		{"read after discard", ringProgram(reserve(7, 64), end(7, helperRingbufDiscard), load(7, 0), exit), 0, ErrFreed},
		{"write after submit", ringProgram(reserve(7, 64), end(7, helperRingbufSubmit), store(7, 0, 1), exit), 0, ErrFreed},
		{"old pointer after a new reserve", ringProgram(reserve(7, 64), end(7, helperRingbufDiscard), reserve(8, 64), load(7, 0), exit), 0, ErrFreed},
		{"discarded twice", ringProgram(reserve(7, 64), end(7, helperRingbufDiscard), end(7, helperRingbufDiscard), exit), 0, ErrReference},
		{"discard of its middle", ringProgram(reserve(7, 64), slot{op: classALU64, dst: 7, imm: 8}, end(7, helperRingbufDiscard), exit), 0, ErrReference},
		{"leaked", ringProgram(reserve(7, 64), exit), 0, ErrReference},
		{"size", ringProgram(movx(1, 6), mov(2, 1), helper(helperRingbufQuery), exit), 4096, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := linkRing(t, c.b, 1, Options{})
			for range 2 {
				got, err := m.Run(context.Background(), "p")
				if c.name == "zero at first" {
					// The second run gets the memory of the first.
					got, c.want = 0, 0
				}
				if got != c.want || !errors.Is(err, c.err) {
					t.Errorf("Run() = %d, %v, want %d, %v", got, err, c.want, c.err)
				}
				if m.memory > 4096 || len(m.records) != 0 {
					t.Errorf("%d bytes and %d records in use after Run", m.memory, len(m.records))
				}
			}
		})
	}
}

func TestRingbufOutput(t *testing.T) {
	var got []string
	opts := Options{Output: func(ring string, b []byte) { got = append(got, ring+" "+string(b)) }}
	store := func(dst uint8, n int32) slot {
		return slot{op: classST | modeMEM | sizeW, dst: dst, imm: n}
	}
	m := linkRing(t, ringProgram(
		reserve(7, 4), store(7, 0x64636261), end(7, helperRingbufSubmit),
		reserve(7, 4), store(7, 0x21212121), end(7, helperRingbufDiscard),
		slot{op: classST | modeMEM | sizeW, dst: 10, off: -4, imm: 0x34333231},
		movx(1, 6), movx(2, 10), slot{op: classALU64, dst: 2, imm: -4}, mov(3, 4), mov(4, 0), helper(helperRingbufOutput),
		exit), 4096, opts)
	if _, err := m.Run(context.Background(), "p"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ring abcd", "ring 1234"}, got); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

// A ring of 256 MiB costs nothing until a record of it is wanted.
func TestRingbufBudget(t *testing.T) {
	m := linkRing(t, ringProgram(reserve(7, 200<<20), exit), 256<<20, Options{})
	if m.memory != 0 {
		t.Errorf("%d bytes in use before any record", m.memory)
	}
	if _, err := m.Run(context.Background(), "p"); !errors.Is(err, ErrMemory) {
		t.Errorf("200 MiB in a budget of 64: %v, want %v", err, ErrMemory)
	}
}
