// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"testing"

	"github.com/peelboot/peel/image"
)

// checkPlan holds for any plan that Build makes, whatever it was made of.
func checkPlan(t *testing.T, p *Plan, h *Host, cmdline string) {
	t.Helper()
	if err := p.Validate(h); err != nil {
		t.Fatalf("Validate of what Build made = %v", err)
	}
	if s := p.read(p.HandOver.KernelEntry, 1); s == nil {
		t.Fatalf("kernel entry %#x is in no segment", p.HandOver.KernelEntry)
	}
	if p.HandOver.Cmdline != cmdline {
		t.Fatalf("command line = %q, want %q", p.HandOver.Cmdline, cmdline)
	}
	_ = p.String()
}

func FuzzBzImagePlan(f *testing.F) {
	k := modern()
	k.code = 0x400
	f.Add(k.bytes(), "console=ttyS0", []byte("initrd"), false)
	k.reloc, k.xload = 0, 1
	f.Add(k.bytes(), "", []byte{}, true)
	f.Add(elf64(62, 16*mib, [4]uint64{16 * mib, 0, 0x100, 0x2000}), "quiet", lz4Legacy, false)
	f.Fuzz(func(t *testing.T, kernel []byte, cmdline string, initrd []byte, efi bool) {
		h := bios()
		if efi {
			h = uefi()
		}
		p, err := Build(payload(kernel, cmdline, initrd, initrd), h, Options{Rand: seeds{}})
		if err == nil {
			checkPlan(t, p, h, cmdline)
		}
	})
}

func FuzzImagePlan(f *testing.F) {
	head := arm64Image()[:64]
	tree := virt(f).FDT
	f.Add(head, "console=ttyAMA0", tree, []byte("overlay"), false)
	f.Add(riscv64Image()[:64], "", tree, []byte{}, true)
	elf := elf64(183, 0, [4]uint64{0xffff800000000000, 0xffff800000000000, 0x100, 0x1000}, [4]uint64{0xffff800000000800, 0xffff800000001800, 0x10, 0x10})
	copy(elf[64+2*56:], head)
	f.Add(elf, "", tree, tree, false)
	elf = elf64(243, 0, [4]uint64{0, 0xffffffff80000000, 0x100, 0x1000}, [4]uint64{0, 0xffffffff80400000, 0x10, 0x10})
	copy(elf[64+2*56:], riscv64Image()[:64])
	f.Add(elf, "", tree, []byte{}, true)
	f.Fuzz(func(t *testing.T, kernel []byte, cmdline string, dtb, overlay []byte, riscv bool) {
		h := virt(t)
		if riscv {
			h.Arch = image.ArchRISCV64
		}
		p := payload(kernel, cmdline)
		p.DTB = &image.Part{Data: dtb}
		if len(overlay) > 0 {
			p.DTBOverlays = []image.Part{{Data: overlay}}
		}
		plan, err := Build(p, h, Options{Rand: seeds{}})
		if err == nil {
			checkPlan(t, plan, h, cmdline)
		}
	})
}
