// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"errors"
	"testing"

	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

// TestLayout: of every recorded machine the guest may use what plans may use,
// and nothing else.
func TestLayout(t *testing.T) {
	for _, name := range machinetest.Names(t) {
		m := machinetest.Machine(t, name)
		arch := m.CPU.Arch.Or(image.ArchUnknown)
		regions, err := layout(m, arch, m.CPU.PageSize.Or(4096))
		if !m.Memory.Usable.Known() {
			if !errors.Is(err, ErrMachine) {
				t.Errorf("layout(%s) = %v, want %v", name, err, ErrMachine)
			}
			continue
		}
		if err != nil {
			t.Errorf("layout(%s) = %v", name, err)
			continue
		}
		var last, total uint64
		for _, r := range regions {
			if r.Start < last || r.Size == 0 || r.Start%4096 != 0 || r.Size%4096 != 0 {
				t.Errorf("%s: region %+v after %#x", name, r, last)
			}
			last = r.End()
			if r.Type != firmware.Conventional {
				continue
			}
			total += r.Size
			inside := false
			for _, u := range m.Memory.Usable.Value {
				inside = inside || u.Contains(machine.Range{Start: r.Start, Last: r.End() - 1})
			}
			if !inside {
				t.Errorf("%s: %#x+%#x may be allocated but is not usable", name, r.Start, r.Size)
			}
		}
		if total < 64<<20 {
			t.Errorf("%s: %#x bytes may be allocated", name, total)
		}
	}
}

func TestVariablesOf(t *testing.T) {
	found := map[string]bool{}
	for _, v := range VariablesOf(machinetest.Machine(t, "x86-secureboot")) {
		found[v.Name] = true
		if v.Name == "SecureBoot" && (len(v.Data) != 1 || v.Data[0] != 1) {
			t.Errorf("SecureBoot = %v", v.Data)
		}
	}
	if !found["SecureBoot"] || !found["db"] {
		t.Errorf("VariablesOf() = %v", found)
	}
	if v := VariablesOf(machinetest.Machine(t, "x86-bios")); len(v) != 0 {
		t.Errorf("VariablesOf(BIOS) = %v", v)
	}
}

func TestGuestTree(t *testing.T) {
	m := machinetest.Machine(t, "arm64-dtb")
	b, err := guestTree(&Options{Machine: m}, image.ArchARM64)
	if err != nil || len(b) == 0 {
		t.Fatalf("guestTree() = %d bytes, %v", len(b), err)
	}
	if b, err := guestTree(&Options{Machine: m, DTB: []byte("no tree")}, image.ArchARM64); err == nil {
		t.Errorf("guestTree(no tree) = %d bytes", len(b))
	}
	if b, err := guestTree(&Options{Machine: machinetest.Machine(t, "arm64-acpi")}, image.ArchARM64); b != nil || err != nil {
		t.Errorf("guestTree(machine with ACPI) = %d bytes, %v", len(b), err)
	}
	if b, err := guestTree(&Options{Machine: m}, image.ArchX86_64); b != nil || err != nil {
		t.Errorf("guestTree(x86) = %d bytes, %v", len(b), err)
	}
}
