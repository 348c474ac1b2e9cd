// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

// handedTree returns what an arm64 or riscv64 kernel finds at x0 or a1.
func handedTree(t *testing.T, p *Plan) *fdt.Tree {
	t.Helper()
	addr := p.HandOver.DeviceTree.Address
	m := memory{p}
	if p.Arch == image.ArchARM64 {
		if got := le.Uint64(m.at(t, p.Entry+0x18, 8)); got != addr {
			t.Errorf("x0 = %#x, want %#x", got, addr)
		}
		if got := le.Uint64(m.at(t, p.Entry+0x20, 8)); got != p.HandOver.KernelEntry {
			t.Errorf("entry = %#x, want %#x", got, p.HandOver.KernelEntry)
		}
	}
	tree, err := fdt.Parse(p.Segment("dtb").Data)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func chosenNames(t *testing.T, tree *fdt.Tree) []string {
	t.Helper()
	var out []string
	for _, p := range tree.Chosen().Props {
		out = append(out, p.Name)
	}
	return out
}

func TestImageARM64(t *testing.T) {
	p := mustBuild(t, payload(arm64Image(), "console=ttyAMA0", []byte("first"), []byte("second")), virt(t), Options{})
	tree := handedTree(t, p)
	k := p.Segment("kernel")
	if k.Phys != gib+4*mib || k.MemSize != 4*mib || p.HandOver.KernelEntry != k.Phys {
		t.Errorf("kernel at %#x+%#x, entry %#x, want at %#x+%#x, its start", k.Phys, k.MemSize, p.HandOver.KernelEntry, gib+4*mib, 4*mib)
	}
	want := []string{"stdout-path", "bootargs", "linux,initrd-start", "linux,initrd-end", "kaslr-seed", "rng-seed", "linux,booted-from-kexec"}
	if d := cmp.Diff(want, chosenNames(t, tree)); d != "" {
		t.Errorf("/chosen, -want +got:\n%s", d)
	}
	c := tree.Chosen()
	if s, err := c.Text("bootargs"); err != nil || s != "console=ttyAMA0" {
		t.Errorf("bootargs = %q, %v", s, err)
	}
	start, _ := c.U64("linux,initrd-start")
	end, _ := c.U64("linux,initrd-end")
	if got := string(memory{p}.at(t, start, end-start)); got != "first"+strings.Repeat("\x00", 4091)+"second" {
		t.Errorf("initrd = %d bytes, want both archives", len(got))
	}
	for _, s := range []string{"kaslr-seed", "rng-seed"} {
		if v, _ := c.Get(s); len(v) == 0 || v[0] != 0x5e {
			t.Errorf("%s = % x, want a fresh one", s, v)
		}
	}
	if d := cmp.Diff([]fdt.Reservation{{Address: 0x7f000000, Size: 0x1000}}, tree.Reserve); d != "" {
		t.Errorf("reservations without the old initrd, -want +got:\n%s", d)
	}
	if mem, err := tree.Memory(); err != nil || len(mem) != 1 || mem[0] != (fdt.Region{Address: gib, Size: gib}) {
		t.Errorf("memory = %#x, %v", mem, err)
	}
	if s := p.String(); strings.Contains(s, "5e5e") || !strings.Contains(s, "rng-seed = (128 bytes)") {
		t.Errorf("String() shows a seed:\n%s", s)
	}
}

func TestImageARM64Placement(t *testing.T) {
	offset := arm64Image(func(b []byte) { le.PutUint64(b[8:], 0x80000) })
	big := virt(t)
	big.Usable = []Range{{33*gib - 8*mib, 33 * gib}, {40 * gib, 50 * gib}, {100 * gib, 110 * gib}}
	far := virt(t)
	far.Usable = []Range{{33*gib - 8*mib, 33 * gib}, {100 * gib, 110 * gib}}
	pages := virt(t)
	pages.PageSize = 64 * kib
	for _, c := range []struct {
		name           string
		kernel         []byte
		h              *Host
		kernelAt, more uint64
		initrdBelow    uint64
		err            error
	}{
		{"text_offset", offset, virt(t), gib + 4*mib + 0x80000, 0, 0, nil},
		{"initrd in the window of 32 GiB", arm64Image(), big, 33*gib - 8*mib, 0, 64 * gib, nil},
		{"no room in the window", arm64Image(), far, 0, 0, 0, ErrNoRoom},
		{"pages of 64 KiB", arm64Image(), pages, gib + 4*mib, 0, 0, nil},
	} {
		p, err := Build(payload(c.kernel, "", make([]byte, 5*mib)), c.h, Options{})
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: Build = %v, want %v", c.name, err, c.err)
			continue
		}
		if err != nil {
			continue
		}
		if got := p.Segment("kernel").Phys; got != c.kernelAt {
			t.Errorf("%s: kernel at %#x, want %#x", c.name, got, c.kernelAt)
		}
		if end := p.HandOver.Initrd.End; c.initrdBelow != 0 && end > c.initrdBelow {
			t.Errorf("%s: initrd ends at %#x, want below %#x", c.name, end, c.initrdBelow)
		}
		dtb := p.Segment("dtb")
		if dtb.Phys/twoMiB != (dtb.Range().End-1)/twoMiB {
			t.Errorf("%s: device tree %v crosses 2 MiB", c.name, dtb.Range())
		}
		for i := range p.Segments {
			if s := &p.Segments[i]; s.MemSize%c.h.pageSize() != 0 {
				t.Errorf("%s: segment %s takes %#x bytes", c.name, s.Name, s.MemSize)
			}
		}
	}
}

func TestImageARM64Refuses(t *testing.T) {
	noTree := virt(t)
	noTree.FDT = nil
	badTree := virt(t)
	badTree.FDT = badTree.FDT[:100]
	bigTree := fdt.New()
	bigTree.Root.Set("big", make([]byte, maxDTBSize))
	big, err := bigTree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		kernel  []byte
		cmdline string
		h       *Host
		o       Options
		err     error
	}{
		{"image_size 0", arm64Image(func(b []byte) { le.PutUint64(b[16:], 0) }), "", virt(t), Options{}, ErrKernel},
		{"big endian", arm64Image(func(b []byte) { b[24] |= 1 }), "", virt(t), Options{}, ErrKernel},
		{"text_offset", arm64Image(func(b []byte) { le.PutUint64(b[8:], twoMiB) }), "", virt(t), Options{}, ErrKernel},
		{"text_offset inside a page", arm64Image(func(b []byte) { le.PutUint64(b[8:], 8) }), "", virt(t), Options{}, ErrKernel},
		{"image_size 1 TiB", arm64Image(func(b []byte) { le.PutUint64(b[16:], 1<<40) }), "", virt(t), Options{}, ErrNoRoom},
		{"riscv64 Image", riscv64Image(), "", virt(t), Options{}, ErrKernel},
		{"command line", arm64Image(), strings.Repeat("x", 2048), virt(t), Options{}, ErrLimit},
		{"no device tree", arm64Image(), "", noTree, Options{}, ErrHost},
		{"broken device tree", arm64Image(), "", badTree, Options{}, ErrDeviceTree},
		{"given device tree is none", arm64Image(), "", virt(t), Options{DTB: []byte("x")}, ErrDeviceTree},
		{"given device tree is too big", arm64Image(), "", virt(t), Options{DTB: big}, ErrLimit},
		{"bzImage", modern().bytes(), "", virt(t), Options{}, ErrKernel},
	} {
		if _, err := Build(payload(c.kernel, c.cmdline), c.h, c.o); !errors.Is(err, c.err) {
			t.Errorf("%s: Build = %v, want %v", c.name, err, c.err)
		}
	}
}

// A machine with ACPI has a tree with nothing but /chosen; a node more, and
// the kernel would take it for a description of the machine.
func TestACPITree(t *testing.T) {
	acpi := virt(t, func(tree *fdt.Tree) {
		tree.Root.Children = nil
		c := tree.Chosen()
		c.SetText("bootargs", "stale")
		c.SetU64("linux,uefi-system-table", 0x5f9ee018)
		c.SetU64("linux,uefi-mmap-start", 0x5e000000)
		c.SetU32("linux,uefi-mmap-size", 0x900)
		c.SetU32("linux,uefi-mmap-desc-size", 48)
		c.SetU32("linux,uefi-mmap-desc-ver", 1)
	})
	p := mustBuild(t, payload(arm64Image(), "new"), acpi, Options{})
	tree := handedTree(t, p)
	if len(tree.Root.Children) != 1 {
		t.Errorf("root has %d children, want /chosen alone", len(tree.Root.Children))
	}
	want := []string{
		"linux,uefi-system-table", "linux,uefi-mmap-start", "linux,uefi-mmap-size", "linux,uefi-mmap-desc-size",
		"linux,uefi-mmap-desc-ver", "bootargs", "kaslr-seed", "rng-seed", "linux,booted-from-kexec",
	}
	if d := cmp.Diff(want, chosenNames(t, tree)); d != "" {
		t.Errorf("/chosen, -want +got:\n%s", d)
	}

	// A tree from elsewhere takes over UEFI's entries and loses its memory.
	given := fdt.New()
	given.Root.SetU32("#address-cells", 2)
	given.Root.SetU32("#size-cells", 2)
	given.Root.SetText("model", "given")
	if err := given.SetMemory([]fdt.Region{{Address: 0, Size: 0x1000}}); err != nil {
		t.Fatal(err)
	}
	b, err := given.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	part := image.Part{Name: ".dtb", Data: b}
	withDTB := payload(arm64Image(), "new")
	withDTB.DTB = &part
	tree = handedTree(t, mustBuild(t, withDTB, acpi, Options{}))
	if v, err := tree.Chosen().U64("linux,uefi-system-table"); err != nil || v != 0x5f9ee018 {
		t.Errorf("linux,uefi-system-table = %#x, %v", v, err)
	}
	if mem, err := tree.Memory(); err != nil || len(mem) != 0 {
		t.Errorf("memory nodes %v, %v, want none beside UEFI", mem, err)
	}

	// Without UEFI it gets the memory of the machine.
	tree = handedTree(t, mustBuild(t, withDTB, virt(t), Options{}))
	if mem, err := tree.Memory(); err != nil || len(mem) != 1 || mem[0].Address != gib {
		t.Errorf("memory = %#x, %v, want that of the machine", mem, err)
	}
	if _, ok := tree.Chosen().Get("stdout-path"); ok {
		t.Error("stdout-path leads to no node of the given tree")
	}
}

func TestOverlays(t *testing.T) {
	over := fdt.New()
	over.Ensure("/fragment@0").SetText("target-path", "/")
	over.Ensure("/fragment@0/__overlay__/added").SetText("status", "okay")
	b, err := over.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := payload(arm64Image(), "")
	p.DTBOverlays = []image.Part{{Name: "a.dtbo", Data: b}}
	if _, ok := handedTree(t, mustBuild(t, p, virt(t), Options{})).Lookup("/added"); !ok {
		t.Error("overlay was not applied")
	}
	p.DTBOverlays[0].Data = b[:50]
	if _, err := Build(p, virt(t), Options{}); !errors.Is(err, ErrDeviceTree) {
		t.Errorf("Build with a broken overlay = %v, want %v", err, ErrDeviceTree)
	}
}

func TestVmlinuxARM64(t *testing.T) {
	const base = 0xffff800080000000
	head := arm64Image()[:64]
	kernel := elf64(183, base, [4]uint64{base, base, 0x3000, 0x3000}, [4]uint64{base + 0x20000, base + 0x20000, 0x1800, 0x2000},
		[4]uint64{base + 0x22800, base + 0x22800, 0x100, 0x1000})
	copy(kernel[64+3*56:], head)
	p := mustBuild(t, payload(kernel, ""), virt(t), Options{})
	at := p.HandOver.KernelEntry
	m := memory{p}
	if at%twoMiB != 0 || !bytes.Equal(m.at(t, at, 64), head) {
		t.Errorf("no header at the entry %#x", at)
	}
	if got := m.at(t, at+0x20000, 0x2900); got[0] != 2 || got[0x17ff] != 2 || got[0x1800] != 0 || got[0x2800] != 3 || got[0x28ff] != 3 {
		t.Error("segments are not where the headers say")
	}
	last := p.Segment("kernel.1")
	if last == nil || last.Range().End != at+4*mib {
		t.Errorf("last segment = %+v, want up to the end of the image", last)
	}
	for name, bad := range map[string][]byte{
		"no header":     elf64(183, base, [4]uint64{base, base, 0x100, 0x100}),
		"going down":    elf64(183, base, [4]uint64{base, base, 0x100, 0x100}, [4]uint64{base - 0x1000, base - 0x1000, 1, 1}),
		"overlap":       elf64(183, base, [4]uint64{base, base, 0x100, 0x2000}, [4]uint64{base + 0x1000, base + 0x1000, 1, 1}),
		"short header":  elf64(183, base, [4]uint64{base, base, 63, 0x100}),
		"nothing there": elf64(183, base),
	} {
		if name != "no header" && name != "short header" && name != "nothing there" {
			copy(bad[64+2*56:], head)
		}
		if _, err := Build(payload(bad, ""), virt(t), Options{}); !errors.Is(err, ErrKernel) {
			t.Errorf("%s: Build = %v, want %v", name, err, ErrKernel)
		}
	}
}

func TestImageRISCV64(t *testing.T) {
	h := virt(t)
	h.Arch = image.ArchRISCV64
	p := mustBuild(t, payload(riscv64Image(), "console=ttyS0", []byte("initrd")), h, Options{})
	k := p.Segment("kernel")
	if p.Entry != k.Phys || k.Phys != gib+4*mib || p.Segment("trampoline") != nil {
		t.Errorf("kernel at %#x, entry %#x, want both %#x", k.Phys, p.Entry, gib+4*mib)
	}
	tree := handedTree(t, p)
	if s, err := tree.Chosen().Text("bootargs"); err != nil || s != "console=ttyS0" {
		t.Errorf("bootargs = %q, %v", s, err)
	}
	// Found by a real kernel: an initrd in the last 2 MiB of the kernel is
	// "in-use memory" to it.
	odd := mustBuild(t, payload(riscv64Image(func(b []byte) { le.PutUint64(b[16:], 4*mib+1) }), "", []byte("initrd")), h, Options{})
	if want := odd.Segment("kernel").Phys + 6*mib; odd.HandOver.Initrd.Start < want {
		t.Errorf("initrd at %#x, want from %#x", odd.HandOver.Initrd.Start, want)
	}
	// The running kernel takes the first segment that begins like a tree.
	for i := range p.Segments {
		if s := &p.Segments[i]; fdt.Is(s.Data) && s.Name != "dtb" {
			t.Errorf("segment %s begins like a device tree", s.Name)
		}
	}
	for name, c := range map[string]struct {
		kernel  []byte
		cmdline string
		err     error
	}{
		"image_size 0": {riscv64Image(func(b []byte) { le.PutUint64(b[16:], 0) }), "", ErrKernel},
		"arm64":        {arm64Image(), "", ErrKernel},
		"command line": {riscv64Image(), strings.Repeat("x", 1024), ErrLimit},
	} {
		if _, err := Build(payload(c.kernel, c.cmdline), h, Options{}); !errors.Is(err, c.err) {
			t.Errorf("%s: Build = %v, want %v", name, err, c.err)
		}
	}
}

// An ELF kernel is laid out as the Image would be, from its first segment on.
func TestVmlinuxRISCV64(t *testing.T) {
	const base = 0xffffffff80000000
	h := virt(t)
	h.Arch = image.ArchRISCV64
	kernel := elf64(243, base, [4]uint64{base, base, 0x3000, 0x3000}, [4]uint64{base + 0x400000, base + 0x400000, 0x1800, 0x2000})
	copy(kernel[64+2*56:], riscv64Image()[:64])
	p := mustBuild(t, payload(kernel, "", []byte("initrd")), h, Options{})
	first, second := p.Segment("kernel"), p.Segment("kernel.1")
	if first == nil || second == nil || first.Phys%(2*mib) != 0 || second.Phys != first.Phys+4*mib {
		t.Fatalf("kernel segments %+v, %+v, want the second 4 MiB behind the first", first, second)
	}
	// Whole units of 2 MiB are the kernel's own.
	if end := second.Phys + second.MemSize; end != first.Phys+6*mib {
		t.Errorf("kernel ends at %#x, want %#x", end, first.Phys+6*mib)
	}
	if p.Entry != first.Phys || p.HandOver.Initrd.Start < first.Phys+6*mib {
		t.Errorf("entry %#x, initrd %v, want entry %#x and the initrd behind the kernel", p.Entry, p.HandOver.Initrd, first.Phys)
	}
}

func TestDecodeDeviceTree(t *testing.T) {
	i, err := DecodeDeviceTree(virt(t).FDT, 0x1000)
	if err != nil {
		t.Fatal(err)
	}
	s := fmt.Sprint(i)
	for _, want := range []string{"at 0x1000", "bootargs = stale", "linux,initrd-start = 0x48000000", "memory 0x40000000-0x7fffffff", "reserved 0x7f000000-0x7f000fff", "rng-seed = (8 bytes)"} {
		if !strings.Contains(s, want) {
			t.Errorf("String() lacks %q:\n%s", want, s)
		}
	}
}
