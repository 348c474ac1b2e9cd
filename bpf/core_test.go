// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// targetTypes are the host's types of testdata/target.bpf.c.
func targetTypes(t testing.TB, object []byte) []*Type {
	t.Helper()
	o, err := LoadELF(object)
	if err != nil {
		t.Fatal(err)
	}
	return []*Type{
		o.BTF.Find(KindStruct, "inner"), o.BTF.Find(KindStruct, "here"), o.BTF.Find(KindEnum, "color"),
	}
}

func TestCORE(t *testing.T) {
	object := compile(t, "core")
	o, err := LoadELF(object)
	if err != nil {
		t.Fatal(err)
	}
	types := targetTypes(t, compile(t, "target"))
	m, err := o.Link(&Host{Types: types}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	here, inner := types[1], types[0]
	offset := func(y *Type, name string) uint64 {
		off, _, ok := y.Field(name)
		if !ok {
			t.Fatalf("no field %s", name)
		}
		return uint64(off)
	}
	rows, in, list := offset(here, "rows"), offset(here, "in"), offset(inner, "list")
	localID := uint64(0)
	for id := range o.BTF.types {
		if y := &o.BTF.types[id]; y.Kind == KindStruct && y.Name == "here" {
			localID = uint64(id)
		}
	}
	// Where the bit fields are: both lie within 32 bits.
	bit := map[string]uint64{}
	for _, m := range here.Members {
		bit[m.Name] = uint64(m.Offset)
	}
	a, b := bit["bits_a"]%32, bit["bits_b"]%32
	for _, c := range []struct {
		program string
		want    []uint64
	}{
		{"offsets", []uint64{
			offset(here, "first"), offset(here, "plain"), offset(here, "grown"), in + list + 4, offset(here, "anon_x"),
			offset(here, "anon_z"), rows + 2*uint64(inner.Size) + list + 2, uint64(here.Size) + offset(here, "plain"),
			offset(here, "tail") + 5, bit["bits_b"] / 32 * 4, offset(here, "plain"), 4,
		}},
		{"sizes", []uint64{1, 4, 2, uint64(inner.Size), 5 * uint64(inner.Size), 4, 8, 2}},
		{"exists", []uint64{1, 0, 1, 0, 0}},
		{"bitfields", []uint64{
			1, 0, 0, 1,
			64 - (a + 5), 64 - 5, 64 - (b + 12), 64 - 12, 32, 32,
			64 - 2, 64 - 2,
		}},
		{"types", []uint64{localID, 2, 1, 0, uint64(here.Size), 0, 0, 0, 0}},
		{"enums", []uint64{1, 0, 3000000000, 78, 6}},
		{"guarded", []uint64{1234}},
	} {
		t.Run(c.program, func(t *testing.T) {
			if _, err := m.Run(context.Background(), c.program, 0); err != nil {
				t.Fatal(err)
			}
			out, err := m.Value(".bss")
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				// The program stores what the instruction holds; constants
				// of 32 bits are sign extended by it.
				got := binary.LittleEndian.Uint64(out[8*i:])
				if uint32(got) != uint32(want) {
					t.Errorf("out[%d] = %d, want %d", i, got, want)
				}
			}
		})
	}

	t.Run("loads", func(t *testing.T) {
		data := make([]byte, here.Size)
		for i := range data {
			data[i] = byte(i)
		}
		addr, err := m.Map("here", data, PermRead)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Run(context.Background(), "loads", addr); err != nil {
			t.Fatal(err)
		}
		out, _ := m.Value(".bss")
		le := binary.LittleEndian
		for i, want := range []uint64{
			uint64(le.Uint32(data[offset(here, "plain"):])),
			uint64(le.Uint32(data[offset(here, "grown"):])),
			uint64(le.Uint16(data[offset(here, "shrunk"):])),
			uint64(le.Uint32(data[in+offset(inner, "a"):])),
			uint64(le.Uint32(data[rows+uint64(inner.Size)+offset(inner, "a"):])),
		} {
			if got := le.Uint64(out[8*i:]); got != want {
				t.Errorf("load %d = %#x, want %#x", i, got, want)
			}
		}
	})

	t.Run("poisoned", func(t *testing.T) {
		_, err := m.Run(context.Background(), "poisoned", 0)
		var f *Fault
		if !errors.Is(err, ErrPoisoned) || !errors.As(err, &f) {
			t.Fatalf("Run(poisoned) = %v, want %v", err, ErrPoisoned)
		}
		if f.Line == 0 || !strings.HasSuffix(f.File, "core.bpf.c") || !strings.Contains(f.Source, "h->gone") {
			t.Errorf("fault at %s:%d %q, want the line that reads h->gone", f.File, f.Line, f.Source)
		}
	})
}

// TestCOREAgainstCilium compares each answer with that of cilium/ebpf, for
// every record against a type that both know.
func TestCOREAgainstCilium(t *testing.T) {
	object, target := compile(t, "core"), compile(t, "target")
	o, err := LoadELF(object)
	if err != nil {
		t.Fatal(err)
	}
	types := targetTypes(t, target)
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	host, err := btf.LoadSpecFromReader(bytes.NewReader(target))
	if err != nil {
		t.Fatal(err)
	}
	names := map[coreKind]string{
		coreFieldOffset: "byte_off", coreFieldSize: "byte_sz", coreFieldExists: "field_exists", coreFieldSigned: "signed",
		coreFieldLshift: "lshift_u64", coreFieldRshift: "rshift_u64", coreTypeExists: "type_exists", coreTypeSize: "type_size",
		coreEnumExists: "enumval_exists", coreEnumValue: "enumval_value", coreTypeMatches: "type_matches",
	}
	compared := 0
	for _, p := range o.Programs {
		var relos []*btf.CORERelocation
		for i := range spec.Programs[p.Name].Instructions {
			if r := btf.CORERelocationMetadata(&spec.Programs[p.Name].Instructions[i]); r != nil {
				relos = append(relos, r)
			}
		}
		if len(relos) != len(p.relos) {
			t.Errorf("%s: %d records, cilium finds %d", p.Name, len(p.relos), len(relos))
			continue
		}
		for i, r := range p.relos {
			y, err := o.BTF.at(r.typeID)
			if err != nil {
				t.Fatal(err)
			}
			name, known := names[r.kind]
			if y.Name == "file_format" || !known {
				continue // answered by design, not as in the kernel; ids
			}
			fixups, err := btf.CORERelocate(relos[i:i+1], []*btf.Spec{host}, binary.LittleEndian, func(btf.Type) (btf.TypeID, error) { return 0, nil })
			if err != nil {
				t.Fatalf("%s record %d: %v", p.Name, i, err)
			}
			a, err := r.resolve(o.BTF, types)
			if err != nil {
				t.Fatalf("%s record %d: %v", p.Name, i, err)
			}
			want := fixups[0].String()
			if r.kind == coreFieldLshift || r.kind == coreFieldRshift {
				// cilium does not compute what the program has now.
				a.local = 0
			}
			if r.kind == coreTypeSize && want == "type_size=poison" {
				// libbpf and the kernel answer 0 for a type that is not there.
				want = "type_size=4->0"
			}
			got := name + "=poison"
			if !a.poison {
				got = name + "=" + dec(a.local) + "->" + dec(a.host)
			}
			if got != want {
				t.Errorf("%s record %d (%s %s): %s, cilium says %s", p.Name, i, y.Name, r.access, got, want)
			}
			compared++
		}
	}
	if compared < 40 {
		t.Errorf("compared %d records, want at least 40", compared)
	}
}
