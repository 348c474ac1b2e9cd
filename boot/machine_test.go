// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

// Real kernels of Debian on recorded machines.
func TestRecordedMachines(t *testing.T) {
	kernels := map[image.Arch][][2]string{
		image.ArchX86_64:  {{"amd64", "6.1"}, {"amd64", "6.12"}, {"amd64", "new"}},
		image.ArchARM64:   {{"arm64", "6.12"}},
		image.ArchRISCV64: {{"riscv64", "6.12"}},
	}
	for _, name := range machinetest.Names(t) {
		m := machinetest.Machine(t, name)
		h := HostOf(m)
		if !m.Memory.Usable.Known() {
			if _, err := Build(payload(modern().bytes(), ""), h, Options{}); err == nil {
				t.Errorf("%s: Build without knowing the memory = nil, want an error", name)
			}
			continue
		}
		for _, k := range kernels[h.Arch] {
			b, err := os.ReadFile(testkit.Kernel(t, k[0], k[1]))
			if err != nil {
				t.Fatal(err)
			}
			p, err := Build(payload(b, "console=ttyS0", make([]byte, 20*mib)), h, Options{})
			if err != nil {
				t.Errorf("%s: Build(%s) = %v", name, k, err)
				continue
			}
			info := p.HandOver.BootParams
			if efi := m.EFI.Present.Or(false); info != nil && (info.EFI != nil) != efi {
				t.Errorf("%s: efi_info %+v on a machine with EFI %v", name, info.EFI, efi)
			}
			if info != nil && info.EFI != nil && (info.FirmwareEFI == nil || info.FirmwareEFI.ConfigTable == 0 || info.RSDP == 0 || len(info.EFIMap) == 0) {
				t.Errorf("%s: SETUP_EFI %+v, RSDP %#x, %d descriptors", name, info.FirmwareEFI, info.RSDP, len(info.EFIMap))
			}
			if p.Segment("dtb") != nil {
				tree, err := fdt.Parse(p.Segment("dtb").Data)
				if err != nil {
					t.Fatal(err)
				}
				_, uefi := tree.Chosen().Get("linux,uefi-system-table")
				if uefi != m.EFI.Present.Or(false) {
					t.Errorf("%s: UEFI entries in /chosen: %v", name, uefi)
				}
			}
			for i := range p.Segments {
				s := p.Segments[i].Range()
				for _, r := range m.Memory.ReservedRanges.Value {
					if s.Overlaps(Range{r.Start, r.End()}) {
						t.Errorf("%s: segment %s %v lies over reserved memory %v", name, p.Segments[i].Name, s, r)
					}
				}
			}
		}
	}
}

// What /proc/kcore tells is told apart: most memory has one distance from its
// virtual address, the kernel's own another.
func TestMappings(t *testing.T) {
	at := func(virt, phys, size uint64) machine.Mapping {
		return machine.Mapping{Range: machine.Range{Start: phys, Last: phys + size - 1}, Virt: virt}
	}
	for _, c := range []struct {
		name string
		in   []machine.Mapping
		want Host
	}{
		{name: "nothing"},
		{"x86", []machine.Mapping{
			at(0xffffffff81000000, 16*mib, 32*mib), at(0xffff888000001000, 0x1000, 0x9e000), at(0xffff888000100000, mib, gib),
		}, Host{PageOffset: 0xffff888000000000, KernelText: Range{16 * mib, 48 * mib}, KernelTextVirt: 0xffffffff81000000}},
		{"arm64, whose linear mapping begins at the first RAM", []machine.Mapping{
			at(0xffff000000000000, gib, gib), at(0xffff800080000000, gib+2*mib, 32*mib),
		}, Host{PageOffset: 0xfffeffffc0000000, KernelText: Range{gib + 2*mib, gib + 34*mib}, KernelTextVirt: 0xffff800080000000}},
		{"no mapping of its own", []machine.Mapping{at(0xffff888000100000, mib, gib)}, Host{PageOffset: 0xffff888000000000}},
	} {
		var h Host
		h.setMappings(c.in)
		if diff := cmp.Diff(c.want, h); diff != "" {
			t.Errorf("%s: setMappings, -want +got:\n%s", c.name, diff)
		}
	}
}

func TestBefore(t *testing.T) {
	for release, want := range map[string]bool{
		"5.4.0-100-generic": true, "4.19.0": true, "5.6.0": false, "6.12.48+deb13-cloud-amd64": false, "": false, "x": false, "5": false,
	} {
		if got := before(release, 5, 6); got != want {
			t.Errorf("before(%q, 5, 6) = %v, want %v", release, got, want)
		}
	}
}
