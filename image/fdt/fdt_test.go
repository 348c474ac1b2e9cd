// SPDX-License-Identifier: Apache-2.0

package fdt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/fdt"
)

// small is a tree with each token, made without dtc.
func small(t testing.TB) []byte {
	t.Helper()
	tree := fdt.New()
	tree.Reserve = []fdt.Reservation{{Address: 0x1000, Size: 0x2000}}
	tree.Root.SetU32("#address-cells", 2)
	tree.Ensure("/a/b").SetText("name-of-b", "b")
	return marshal(t, tree)
}

func put(b []byte, off int, v uint32) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint32(b[off:], v)
	return b
}

func TestParseRefuses(t *testing.T) {
	good := small(t)
	structs := int(binary.BigEndian.Uint32(good[8:]))
	names := int(binary.BigEndian.Uint32(good[12:]))
	prop := structs + 8 // FDT_PROP of the root
	deep := fdt.New()
	n := deep.Root
	for range fdt.MaxDepth - 1 {
		n = n.Ensure("n")
	}
	deepest := marshal(t, deep)
	// One more level, made by hand: names are one letter, so a node is four cells.
	at := int(binary.BigEndian.Uint32(deepest[8:])) + 8 + (fdt.MaxDepth-1)*8
	tooDeep := append(bytes.Clone(deepest[:at]), 0, 0, 0, 1, 'n', 0, 0, 0, 0, 0, 0, 2)
	tooDeep = append(tooDeep, deepest[at:]...)
	tooDeep = put(tooDeep, 4, uint32(len(tooDeep)))
	tooDeep = put(tooDeep, 12, binary.BigEndian.Uint32(tooDeep[12:])+12)
	tooDeep = put(tooDeep, 36, binary.BigEndian.Uint32(tooDeep[36:])+12)

	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, fdt.ErrNotFDT},
		{"magic", put(good, 0, 0xd00dfeee), fdt.ErrNotFDT},
		{"short header", good[:39], fdt.ErrNotFDT},
		{"version 16", put(good, 20, 16), fdt.ErrVersion},
		{"compatible 18", put(put(good, 20, 18), 24, 18), fdt.ErrVersion},
		{"size beyond the file", put(good, 4, uint32(len(good)+1)), fdt.ErrTruncated},
		{"size of 4 GiB", put(good, 4, 0xffffffff), fdt.ErrLimit},
		{"size below the header", put(good, 4, 39), fdt.ErrMalformed},
		{"structure block wraps", put(good, 36, 0xffffffff), fdt.ErrTruncated},
		{"structure block in the header", put(good, 8, 36), fdt.ErrMalformed},
		{"structure block unaligned", put(good, 8, uint32(structs+2)), fdt.ErrMalformed},
		{"structure block short", put(good, 36, 8), fdt.ErrTruncated},
		{"strings block wraps", put(good, 12, 0xffffffff), fdt.ErrTruncated},
		{"strings block over structure block", put(good, 12, uint32(structs)), fdt.ErrMalformed},
		{"strings without final NUL", put(good, 32, binary.BigEndian.Uint32(good[32:])-1), fdt.ErrTruncated},
		{"reservations without end", put(put(good, 16, uint32(names)&^7), 4, uint32(len(good))), fdt.ErrTruncated},
		{"reservations unaligned", put(good, 16, 44), fdt.ErrMalformed},
		{"no root", put(good, structs, 2), fdt.ErrMalformed},
		{"root with a name", put(good, structs+4, 0x61000000), fdt.ErrMalformed},
		{"bad token", put(good, prop, 7), fdt.ErrMalformed},
		{"value beyond the block", put(good, prop+4, 0xffffffff), fdt.ErrTruncated},
		{"name beyond the block", put(good, prop+8, 0xffffffff), fdt.ErrTruncated},
		{"node name with slash", put(good, prop+16+4, 0x61_2f_61_00), fdt.ErrMalformed},
		{"no end", put(good, names-4, 4), fdt.ErrTruncated},
		{"too deep", tooDeep, fdt.ErrLimit},
	} {
		if _, err := fdt.Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: Parse = %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := fdt.Parse(deepest); err != nil {
		t.Errorf("Parse(%d levels) = %v, want nil", fdt.MaxDepth, err)
	}
	for i := range good {
		if _, err := fdt.Parse(good[:i]); err == nil {
			t.Errorf("Parse(first %d of %d bytes) = nil, want an error", i, len(good))
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	many := fdt.New()
	for i := range fdt.MaxNodes {
		many.Root.Children = append(many.Root.Children, &fdt.Node{Name: fmt.Sprint("n", i)})
	}
	big := fdt.New()
	big.Root.Set("v", make([]byte, fdt.MaxSize))
	twice := fdt.New()
	twice.Root.Props = []fdt.Property{{Name: "a"}, {Name: "a"}}
	slash := fdt.New()
	slash.Root.Children = []*fdt.Node{{Name: "a/b"}}
	empty := fdt.New()
	empty.Reserve = make([]fdt.Reservation, 1)
	for _, c := range []struct {
		name string
		tree *fdt.Tree
		want error
	}{
		{"no root", &fdt.Tree{}, fdt.ErrMalformed},
		{"too many nodes", many, fdt.ErrLimit},
		{"too big", big, fdt.ErrLimit},
		{"property twice", twice, fdt.ErrMalformed},
		{"slash", slash, fdt.ErrMalformed},
		{"empty reservation", empty, fdt.ErrMalformed},
	} {
		if _, err := c.tree.Marshal(); !errors.Is(err, c.want) {
			t.Errorf("%s: Marshal = %v, want %v", c.name, err, c.want)
		}
	}
}

func TestLookup(t *testing.T) {
	tree := parse(t, compile(t, board))
	for _, c := range []struct{ path, want string }{
		{"/", "/"},
		{"/soc/bus@1000000/serial@a000", "/soc/bus@1000000/serial@a000"},
		{"/soc/bus/serial", "/soc/bus@1000000/serial@9000"},
		{"serial0", "/soc/bus@1000000/serial@9000"},
		{"bus/serial@a000", "/soc/bus@1000000/serial@a000"},
		{"/memory", "/memory@40000000"},
		{"/soc/bus@2", ""},
		{"nobody", ""},
		{"", ""},
	} {
		got := ""
		if n, ok := tree.Lookup(c.path); ok {
			got, _ = tree.Path(n)
		}
		if got != c.want {
			t.Errorf("Lookup(%q) = %q, want %q", c.path, got, c.want)
		}
	}
	gic, _ := tree.Lookup("/interrupt-controller")
	uart, _ := tree.Lookup("/soc/bus/serial@a000")
	ph, err := uart.U32("interrupt-parent")
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := tree.ByPhandle(ph); !ok || n != gic {
		t.Errorf("ByPhandle(%d) = %v, %v, want the interrupt controller", ph, n, ok)
	}
}

func TestMemory(t *testing.T) {
	tree := parse(t, compile(t, board))
	got, err := tree.Memory()
	want := []fdt.Region{{Address: 0x40000000, Size: 0x20000000}, {Address: 0x100000000, Size: 0x80000000}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("Memory() = %v, -want +got:\n%s", err, d)
	}
	reserved, err := tree.ReservedMemory()
	wantR := []fdt.Reserved{
		{Name: "memreserve", Region: fdt.Region{Address: 0x48000000, Size: 0x200000}},
		{Name: "memreserve", Region: fdt.Region{Address: 0x100000000, Size: 0x1000}},
		{Name: "secure@50000000", Region: fdt.Region{Address: 0x50000000, Size: 0x100000}, NoMap: true},
	}
	if d := cmp.Diff(wantR, reserved); err != nil || d != "" {
		t.Errorf("ReservedMemory() = %v, -want +got:\n%s", err, d)
	}
	tree.Ensure("/memory@40000000").Set("reg", bytes.Repeat([]byte{0xff}, 16))
	if _, err := tree.Memory(); !errors.Is(err, fdt.ErrValue) {
		t.Errorf("Memory() of a wrapping region = %v, want %v", err, fdt.ErrValue)
	}
}

func TestTranslate(t *testing.T) {
	tree := parse(t, compile(t, board))
	soc, _ := tree.Lookup("/soc")
	bus, _ := tree.Lookup("/soc/bus")
	uart, _ := tree.Lookup("/soc/bus/serial@9000")
	reg, err := uart.Reg(bus)
	if err != nil {
		t.Fatal(err)
	}
	got, err := fdt.Translate([]*fdt.Node{tree.Root, soc, bus}, reg[0])
	if want := (fdt.Region{Address: 0x81009000, Size: 0x1000}); err != nil || got != want {
		t.Errorf("Translate(%v) = %#x, %v, want %#x", reg[0], got, err, want)
	}
	if _, err := fdt.Translate([]*fdt.Node{tree.Root, soc, bus}, fdt.Region{Address: 0xff000, Size: 0x1001}); !errors.Is(err, fdt.ErrNotFound) {
		t.Errorf("Translate(region that sticks out) = %v, want %v", err, fdt.ErrNotFound)
	}
}

func TestCells(t *testing.T) {
	for _, c := range []struct {
		cells fdt.Cells
		r     fdt.Region
		ok    bool
	}{
		{fdt.Cells{Address: 1, Size: 1}, fdt.Region{Address: 0xffffffff, Size: 1}, true},
		{fdt.Cells{Address: 1, Size: 1}, fdt.Region{Address: 1 << 32, Size: 1}, false},
		{fdt.Cells{Address: 2, Size: 1}, fdt.Region{Address: 1 << 63, Size: 1 << 32}, false},
		{fdt.Cells{Address: 3, Size: 2}, fdt.Region{Address: 1<<64 - 1, Size: 1 << 40}, true},
		{fdt.Cells{Address: 2, Size: 0}, fdt.Region{Address: 1, Size: 0}, true},
		{fdt.Cells{Address: 2, Size: 0}, fdt.Region{Address: 1, Size: 1}, false},
	} {
		b, err := c.cells.Encode(c.r)
		if (err == nil) != c.ok {
			t.Errorf("%v.Encode(%#x) = %v, want success %v", c.cells, c.r, err, c.ok)
			continue
		}
		if !c.ok {
			continue
		}
		if got, err := c.cells.Decode(b); err != nil || len(got) != 1 || got[0] != c.r {
			t.Errorf("%v.Decode(Encode(%#x)) = %#x, %v", c.cells, c.r, got, err)
		}
	}
	if _, err := (fdt.Cells{Address: 2, Size: 2}).Decode(make([]byte, 15)); !errors.Is(err, fdt.ErrValue) {
		t.Errorf("Decode(15 bytes) = %v, want %v", err, fdt.ErrValue)
	}
	if _, err := (fdt.Cells{}).Decode(make([]byte, 16)); !errors.Is(err, fdt.ErrValue) {
		t.Errorf("Decode with no cells = %v, want %v", err, fdt.ErrValue)
	}
}

func TestApplyRefuses(t *testing.T) {
	base := compile(t, board)
	for _, c := range []struct{ name, overlay string }{
		{"unknown symbol", `/plugin/; &nobody { x; };`},
		{"unknown path", `/plugin/; &{/nobody} { x; };`},
		{"no target", `/ { fragment@0 { __overlay__ { x; }; }; };`},
		{"unknown phandle", `/ { fragment@0 { target = <99>; __overlay__ { x; }; }; };`},
		{"target of two cells", `/ { fragment@0 { target = <1 2>; __overlay__ { x; }; }; };`},
		{"fixup beyond the value", `/ { fragment@0 { target = <0>; __overlay__ {}; }; __fixups__ { uart0 = "/fragment@0:target:1"; }; };`},
		{"fixup of no property", `/ { fragment@0 { target = <0>; __overlay__ {}; }; __fixups__ { uart0 = "/fragment@0:tarlet:0"; }; };`},
		{"fixup with a bad offset", `/ { fragment@0 { target = <0>; __overlay__ {}; }; __fixups__ { uart0 = "/fragment@0:target:-1"; }; };`},
		{"fixup without offset", `/ { fragment@0 { target = <0>; __overlay__ {}; }; __fixups__ { uart0 = "/fragment@0:target"; }; };`},
		{"fixup of a value that is no list", `/ { __fixups__ { uart0 = <0xffffffff>; }; };`},
		{"local fixup beyond the value", `/ { a { x = <1>; }; __local_fixups__ { a { x = <1>; }; }; };`},
		{"local fixup of three bytes", `/ { a { x = <1>; }; __local_fixups__ { a { x = [00 00 00]; }; }; };`},
		{"local fixup of no node", `/ { __local_fixups__ { a { x = <0>; }; }; };`},
		{"phandle too great", `/ { a { phandle = <0xfffffffe>; }; };`},
		{"symbol in no fragment", `/ { __symbols__ { x = "/nobody/__overlay__/a"; }; };`},
	} {
		tree := parse(t, base)
		err := tree.Apply(parse(t, compile(t, "/dts-v1/;"+c.overlay)))
		if !errors.Is(err, fdt.ErrOverlay) {
			t.Errorf("%s: Apply = %v, want %v", c.name, err, fdt.ErrOverlay)
		}
		if !bytes.Equal(marshal(t, tree), base) {
			t.Errorf("%s: Apply failed and changed the base", c.name)
		}
	}
}

// A node that has a phandle keeps it; all that the base and the overlay say
// about it must still lead to it.
func TestApplyKeepsPhandle(t *testing.T) {
	tree := parse(t, compile(t, board))
	over := parse(t, compile(t, `/dts-v1/; /plugin/; &{/} { mine: clock { more; }; user { clocks = <&mine>; }; };`))
	clk, _ := tree.Lookup("/clock")
	want := clk.Phandle()
	if err := tree.Apply(over); err != nil {
		t.Fatal(err)
	}
	clk, _ = tree.Lookup("/clock")
	user, _ := tree.Lookup("/user")
	if got, err := user.U32("clocks"); err != nil || got != want || clk.Phandle() != want {
		t.Errorf("phandle of the node = %d, reference = %d, %v, want both %d", clk.Phandle(), got, err, want)
	}
}

func FuzzFDT(f *testing.F) {
	f.Add(small(f), small(f))
	f.Add(compile(f, board), compile(f, overlay))
	f.Add(compile(f, "/dts-v1/; / { a { x = <1>; }; };"), compile(f, `/dts-v1/; / { fragment@0 { target-path = "/a"; __overlay__ { x; }; }; };`))
	f.Fuzz(func(t *testing.T, b, o []byte) {
		tree, err := fdt.Parse(b)
		if err != nil {
			return
		}
		out, err := tree.Marshal()
		if err != nil {
			t.Fatalf("Marshal of what Parse took = %v", err)
		}
		again, err := fdt.Parse(out)
		if err != nil {
			t.Fatalf("Parse of what Marshal wrote = %v", err)
		}
		if !reflect.DeepEqual(tree, again) {
			t.Fatalf("Parse(Marshal(Parse(b))) differs from Parse(b)")
		}
		tree.Memory()
		tree.ReservedMemory()
		over, err := fdt.Parse(o)
		if err != nil {
			return
		}
		if err := tree.Apply(over); err != nil {
			if again, _ := tree.Marshal(); !bytes.Equal(again, out) {
				t.Fatal("Apply failed and changed the base")
			}
			return
		}
		if out, err := tree.Marshal(); err == nil {
			if _, err := fdt.Parse(out); err != nil {
				t.Fatalf("Parse of the merged tree = %v", err)
			}
		} else if !errors.Is(err, fdt.ErrLimit) {
			t.Fatalf("Marshal of the merged tree = %v", err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	tree := fdt.New()
	for i := range 2000 {
		n := tree.Ensure(fmt.Sprintf("/soc/bus@%x/dev@%x", i/50, i))
		n.SetText("compatible", "peel,device")
		n.SetU32("reg", uint32(i))
	}
	in := marshal(b, tree)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fdt.Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}
