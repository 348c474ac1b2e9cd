// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
)

// btfBytes makes BTF of raw type records and a string section.
func btfBytes(types []byte, text string) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, 0xeb9f)
	b = append(b, 1, 0)
	for _, v := range []int{24, 0, len(types), len(types), len(text)} {
		b = le.AppendUint32(b, uint32(v))
	}
	return append(append(b, types...), text...)
}

func btfType(b []byte, name uint32, kind TypeKind, n, value uint32, extra ...uint32) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, name)
	b = le.AppendUint32(b, uint32(kind)<<24|n)
	b = le.AppendUint32(b, value)
	for _, v := range extra {
		b = le.AppendUint32(b, v)
	}
	return b
}

// A long chain of types must not cost stack, and shared names no memory.
func TestBTFChain(t *testing.T) {
	const n = maxBTFTypes
	var types []byte
	for i := range uint32(n) {
		types = btfType(types, 1, KindTypedef, 0, (i+2)%(n+1))
	}
	text := "\x00" + strings.Repeat("x", maxName-1) + "\x00"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b, err := parseBTF(btfBytes(types, text))
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 100<<20 {
		t.Errorf("parseBTF allocates %d MiB for %d KiB", got>>20, len(types)>>10)
	}
	y, err := b.at(1)
	if err != nil {
		t.Fatal(err)
	}
	if p := plain(y); p != nil {
		t.Errorf("plain() = %+v, want nil for a chain of %d", p, n)
	}
	if _, err := sizeOf(y); !errors.Is(err, ErrFormat) {
		t.Errorf("sizeOf() = %v, want %v", err, ErrFormat)
	}
	if _, err := parseBTF(btfBytes(btfType(types, 0, KindPointer, 0, 0), text)); !errors.Is(err, ErrLimit) {
		t.Errorf("one type too many: %v, want %v", err, ErrLimit)
	}
}

func TestBTFCycles(t *testing.T) {
	var types []byte
	types = btfType(types, 1, KindTypedef, 0, 1)                            // 1: typedef of itself
	types = btfType(types, 3, KindStruct, 1, 8, 0, 2, 0)                    // 2: holds itself, unnamed
	types = btfType(types, 0, KindArray, 0, 0, 3, 1, 0xffffffff)            // 3: array of itself
	types = btfType(types, 5, KindStruct, 2, 16, 0, 2, 0, 7, 3, 1<<31|1<<5) // 4
	b, err := parseBTF(btfBytes(types, "\x00a\x00b\x00c\x00d\x00"))
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint32(5) {
		y, _ := b.at(id)
		y.Field("nothing")
		y.Field("d")
		if _, err := sizeOf(y); err == nil && y.Kind != KindStruct {
			t.Errorf("type %d has a size", id)
		}
		for kind := range coreTypeMatches + 2 {
			for _, access := range []string{"0", "0:0", "0:0:0:0", "0:1:4294967295", "1:1", "", ":", "x", strings.Repeat("0:", 100) + "0"} {
				r := coreRecord{typeID: id, access: access, kind: kind}
				host := []*Type{&b.types[2], &b.types[4], &b.types[1]}
				if _, err := r.resolve(b, host); err != nil {
					typed(t, err)
				}
			}
		}
	}
}

func TestBTFDamage(t *testing.T) {
	good := btfBytes(btfType(nil, 1, KindInt, 0, 4, 32), "\x00int\x00")
	if _, err := parseBTF(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := parseBTF(good[:n]); err == nil {
			t.Errorf("parseBTF of %d bytes of %d succeeds", n, len(good))
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"name beyond the strings", btfBytes(btfType(nil, 99, KindInt, 0, 4, 32), "\x00int\x00"), ErrTruncated},
		{"strings without NUL", btfBytes(nil, "\x00int"), ErrFormat},
		{"type that is not there", btfBytes(btfType(nil, 0, KindPointer, 0, 7), "\x00"), ErrFormat},
		{"unknown kind", btfBytes(btfType(nil, 0, 25, 0, 0), "\x00"), ErrUnsupported},
		{"members cut off", btfBytes(btfType(nil, 0, KindStruct, 3, 0), "\x00"), ErrTruncated},
		{"long name", btfBytes(btfType(nil, 1, KindInt, 0, 4, 32), "\x00"+strings.Repeat("x", 600)+"\x00"), ErrLimit},
		{"wide integer", btfBytes(btfType(nil, 0, KindInt, 0, 1<<20, 32), "\x00"), ErrFormat},
	} {
		if _, err := parseBTF(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// Loader programs are hostile as well.
func TestHostileLoader(t *testing.T) {
	blob := make([]byte, skelFDBytes+512)
	le := binary.LittleEndian
	// attr at the start of the free part; R1 of sys_bpf is the command.
	attr := func(cmd int32, rest ...any) []byte {
		return program(append([]any{
			movx(6, 1), mov(1, cmd), slot{op: opcodeLdImm64, dst: 2, src: pseudoMapIdxV}, slot{imm: skelFDBytes}, mov(3, 150), helper(helperSysBpf),
			slot{op: classJMP | 0xd0, dst: 0, imm: -1, off: 1}, mov(0, 0), exit}, rest...)...)
	}
	huge := append([]byte(nil), blob...)
	for i := skelFDBytes; i < len(huge); i += 4 {
		le.PutUint32(huge[i:], 0xffffffff)
	}
	loop := program(slot{op: opcodeLdImm64, dst: 8, src: pseudoMapIdxV}, slot{imm: skelFDBytes},
		mov(1, cmdMapCreate), movx(2, 8), mov(3, 72), helper(helperSysBpf), slot{op: classJMP | 0x70, dst: 0, off: -5}, exit)
	for _, c := range []struct {
		name  string
		insns []byte
		data  []byte
		want  error
	}{
		{"no blob", program(exit), nil, ErrTruncated},
		{"no program", program(mov(0, 0), exit), blob, ErrNoProgram},
		{"failure", program(mov(0, -22), exit), blob, ErrFormat},
		{"endless", program(mov(0, 0), slot{op: classJMP | 0x50, dst: 0, imm: 1, off: -2}, exit), blob, ErrInstructions},
		{"unknown command", attr(99), blob, ErrUnsupported},
		{"BTF of 4 GiB", attr(cmdBtfLoad), huge, ErrAccess},
		{"program of 4 G instructions", attr(cmdProgLoad), huge, ErrLimit},
		{"update of no map", attr(cmdMapUpdate), huge, ErrFormat},
		{"freeze of no map", attr(cmdMapFreeze), huge, ErrFormat},
		{"maps without end", loop, blob, ErrLimit},
	} {
		if _, err := LoadSkeleton(c.insns, c.data, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// What a map wants is refused before it is allocated.
func TestHostileMaps(t *testing.T) {
	for _, c := range []struct {
		spec MapSpec
		want error
	}{
		{MapSpec{Type: MapArray, KeySize: 4, ValueSize: 1<<32 - 1, MaxEntries: 1<<32 - 1}, ErrLimit},
		{MapSpec{Type: MapArray, KeySize: 4, ValueSize: 1 << 31, MaxEntries: 1}, ErrMemory},
		{MapSpec{Type: MapArray, KeySize: 8, ValueSize: 4, MaxEntries: 1}, ErrFormat},
		{MapSpec{Type: MapArray, KeySize: 4, ValueSize: 4}, ErrFormat},
		{MapSpec{Type: MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1, Contents: make([]byte, 5)}, ErrFormat},
		{MapSpec{Type: MapRingbuf, MaxEntries: 1<<32 - 1}, ErrFormat},
		{MapSpec{Type: MapRingbuf, MaxEntries: 4096, KeySize: 4}, ErrFormat},
		{MapSpec{Type: 1, KeySize: 4, ValueSize: 4, MaxEntries: 1}, ErrUnsupported},
	} {
		if _, err := (&Object{Maps: []*MapSpec{&c.spec}}).Link(nil, Options{}); !errors.Is(err, c.want) {
			t.Errorf("Link with %+v = %v, want %v", c.spec, err, c.want)
		}
	}
}
