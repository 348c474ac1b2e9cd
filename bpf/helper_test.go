// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProbeRead(t *testing.T) {
	// probe(dst = stack - 16, n = R2, src = R1), stack filled with 0xff
	// before; returns the first 8 bytes there, or the result.
	probe := func(n int32, result bool) []byte {
		parts := []any{
			slot{op: classST | modeMEM | sizeDW, dst: 10, off: -16, imm: -1},
			slot{op: classST | modeMEM | sizeDW, dst: 10, off: -8, imm: -1},
			movx(3, 1), movx(1, 10), slot{op: classALU64, dst: 1, imm: -16}, movx(2, 2), helper(n),
		}
		if !result {
			parts = append(parts, slot{op: classLDX | modeMEM | sizeDW, dst: 0, src: 10, off: -16})
		}
		return program(append(parts, exit)...)
	}
	data := []byte("abcd\x00fghijklmnop")
	for _, n := range []int32{4, 112, 113, 148, 45, 114, 115} {
		str := n == 45 || n == 114 || n == 115
		m, err := (&Object{Programs: []*Program{
			{Name: "result", insns: probe(n, true)}, {Name: "bytes", insns: probe(n, false)},
		}}).Link(nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := m.Map("data", data, PermRead)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := m.Map("secret", data, 0)
		if err != nil {
			t.Fatal(err)
		}
		fault := errno(efault)
		for _, c := range []struct {
			src, size, result uint64
			bytes             string
		}{
			{addr, 6, 0, "abcd\x00f\xff\xff"},
			{addr, 0, 0, "\xff\xff\xff\xff\xff\xff\xff\xff"},
			{addr + 8, 8, 0, "ijklmnop"},
			{addr + 9, 8, fault, "\x00\x00\x00\x00\x00\x00\x00\x00"},
			{0, 4, fault, "\x00\x00\x00\x00\xff\xff\xff\xff"},
			{secret, 4, fault, "\x00\x00\x00\x00\xff\xff\xff\xff"},
		} {
			if str {
				switch {
				case c.src == addr && c.size > 0:
					c.result, c.bytes = 5, "abcd\x00\xff\xff\xff"
				case c.src == addr+8:
					c.result, c.bytes = 8, "ijklmno\x00"
				case c.src == addr+9: // the region ends before the string does
					c.result, c.bytes = fault, "\x00\x00\x00\x00\x00\x00\x00\x00"
				}
			}
			if str && c.src == addr+9 {
				c.size = 16
			}
			got, err := m.Run(context.Background(), "result", c.src, c.size)
			if err != nil || got != c.result {
				t.Errorf("helper %d(%#x, %d) = %d, %v, want %d", n, c.src, c.size, int64(got), err, int64(c.result))
			}
			got, err = m.Run(context.Background(), "bytes", c.src, c.size)
			if s := string(binary.LittleEndian.AppendUint64(nil, got)); err != nil || s != c.bytes {
				t.Errorf("helper %d(%#x, %d) leaves %q, %v, want %q", n, c.src, c.size, s, err, c.bytes)
			}
		}
	}
}

func TestArrayMap(t *testing.T) {
	const key, value = -4, -16
	ldmap := slot{op: opcodeLdImm64, dst: 1, src: pseudoMapIdx}
	addr := func(dst uint8, off int32) []slot {
		return []slot{movx(dst, 10), {op: classALU64, dst: dst, imm: off}}
	}
	// args: R1 key, R2 value, R3 flags.
	store := []slot{
		{op: classSTX | modeMEM | sizeW, dst: 10, src: 1, off: key},
		{op: classSTX | modeMEM | sizeDW, dst: 10, src: 2, off: value}, movx(7, 3),
	}
	lookup := program(store, ldmap, slot{}, addr(2, key), helper(1), slot{op: classJMP | 0x10, dst: 0, off: 1},
		slot{op: classLDX | modeMEM | sizeDW, dst: 0, src: 0}, exit)
	update := program(store, ldmap, slot{}, addr(2, key), addr(3, value), movx(4, 7), helper(2), exit)
	remove := program(store, ldmap, slot{}, addr(2, key), helper(3), exit)
	direct := program(slot{op: opcodeLdImm64, dst: 1, src: pseudoMapIdxV}, slot{imm: 4},
		slot{op: classLDX | modeMEM | sizeW, dst: 0, src: 1}, exit)
	poke := program(slot{op: opcodeLdImm64, dst: 1, src: pseudoMapIdxV}, slot{imm: 4},
		slot{op: classST | modeMEM | sizeW, dst: 1, imm: 9}, exit)
	link := func(flags uint32) *Machine {
		m, err := (&Object{
			Programs: []*Program{{Name: "lookup", insns: lookup}, {Name: "update", insns: update}, {Name: "delete", insns: remove},
				{Name: "direct", insns: direct}, {Name: "poke", insns: poke}},
			Maps: []*MapSpec{{Name: "a", Type: MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 3, Flags: flags, Contents: []byte{1, 2, 3, 4, 5}}},
		}).Link(nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := link(0)
	for _, c := range []struct {
		program string
		args    []uint64
		want    uint64
	}{
		{"lookup", []uint64{0}, 0x0504030201},
		{"lookup", []uint64{1}, 0},
		{"direct", nil, 5},
		{"update", []uint64{2, 99, 0}, 0},
		{"lookup", []uint64{2}, 99},
		{"update", []uint64{3, 99, 0}, errno(e2big)},
		{"update", []uint64{1, 99, 1}, errno(eexist)},
		{"update", []uint64{1, 99, 2}, 0},
		{"update", []uint64{1, 99, 4}, errno(einval)},
		{"lookup", []uint64{3}, 0},
		{"delete", []uint64{1}, errno(einval)},
	} {
		got, err := m.Run(context.Background(), c.program, c.args...)
		if err != nil || got != c.want {
			t.Errorf("%s%v = %d, %v, want %d", c.program, c.args, int64(got), err, int64(c.want))
		}
	}
	m = link(mapReadOnly)
	for _, p := range []string{"update", "poke"} {
		if _, err := m.Run(context.Background(), p, 0, 0, 0); !errors.Is(err, ErrPermission) {
			t.Errorf("%s of a read-only map: %v, want %v", p, err, ErrPermission)
		}
	}
}

func TestTrace(t *testing.T) {
	var got []string
	m, err := newMachine(&Object{}, nil, Options{Trace: func(s string) { got = append(got, s) }})
	if err != nil {
		t.Fatal(err)
	}
	m.fuel = 1 << 20
	text, err := m.Map("text", []byte("a string\x00"), PermRead)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		format string
		values []uint64
		ok     bool
	}{
		{"%d %u %x\n\x00", []uint64{^uint64(0), ^uint64(0), 255}, true},
		{"%ld %llu %lx\x00", []uint64{^uint64(0), 1 << 63, 1 << 40}, true},
		{"[%5d|%-5d|%05x]\x00", []uint64{7, 7, 7}, true},
		{"%s and %c%%\x00", []uint64{text, 'x'}, true},
		{"%hhd\x00", []uint64{0xff}, true},
		{"%d\x00", nil, false},
		{"%q\x00", []uint64{1}, false},
		{"%999999d\x00", []uint64{1}, false},
		{"%", []uint64{1}, false},
	} {
		n, err := m.trace([]byte(c.format), c.values)
		if err != nil || (int64(n) >= 0) != c.ok {
			t.Errorf("trace(%q) = %d, %v, want success %v", c.format, int64(n), err, c.ok)
		}
	}
	want := []string{"-1 4294967295 ff", "-1 9223372036854775808 10000000000", "[    7|7    |00007]", "a string and x%", "-1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("messages (-want +got):\n%s", d)
	}
}

func TestLoopHelper(t *testing.T) {
	// callback(i, ctx): *ctx += i; return i == 9
	b := program(
		slot{op: classST | modeMEM | sizeDW, dst: 10, off: -8},
		movx(6, 1),
		movx(1, 6), slot{op: opcodeLdImm64, dst: 2, src: pseudoFunc, imm: 10 - 3 - 1}, slot{},
		movx(3, 10), slot{op: classALU64, dst: 3, imm: -8},
		mov(4, 0), helper(helperLoop), exit,
		/* 10: */ slot{op: classLDX | modeMEM | sizeDW, dst: 3, src: 2},
		slot{op: classALU64 | sourceX, dst: 3, src: 1},
		slot{op: classSTX | modeMEM | sizeDW, dst: 2, src: 3},
		mov(0, 0), slot{op: classJMP | 0x50, dst: 1, imm: 9, off: 1}, mov(0, 1), exit)
	m, err := (&Object{Programs: []*Program{{Name: "p", insns: b}}}).Link(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[uint64]uint64{0: 0, 5: 5, 10: 10, 100: 10, 1 << 24: errno(e2big)} {
		if got, err := m.Run(context.Background(), "p", n); err != nil || got != want {
			t.Errorf("bpf_loop(%d) = %d, %v, want %d", n, int64(got), err, int64(want))
		}
	}
}
