// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func mov(dst uint8, n int32) slot { return slot{op: classALU64 | aluMOV, dst: dst, imm: n} }

func movx(dst, src uint8) slot {
	return slot{op: classALU64 | aluMOV | sourceX, dst: dst, src: src}
}

func helper(n int32) slot { return slot{op: opcodeCall, imm: n} }

func TestLoadTimeCheck(t *testing.T) {
	ja := func(off int16) slot { return slot{op: classJMP, off: off} }
	for _, c := range []struct {
		name  string
		b     []byte
		want  error
		index int
	}{
		{"nothing", nil, ErrInvalid, -1},
		{"half an instruction", make([]byte, 12), ErrInvalid, -1},
		{"too long", make([]byte, 8*(MaxInstructions+1)), ErrLimit, -1},
		{"unknown opcode", program(slot{op: 0xff}, exit), ErrInvalid, 0},
		{"unknown jump", program(slot{op: classJMP | 0xf0}, exit), ErrInvalid, 0},
		{"unknown ALU operation", program(slot{op: classALU | 0xe0}, exit), ErrInvalid, 0},
		{"r11", program(slot{op: classALU64 | aluMOV, dst: 11}, exit), ErrInvalid, 0},
		{"source r15", program(movx(0, 15), exit), ErrInvalid, 0},
		{"write to r10", program(mov(0, 0), mov(10, 0), exit), ErrInvalid, 1},
		{"load into r10", program(slot{op: classLDX | modeMEM, dst: 10, src: 1}, exit), ErrInvalid, 0},
		{"LD_IMM64 into r10", program(imm64(10, 1), exit), ErrInvalid, 0},
		{"fetch into r10", program(slot{op: classSTX | modeATOMIC | sizeDW, dst: 1, src: 10, imm: 1}, exit), ErrInvalid, 0},
		{"half of LD_IMM64", program(slot{op: opcodeLdImm64}), ErrInvalid, 0},
		{"LD_IMM64 with an instruction inside", program(slot{op: opcodeLdImm64}, exit), ErrInvalid, 0},
		{"jump into LD_IMM64", program(ja(1), imm64(0, 0), exit), ErrInvalid, 0},
		{"jump beyond the end", program(ja(1), exit), ErrInvalid, 0},
		{"jump before the start", program(ja(-2), exit), ErrInvalid, 0},
		{"long jump beyond the end", program(slot{op: classJMP32, imm: 1 << 30}, exit), ErrInvalid, 0},
		{"jump into another function", program(slot{op: opcodeCall, src: callLocal, imm: 2}, ja(1), exit, mov(0, 0), exit), ErrInvalid, 1},
		{"runs past the end", program(mov(0, 0)), ErrInvalid, 0},
		{"ends in a call", program(helper(5)), ErrInvalid, 0},
		{"no exit", program(ja(-1)), ErrInvalid, 0},
		{"exit that is never reached", program(ja(-1), exit), ErrInvalid, 0},
		{"call outside", program(slot{op: opcodeCall, src: callLocal, imm: 5}, exit), ErrInvalid, 0},
		{"call of kind 3", program(slot{op: opcodeCall, src: 3}, exit), ErrInvalid, 0},
		{"unknown helper", program(helper(9999), exit), ErrNoHelper, 0},
		{"unknown kfunc", program(slot{op: opcodeCall, src: callKfunc, imm: 7}, exit), ErrNoKfunc, 0},
		{"LD_ABS", program(slot{op: 0x20}, exit), ErrUnsupported, 0},
		{"LD_IND", program(slot{op: 0x40}, exit), ErrUnsupported, 0},
		{"map by descriptor", program(slot{op: opcodeLdImm64, src: pseudoMapFD}, slot{}, exit), ErrUnsupported, 0},
		{"map that is not there", program(slot{op: opcodeLdImm64, src: pseudoMapIdx}, slot{}, exit), ErrRelocation, 0},
		{"address-space cast", program(slot{op: classALU64 | aluMOV | sourceX, off: 1}, exit), ErrUnsupported, 0},
		{"reserved offset", program(slot{op: classALU64, off: 3}, exit), ErrInvalid, 0},
		{"swap of 24 bits", program(slot{op: classALU64 | aluEND, imm: 24}, exit), ErrInvalid, 0},
		{"atomic on a byte", program(slot{op: classSTX | modeATOMIC | sizeB, dst: 10}, exit), ErrInvalid, 0},
		{"unknown atomic", program(slot{op: classSTX | modeATOMIC | sizeDW, dst: 10, imm: 0x20}, exit), ErrInvalid, 0},
		{"64-bit sign-extending load", program(slot{op: classLDX | modeMEMSX | sizeDW, src: 10}, exit), ErrInvalid, 0},
	} {
		o := &Object{Programs: []*Program{{Name: "p", insns: c.b}}}
		_, err := o.Link(nil, Options{})
		var f *Fault
		if !errors.Is(err, c.want) {
			t.Errorf("%s: Link() = %v, want %v", c.name, err, c.want)
		} else if c.index >= 0 && (!errors.As(err, &f) || f.Index != c.index) {
			t.Errorf("%s: Link() = %v, want a fault at instruction %d", c.name, err, c.index)
		}
	}
	// callx is refused by name except in raw runs.
	o := &Object{Programs: []*Program{{Name: "p", insns: program(mov(2, 5), slot{op: opcodeCallx, dst: 2}, exit)}}}
	if _, err := o.Link(nil, Options{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("callx: Link() = %v, want %v", err, ErrUnsupported)
	}
	if _, err := runRaw(t, o.Programs[0].insns, nil); err != nil {
		t.Errorf("callx: RunRaw() = %v", err)
	}
}

func TestFaults(t *testing.T) {
	ldx := func(dst, src uint8, off int16) slot {
		return slot{op: classLDX | modeMEM | sizeDW, dst: dst, src: src, off: off}
	}
	stx := func(dst, src uint8, off int16) slot {
		return slot{op: classSTX | modeMEM | sizeDW, dst: dst, src: src, off: off}
	}
	for _, c := range []struct {
		name  string
		b     []byte
		want  error
		index int
	}{
		{"null", program(mov(1, 0), ldx(0, 1, 0), exit), ErrAccess, 1},
		{"small number", program(mov(1, 4096), ldx(0, 1, 0), exit), ErrAccess, 1},
		{"wild", program(imm64(1, 0xffff888000000000), ldx(0, 1, 0), exit), ErrAccess, 2},
		{"past the memory", program(ldx(0, 1, 9), exit), ErrAccess, 0},
		{"before the memory", program(ldx(0, 1, -1), exit), ErrAccess, 0},
		{"store past the memory", program(stx(1, 1, 9), exit), ErrAccess, 0},
		{"past the stack", program(ldx(0, 10, 0), exit), ErrAccess, 0},
		{"before the stack", program(ldx(0, 10, -520), exit), ErrAccess, 0},
		{"far below the stack", program(stx(10, 1, -32768), exit), ErrAccess, 0},
		{"endless loop", program(mov(0, 0), slot{op: classJMP | 0x50, dst: 0, imm: 1, off: -2}, exit), ErrInstructions, -1},
		{"endless recursion", program(slot{op: opcodeCall, src: callLocal, imm: -1}, exit), ErrDepth, 0},
		{"bpf_loop without a function", program(mov(1, 1), mov(2, 1), mov(3, 0), mov(4, 0), helper(helperLoop), exit), ErrArgument, 4},
		{"probe_read into nothing", program(mov(1, 0), mov(2, 8), mov(3, 0), helper(113), exit), ErrAccess, 3},
		{"lookup in no map", program(helper(1), exit), ErrArgument, 0},
		{"submit of no record", program(movx(1, 10), helper(132), exit), ErrReference, 1},
	} {
		_, err := runRaw(t, c.b, make([]byte, 16))
		var f *Fault
		if !errors.Is(err, c.want) || !errors.As(err, &f) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		} else if c.index >= 0 && f.Index != c.index {
			t.Errorf("%s: fault at %d, want %d: %v", c.name, f.Index, c.index, err)
		} else if f.Instruction == "" {
			t.Errorf("%s: no disassembly: %v", c.name, err)
		}
	}
}

func TestFaultMessage(t *testing.T) {
	_, err := runRaw(t, program(mov(0, 1), slot{op: classLDX | modeMEM | sizeW, dst: 0, src: 1, off: 6}, exit), make([]byte, 8))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"program raw", "instruction 1", "LdXMemW dst: r0 src: r1 off: 6", "read of 4 bytes at memory+0x6", "region of 0x8 bytes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

func TestPermissions(t *testing.T) {
	m, err := (&Object{Programs: []*Program{
		{Name: "read", insns: program(slot{op: classLDX | modeMEM | sizeB, dst: 0, src: 1}, exit)},
		{Name: "write", insns: program(slot{op: classST | modeMEM | sizeB, dst: 1}, exit)},
		{Name: "word", insns: program(slot{op: classLDX | modeMEM | sizeW, dst: 0, src: 1, off: 2}, exit)},
		{Name: "stack", insns: program(slot{op: classST | modeMEM | sizeW, dst: 10, off: -6}, exit)},
	}}).Link(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		program string
		perm    Perm
		want    error
	}{
		{"read", PermRead, nil},
		{"read", PermWrite, ErrPermission},
		{"read", 0, ErrPermission},
		{"write", PermRead | PermWrite, nil},
		{"write", PermRead, ErrPermission},
		{"word", PermRead, nil},
		{"word", PermRead | PermAligned, ErrAlignment},
		{"stack", 0, ErrAlignment},
	} {
		addr, err := m.Map("region", make([]byte, 8), c.perm)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Run(context.Background(), c.program, addr); !errors.Is(err, c.want) {
			t.Errorf("%s of a region with %b: %v, want %v", c.program, c.perm, err, c.want)
		}
		if err := m.Unmap(addr); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Run(context.Background(), "read", addr); !errors.Is(err, ErrFreed) {
			t.Errorf("read of an unmapped region: %v, want %v", err, ErrFreed)
		}
		if _, err := m.View(addr, 1); !errors.Is(err, ErrFreed) {
			t.Errorf("View of an unmapped region: %v, want %v", err, ErrFreed)
		}
		if err := m.Unmap(addr); !errors.Is(err, ErrAccess) {
			t.Errorf("second Unmap: %v, want %v", err, ErrAccess)
		}
	}
}

// A freed address stays invalid however often its slot is used again, and the
// table of regions has an end.
func TestRegionsAreNotReused(t *testing.T) {
	s := newSpace()
	seen := map[uint64]bool{}
	for i := range 3 * maxGeneration {
		addr, err := s.add("r", make([]byte, 1), PermRead)
		if err != nil || seen[addr] {
			t.Fatalf("region %d: address %#x, seen %v, %v", i, addr, seen[addr], err)
		}
		seen[addr] = true
		s.remove(addr)
		if s.bytes(addr, 1, PermRead) != nil {
			t.Fatalf("region %d readable after it was removed", i)
		}
	}
	n := 0
	for ; n <= slotMask; n++ {
		if _, err := s.add("r", nil, 0); err != nil {
			if !errors.Is(err, ErrLimit) {
				t.Errorf("add: %v, want %v", err, ErrLimit)
			}
			break
		}
	}
	if n > slotMask {
		t.Error("regions without end")
	}
}

func TestBudget(t *testing.T) {
	// Counts down from 100: 1 + 2*100 instructions and the exit.
	b := program(mov(0, 100), slot{op: classALU64, dst: 0, imm: -1}, slot{op: classJMP | 0x50, dst: 0, off: -2}, exit)
	if _, err := RunRaw(context.Background(), b, nil, Budget{Instructions: 202}); err != nil {
		t.Errorf("202 instructions in a budget of 202: %v", err)
	}
	if _, err := RunRaw(context.Background(), b, nil, Budget{Instructions: 201}); !errors.Is(err, ErrInstructions) {
		t.Errorf("202 instructions in a budget of 201: %v, want %v", err, ErrInstructions)
	}
	endless := program(mov(0, 0), slot{op: classJMP | 0x50, dst: 0, imm: 1, off: -2}, exit)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := RunRaw(ctx, endless, nil, Budget{Instructions: 1 << 50})
	if !errors.Is(err, ErrTime) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("endless loop with a deadline: %v, want %v", err, ErrTime)
	}
	// A loop of helper calls looks at the clock as well.
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	endless = program(helper(5), slot{op: classJMP | 0x50, dst: 0, imm: -1, off: -2}, exit)
	if _, err = RunRaw(ctx, endless, nil, Budget{Instructions: 1 << 50}); !errors.Is(err, ErrTime) {
		t.Errorf("endless loop of calls with a deadline: %v, want %v", err, ErrTime)
	}
	// Bytes that a helper moves are paid for.
	big := make([]byte, 1<<20)
	copies := program(movx(6, 1), mov(2, 1<<19), movx(1, 6), movx(3, 6), slot{op: classALU64, dst: 3, imm: 1 << 19}, helper(113),
		slot{op: classJMP | 0x10, dst: 0, off: -6}, exit)
	if _, err := RunRaw(context.Background(), copies, big, Budget{Instructions: 1 << 14}); !errors.Is(err, ErrInstructions) {
		t.Errorf("endless copying: %v, want %v", err, ErrInstructions)
	}
	if _, err := (&Object{Maps: []*MapSpec{{Name: "m", Type: MapArray, KeySize: 4, ValueSize: 1 << 20, MaxEntries: 64}}}).Link(nil,
		Options{Budget: Budget{Memory: 1<<26 - 1}}); !errors.Is(err, ErrMemory) {
		t.Errorf("array over the budget: %v, want %v", err, ErrMemory)
	}
}

func TestBusy(t *testing.T) {
	var inner error
	h := &Host{Helpers: map[int32]Func{1000: func(m *Machine, _ [5]uint64) (uint64, error) {
		_, inner = m.Run(context.Background(), "p")
		return 0, nil
	}}}
	m, err := (&Object{Programs: []*Program{{Name: "p", insns: program(helper(1000), exit)}}}).Link(h, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(context.Background(), "p"); err != nil || !errors.Is(inner, ErrBusy) {
		t.Errorf("Run inside Run = %v, %v, want %v", err, inner, ErrBusy)
	}
	if _, err := m.Run(context.Background(), "q"); !errors.Is(err, ErrNoProgram) {
		t.Errorf("Run(q) = %v, want %v", err, ErrNoProgram)
	}
	if !slices.Equal(m.Programs(), []string{"p"}) {
		t.Errorf("Programs() = %q", m.Programs())
	}
}

func TestReferences(t *testing.T) {
	kfunc := func(name string, i int) reference { return reference{index: i, kind: refKfunc, name: name} }
	call := slot{op: opcodeCall, src: callKfunc, imm: 1}
	for _, c := range []struct {
		name string
		b    []byte
		refs []reference
		want error
	}{
		{"balanced", program(call, movx(1, 0), call, exit), []reference{kfunc("get", 0), kfunc("put", 2)}, nil},
		{"leaked", program(call, exit), []reference{kfunc("get", 0)}, ErrReference},
		{"released twice", program(call, movx(6, 0), movx(1, 6), call, movx(1, 6), call, exit),
			[]reference{kfunc("get", 0), kfunc("put", 3), kfunc("put", 5)}, ErrReference},
		{"used after release", program(call, movx(6, 0), movx(1, 6), call, movx(1, 6), call, exit),
			[]reference{kfunc("get", 0), kfunc("put", 3), kfunc("use", 5)}, ErrReference},
		{"invented", program(mov(1, 77), call, exit), []reference{kfunc("use", 1)}, ErrReference},
		{"two of one, one released", program(call, call, movx(1, 0), call, exit),
			[]reference{kfunc("get", 0), kfunc("get", 1), kfunc("put", 3)}, ErrReference},
	} {
		one := func(*Machine, [5]uint64) (uint64, error) { return 99, nil }
		h := &Host{Kfuncs: map[string]Kfunc{
			"get": {Func: one, Acquire: true}, "put": {Func: one, Release: 1}, "use": {Func: one, Held: 1},
		}}
		m, err := (&Object{Programs: []*Program{{Name: "p", insns: c.b, refs: c.refs}}}).Link(h, Options{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		// A second run must not see what the first one left.
		for range 2 {
			if _, err := m.Run(context.Background(), "p"); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	}
}
