// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// bios is an x86 machine of 1 GiB as QEMU's BIOS describes it.
func bios() *Host {
	return &Host{
		Arch: image.ArchX86_64,
		Map: []E820Entry{
			{0, 0x9fc00, E820RAM}, {0x9fc00, 0x400, E820Reserved}, {0xf0000, 0x10000, E820Reserved},
			{mib, gib - mib - 0x20000, E820RAM}, {gib - 0x20000, 0x20000, E820ACPI}, {0xfffc0000, 0x40000, E820Reserved},
		},
		Usable:     []Range{{0x1000, 0x9fc00}, {mib, gib - 0x20000}},
		RAM:        []Range{{0x1000, 0x9fc00}, {mib, gib - 0x20000}},
		RSDP:       0xf52c0,
		BootParams: bytes.Repeat([]byte{0xa5}, BootParamsSize),
	}
}

// uefi is bios with UEFI and 2 GiB more above 4 GiB.
func uefi() *Host {
	h := bios()
	h.Map = append(h.Map, E820Entry{4 * gib, 2 * gib, E820RAM})
	h.Usable = append(h.Usable, Range{4 * gib, 6 * gib})
	h.RAM = append(h.RAM, Range{4 * gib, 6 * gib})
	h.EFI = &EFI{
		SystemTable: 0x3f9ee018, FirmwareVendor: 0x3f9edf18, ConfigTable: 0x3f9edb18, SMBIOS: 0x3f9cc000,
		RuntimeMap: []EFIDescriptor{
			{5, 0x3f96d000, 0xfffffffeffe6d000, 0x80, 0x800000000000000f},
			{6, 0x3f9ed000, 0xfffffffeffded000, 0x80, 0x800000000000000f},
		},
	}
	return h
}

// withCrash gives a host a crash region of 256 MiB and one below.
func withCrash(h *Host) *Host {
	hi := h.Usable[len(h.Usable)-1]
	lo := Range{hi.Start + 64*mib, hi.Start + 128*mib}
	main := Range{hi.Start + 256*mib, hi.Start + 512*mib}
	h.Crash = []Range{lo, main}
	h.Usable = subtract(subtract(h.Usable, lo), main)
	h.CrashNotes = []Range{{0x3f000000, 0x3f000164}, {0x3f010000, 0x3f010164}}
	h.VMCoreInfo = Range{0x3e000000, 0x3e001024}
	h.PageOffset = 0xffff888000000000
	h.KernelText, h.KernelTextVirt = Range{16 * mib, 48 * mib}, 0xffffffff81000000
	return h
}

// bz is a bzImage with only what a loader looks at.
type bz struct {
	protocol, xload uint16
	load            byte
	reloc           byte
	align, init     uint32
	pref            uint64
	cmdline, initrd uint32
	code            int
}

func modern() bz {
	return bz{0x020f, 0x7f, 1, 1, 2 * mib, 16 * mib, 16 * mib, 2047, 0x7fffffff, 3 * mib}
}

func (k bz) bytes() []byte {
	b := make([]byte, 0x400+k.code)
	b[0x1f1] = 1
	le.PutUint32(b[0x1f4:], uint32(k.code/16))
	le.PutUint16(b[0x1fe:], 0xaa55)
	b[0x200], b[0x201] = 0xeb, 0x6a // header ends at 0x26c
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], k.protocol)
	b[0x211] = k.load
	le.PutUint32(b[0x22c:], k.initrd)
	le.PutUint32(b[0x230:], k.align)
	b[0x234] = k.reloc
	le.PutUint16(b[0x236:], k.xload)
	le.PutUint32(b[0x238:], k.cmdline)
	le.PutUint64(b[0x258:], k.pref)
	le.PutUint32(b[0x260:], k.init)
	for i := 0x400; i < len(b); i++ {
		b[i] = byte(i * 7)
	}
	return b
}

// arm64Image is an Image of 3 MiB that takes 4 MiB.
func arm64Image(edit ...func(b []byte)) []byte {
	b := make([]byte, 3*mib)
	copy(b, "MZ")
	le.PutUint64(b[16:], 4*mib)
	le.PutUint64(b[24:], 0xa) // little endian, 4 KiB pages, anywhere
	copy(b[56:], "ARM\x64")
	for _, e := range edit {
		e(b)
	}
	return b
}

func riscv64Image(edit ...func(b []byte)) []byte {
	b := make([]byte, 3*mib)
	copy(b, "MZ")
	le.PutUint64(b[8:], 2*mib)
	le.PutUint64(b[16:], 4*mib)
	le.PutUint32(b[32:], 2)
	copy(b[48:], "RISCV")
	copy(b[56:], "RSC\x05")
	for _, e := range edit {
		e(b)
	}
	return b
}

// virt is an arm64 machine with a device tree, in which an earlier boot left
// its marks.
func virt(t testing.TB, edit ...func(tree *fdt.Tree)) *Host {
	t.Helper()
	tree := fdt.New()
	tree.Reserve = []fdt.Reservation{{Address: 0x48000000, Size: 0x123456}, {Address: 0x7f000000, Size: 0x1000}}
	tree.Root.SetU32("#address-cells", 2)
	tree.Root.SetU32("#size-cells", 2)
	tree.Root.SetText("model", "virt")
	if err := tree.SetMemory([]fdt.Region{{Address: gib, Size: gib}}); err != nil {
		t.Fatal(err)
	}
	tree.Ensure("/pl011@9000000").SetText("compatible", "arm,pl011")
	c := tree.Chosen()
	c.SetText("stdout-path", "/pl011@9000000")
	c.SetText("bootargs", "stale")
	c.SetU32("linux,initrd-start", 0x48000000)
	c.SetU32("linux,initrd-end", 0x48123456)
	for _, name := range []string{"kaslr-seed", "rng-seed", "linux,elfcorehdr", "linux,usable-memory-range", "linux,ima-kexec-buffer", "linux,kho-fdt"} {
		c.SetU64(name, 0)
	}
	for _, e := range edit {
		e(tree)
	}
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &Host{
		Arch:   image.ArchARM64,
		FDT:    b,
		Usable: []Range{{gib + 0x210000, 2*gib - 0x100000}},
		RAM:    []Range{{gib, 2 * gib}},
	}
}

// seeds is a source of seeds that can be told from zeros.
type seeds struct{}

func (seeds) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 0x5e
	}
	return len(b), nil
}

func payload(kernel []byte, cmdline string, initrds ...[]byte) *image.Payload {
	p := &image.Payload{Kernel: image.Part{Data: kernel}, Cmdline: cmdline}
	for _, b := range initrds {
		p.Initrds = append(p.Initrds, image.Part{Data: b})
	}
	return p
}

func mustBuild(t *testing.T, p *image.Payload, h *Host, o Options) *Plan {
	t.Helper()
	o.Rand = seeds{}
	plan, err := Build(p, h, o)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return plan
}

// memory is the plan as it lies in memory, for readers that know nothing of
// segments.
type memory struct{ plan *Plan }

func (m memory) at(t *testing.T, addr, size uint64) []byte {
	t.Helper()
	out := make([]byte, size)
	for i := range m.plan.Segments {
		s := &m.plan.Segments[i]
		full := append(bytes.Clone(s.Data), make([]byte, s.MemSize-uint64(len(s.Data)))...)
		for j := range out {
			if a := addr + uint64(j); a >= s.Phys && a-s.Phys < s.MemSize {
				out[j] = full[a-s.Phys]
			}
		}
	}
	return out
}

func (m memory) text(t *testing.T, addr uint64) string {
	t.Helper()
	s, _, _ := bytes.Cut(m.at(t, addr, 4096), []byte{0})
	return string(s)
}
