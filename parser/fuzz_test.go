// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"testing"

	"github.com/peelboot/peel/parser/stock"
)

// FuzzDecompose puts images through the stock programs and compares the first
// layer with the independent readers.
func FuzzDecompose(f *testing.F) {
	for _, img := range corpus(f) {
		f.Add(img)
	}
	f.Add(writeELF([]elfSection{{name: ".kernel", data: makeImage(64)}, {name: ".cmdline", data: []byte("quiet")}}))
	f.Fuzz(func(t *testing.T, img []byte) {
		before := bytes.Clone(img)
		p, err := Decompose(context.Background(), img, Options{Limits: Limits{Kernel: 1 << 20, Output: 4 << 20}})
		if (p == nil) == (err == nil) {
			t.Fatalf("payload %v, error %v", p, err)
		}
		if err == nil && len(p.Kernel.Data) == 0 {
			t.Error("empty kernel")
		}
		if !bytes.Equal(img, before) {
			t.Error("the image was changed")
		}
		agree(t, img, "")
	})
}

// FuzzCommand decodes command buffers of each generation.
func FuzzCommand(f *testing.F) {
	f.Add([]byte{2, 0, 1, 0, 4, 0, 0, 0, 'd', 'a', 't', 'a'}, []byte("image"))
	f.Add([]byte{3, 0, 1, 1, 4, 0, 0, 0, 0, 0, 'd', 'a', 't', 'a'}, []byte("image"))
	ref := append([]byte{3, 0x80, 1, 0, 24, 0, 0, 0, 0, 0}, make([]byte, 24)...)
	f.Add(ref, []byte("image"))
	f.Fuzz(func(t *testing.T, b, img []byte) {
		for _, g := range []Generation{GenV6, GenV7, GenLater, GenPeel} {
			msg, err := decodeCommand(g, b)
			if err == nil && len(msg.payload)+g.HeaderSize() > len(b) {
				t.Fatalf("%s: payload of %d bytes in a buffer of %d", g, len(msg.payload), len(b))
			}
			if err != nil {
				continue
			}
			d := &decomposition{state: &state{}, limits: Limits{}.withDefaults(100)}
			d.limits.Kernel = 1 << 16
			d.copies, d.output = 1<<20, 1<<20
			l := &layer{origin: "x", image: img}
			l.add(part{name: l.origin, data: img})
			r := &run{ctx: context.Background(), d: d, layer: l, gen: g, state: &state{}, buffers: l.buffers, copied: map[*byte]uint64{}}
			var c Command
			err = r.carryOut(msg, &c)
			if n, _ := r.result(msg, err); (n == 0) != (err == nil) || n > 0 {
				t.Fatalf("%s: answer %d to %v", g, n, err)
			}
		}
	})
}

// FuzzContainer reads containers of programs; what is read can be written and
// read again.
func FuzzContainer(f *testing.F) {
	inner, err := BuildContainer([][]byte{[]byte("one")}, nil)
	if err != nil {
		f.Fatal(err)
	}
	outer, err := BuildContainer([][]byte{[]byte("one"), []byte("two")}, inner)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := AppendTrailer(outer, []byte("signature"))
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{inner, outer, signed} {
		f.Add(b)
	}
	f.Add(stock.Objects()[2])
	f.Fuzz(func(t *testing.T, b []byte) {
		Inspect(b) // must not panic
		c, err := ParseContainer(b)
		if err != nil {
			return
		}
		var nested []byte
		if c.Nested != nil {
			if nested, err = BuildContainer(c.Nested.Programs, nil); err != nil {
				t.Fatal(err)
			}
		}
		again, err := BuildContainer(c.Programs, nested)
		if err != nil {
			t.Fatal(err)
		}
		c2, err := ParseContainer(again)
		if err != nil || len(c2.Programs) != len(c.Programs) {
			t.Fatalf("written again: %v", err)
		}
		for i := range c.Programs {
			if !bytes.Equal(c.Programs[i], c2.Programs[i]) {
				t.Errorf("program %d differs", i+1)
			}
		}
	})
}
