// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"slices"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/machine/machinetest"
)

func TestTreeFixup(t *testing.T) {
	m := machinetest.Machine(t, "arm64-dtb")
	own, err := fdt.Parse(m.FDT.Value)
	if err != nil {
		t.Fatal(err)
	}
	own.Root.Set("serial-number", []byte("4711\x00"))
	own.Reserve = append(own.Reserve, fdt.Reservation{Address: 0x48000000, Size: 0x1000})
	if m.FDT.Value, err = own.Marshal(); err != nil {
		t.Fatal(err)
	}
	wantMemory, err := own.Memory()
	if err != nil || len(wantMemory) == 0 {
		t.Fatalf("the machine has memory %v, %v", wantMemory, err)
	}
	fix := treeFixup(&Options{Machine: m}, image.ArchARM64)
	tree := fdt.New()
	tree.Root.SetU32("#address-cells", 2)
	tree.Root.SetU32("#size-cells", 2)
	tree.Root.Set("compatible", []byte("acme,one\x00"))
	tree.Reserve = []fdt.Reservation{{Address: 0x50000000, Size: 0x2000}}
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ apply, reserve bool }{{true, true}, {true, false}, {false, true}} {
		out, err := fix(b, tt.apply, tt.reserve)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fdt.Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		mem, err := got.Memory()
		if err != nil || tt.apply != slices.Equal(mem, wantMemory) || !tt.apply && len(mem) != 0 {
			t.Errorf("%+v: memory %v, %v, the machine has %v", tt, mem, err, wantMemory)
		}
		if s, _ := got.Root.Text("serial-number"); (s == "4711") != tt.apply {
			t.Errorf("%+v: serial number %q", tt, s)
		}
		if s, _ := got.Root.Text("compatible"); s != "acme,one" {
			t.Errorf("%+v: compatible %q", tt, s)
		}
		want := 1
		if tt.reserve {
			want += len(own.Reserve)
		}
		if len(got.Reserve) != want {
			t.Errorf("%+v: reservations %v, want %d", tt, got.Reserve, want)
		}
		// Once more changes nothing.
		again, err := fix(out, tt.apply, tt.reserve)
		if err != nil || string(again) != string(out) {
			t.Errorf("%+v: a second time gives another tree, %v", tt, err)
		}
	}
	if _, err := fix([]byte("no tree"), true, true); err == nil {
		t.Error("what is no tree is fixed up")
	}
	if treeFixup(&Options{Machine: machinetest.Machine(t, "arm64-acpi")}, image.ArchARM64) != nil {
		t.Error("a machine with ACPI has a device tree to fix others up by")
	}
	if treeFixup(&Options{Machine: machinetest.Machine(t, "x86-bios")}, image.ArchX86_64) != nil {
		t.Error("x86 has device trees to fix up")
	}
}
