// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
)

// zeroPage reads a plan the way a kernel does: from the address in %rsi.
func zeroPage(t *testing.T, p *Plan) (memory, []byte) {
	t.Helper()
	m := memory{p}
	tramp := m.at(t, p.Entry, 0x44)
	return m, m.at(t, le.Uint64(tramp[0x30:]), BootParamsSize)
}

func TestBzImage(t *testing.T) {
	initrd := bytes.Repeat([]byte("initrd"), 1000)
	p := mustBuild(t, payload(modern().bytes(), "console=ttyS0", initrd, []byte("0707 second")), bios(), Options{})
	m, page := zeroPage(t, p)

	kernel := p.Segment("kernel")
	if kernel.Phys != 16*mib || kernel.MemSize != 16*mib || !bytes.Equal(kernel.Data, modern().bytes()[0x400:]) {
		t.Errorf("kernel at %#x+%#x, %#x bytes, want at 16 MiB, 16 MiB, %#x bytes", kernel.Phys, kernel.MemSize, len(kernel.Data), modern().code)
	}
	if got, want := le.Uint64(m.at(t, p.Entry+0x3a, 8)), uint64(16*mib+0x200); got != want || p.HandOver.KernelEntry != want {
		t.Errorf("kernel entry = %#x in the trampoline, %#x told, want %#x", got, p.HandOver.KernelEntry, want)
	}
	if got := m.text(t, uint64(le.Uint32(page[0x228:]))); got != "console=ttyS0" {
		t.Errorf("command line = %q, want console=ttyS0", got)
	}
	// The second archive begins on the next page, with zeros in between.
	start, size := uint64(le.Uint32(page[0x218:])), uint64(le.Uint32(page[0x21c:]))
	want := append(append(bytes.Clone(initrd), make([]byte, 8192-len(initrd))...), "0707 second"...)
	if got := m.at(t, start, size); !bytes.Equal(got, want) {
		t.Errorf("initrd has %d bytes, want the %d of both archives", len(got), len(want))
	}
	if kind := page[0x210]; kind != 0xd0 {
		t.Errorf("type_of_loader = %#x, want 0xd0", kind)
	}
	if !bytes.Equal(page[0x211:0x218], modern().bytes()[0x211:0x218]) {
		t.Error("setup header was not copied")
	}
	if page[0] != 0xa5 || page[0x3f] != 0xa5 || page[0x40] != 0 || page[0x140] != 0xa5 || page[0x1ec] != 0xa5 || page[0xeeb] != 0xa5 || page[0xeec] != 0 {
		t.Error("screen, EDID, Secure Boot or EDD of the running kernel were not copied")
	}
	if page[0x1ef] != 0 {
		t.Errorf("sentinel = %#x, want 0", page[0x1ef])
	}
	if got := le.Uint64(page[0x70:]); got != 0xf52c0 {
		t.Errorf("acpi_rsdp_addr = %#x, want 0xf52c0", got)
	}
	if page[0x1c0] != 0 {
		t.Error("efi_info on a machine without EFI")
	}
	info := p.HandOver.BootParams
	if d := cmp.Diff(bios().Map, info.E820); d != "" {
		t.Errorf("e820, -want +got:\n%s", d)
	}
	if len(info.SetupData) != 1 || info.SetupData[0].Name != "RNG_SEED" || info.SetupData[0].Size != 32 {
		t.Errorf("setup_data = %+v, want RNG_SEED of 32 bytes", info.SetupData)
	}
	if got := m.at(t, info.SetupData[0].Address+16, 32); !bytes.Equal(got, bytes.Repeat([]byte{0x5e}, 32)) {
		t.Errorf("seed = % x", got)
	}
	if s := p.String(); strings.Contains(s, "5e5e") || !strings.Contains(s, "console=ttyS0") {
		t.Errorf("String() shows the seed or not the command line:\n%s", s)
	}
	if b, err := json.Marshal(p); err != nil || bytes.Contains(b, []byte("initrdinitrd")) {
		t.Errorf("JSON = %.200s, %v", b, err)
	}
}

func TestBzImageViews(t *testing.T) {
	kernel, initrd := modern().bytes(), make([]byte, 10*mib)
	p := mustBuild(t, payload(kernel, "", initrd), bios(), Options{})
	if &p.Segment("kernel").Data[0] != &kernel[0x400] || &p.Segment("initrd").Data[0] != &initrd[0] {
		t.Error("segments are copies, want views")
	}
}

func TestBzImagePlacement(t *testing.T) {
	low := modern()
	low.xload = 1
	low.initrd = 0x37ffffff
	fixed := modern()
	fixed.reloc = 0
	busy := uefi()
	busy.Usable = subtract(busy.Usable, Range{16 * mib, 17 * mib})
	scarce := uefi()
	scarce.Usable = []Range{{4 * gib, 6 * gib}}
	for _, c := range []struct {
		name   string
		k      bz
		h      *Host
		o      Options
		kernel uint64
		below  uint64 // of boot_params and initrd
		err    error
	}{
		{"preferred address", modern(), uefi(), Options{}, 16 * mib, 0, nil},
		{"preferred address is taken", modern(), busy, Options{}, 18 * mib, 0, nil},
		{"only memory above 4 GiB", modern(), scarce, Options{}, 4 * gib, 0, nil},
		{"not above 4 GiB", low, uefi(), Options{}, 16 * mib, 0x38000000, nil},
		{"only memory where it cannot be", low, scarce, Options{}, 0, 0, ErrNoRoom},
		{"not relocatable", fixed, uefi(), Options{}, 16 * mib, 0, nil},
		{"not relocatable and taken", fixed, busy, Options{}, 0, 0, ErrNoRoom},
		{"minimum", modern(), uefi(), Options{Min: 100*mib + 1}, 102 * mib, 0, nil},
		{"maximum", modern(), uefi(), Options{Max: 256 * mib}, 16 * mib, 256 * mib, nil},
		{"crash region", modern(), withCrash(uefi()), Options{Crash: true}, 4*gib + 256*mib, 0, nil},
		{"no crash region", modern(), uefi(), Options{Crash: true}, 0, 0, ErrCrash},
	} {
		p, err := Build(payload(c.k.bytes(), "x", make([]byte, mib)), c.h, c.o)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: Build = %v, want %v", c.name, err, c.err)
			continue
		}
		if err != nil {
			continue
		}
		if got := p.Segment("kernel").Phys; got != c.kernel {
			t.Errorf("%s: kernel at %#x, want %#x", c.name, got, c.kernel)
		}
		for _, name := range []string{"boot_params", "initrd", "trampoline"} {
			if end := p.Segment(name).Range().End; c.below != 0 && name != "boot_params" && name != "trampoline" && end > c.below {
				t.Errorf("%s: %s ends at %#x, want below %#x", c.name, name, end, c.below)
			}
		}
	}
}

func TestBzImageRefuses(t *testing.T) {
	edit := func(f func(*bz)) []byte { k := modern(); f(&k); return k.bytes() }
	five := bios()
	five.FiveLevel = true
	noMap := bios()
	noMap.Map = nil
	for _, c := range []struct {
		name    string
		kernel  []byte
		cmdline string
		h       *Host
		err     error
	}{
		{"no kernel", []byte("hello"), "", bios(), ErrKernel},
		{"no 64-bit entry", edit(func(k *bz) { k.xload = 0 }), "", bios(), ErrKernel},
		{"protocol 2.11", edit(func(k *bz) { k.protocol = 0x020b }), "", bios(), ErrKernel},
		{"zImage", edit(func(k *bz) { k.load = 0 }), "", bios(), ErrKernel},
		{"alignment 3", edit(func(k *bz) { k.align = 3 }), "", bios(), ErrKernel},
		{"init_size of 4 GiB", edit(func(k *bz) { k.init = 0xffffffff }), "", bios(), ErrNoRoom},
		{"preferred address at the end", edit(func(k *bz) { k.pref = 1<<64 - 1 }), "", bios(), ErrNoRoom},
		{"no code", edit(func(k *bz) { k.code = 0x200 }), "", bios(), ErrTruncated},
		{"5-level paging", edit(func(k *bz) { k.xload &^= 1 << 5 }), "", five, ErrKernel},
		{"command line", edit(func(k *bz) { k.cmdline = 8 }), "123456789", bios(), ErrLimit},
		{"NUL in the command line", modern().bytes(), "a\x00b", bios(), ErrLimit},
		{"no memory map", modern().bytes(), "", noMap, ErrHost},
		{"no usable RAM", modern().bytes(), "", &Host{Arch: image.ArchX86_64}, ErrHost},
		{"other machine", modern().bytes(), "", virt(t), ErrKernel},
		{"unknown machine", modern().bytes(), "", &Host{Arch: image.ArchPPC64LE, Usable: bios().Usable}, ErrArch},
	} {
		if _, err := Build(payload(c.kernel, c.cmdline), c.h, Options{}); !errors.Is(err, c.err) {
			t.Errorf("%s: Build = %v, want %v", c.name, err, c.err)
		}
	}
	p := payload(modern().bytes(), "")
	p.Arch = image.ArchARM64
	if _, err := Build(p, bios(), Options{}); !errors.Is(err, ErrArch) {
		t.Errorf("Build of an arm64 payload on x86 = %v, want %v", err, ErrArch)
	}
	half := payload(modern().bytes(), "", make([]byte, 600*mib))
	if _, err := Build(half, bios(), Options{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("Build of more than half of the memory = %v, want %v", err, ErrInvalid)
	}
}

func TestEFIHandOver(t *testing.T) {
	p := mustBuild(t, payload(modern().bytes(), ""), uefi(), Options{})
	m, page := zeroPage(t, p)
	if got := string(page[0x1c0:0x1c4]); got != "EL64" {
		t.Fatalf("efi_loader_signature = %q, want EL64", got)
	}
	u := func(lo, hi int) uint64 { return uint64(le.Uint32(page[lo:])) | uint64(le.Uint32(page[hi:]))<<32 }
	if got := u(0x1c4, 0x1d8); got != 0x3f9ee018 {
		t.Errorf("efi_systab = %#x, want 0x3f9ee018", got)
	}
	size, ver, at, n := le.Uint32(page[0x1c8:]), le.Uint32(page[0x1cc:]), u(0x1d0, 0x1dc), le.Uint32(page[0x1d4:])
	if size != 48 || ver != 1 || n != 96 {
		t.Errorf("descriptors of %d bytes, version %d, map of %d bytes, want 48, 1, 96", size, ver, n)
	}
	if d := m.at(t, at+48, 48); le.Uint32(d) != 6 || le.Uint64(d[8:]) != 0x3f9ed000 || le.Uint64(d[16:]) != 0xfffffffeffded000 || le.Uint64(d[24:]) != 0x80 || le.Uint64(d[32:]) != 0x800000000000000f {
		t.Errorf("second descriptor = % x", d)
	}
	info := p.HandOver.BootParams
	if d := cmp.Diff(uefi().EFI.RuntimeMap, info.EFIMap); d != "" {
		t.Errorf("EFIMap, -want +got:\n%s", d)
	}
	if want := (SetupEFIInfo{0x3f9edf18, 0x3f9edb18, 0x3f9cc000}); info.FirmwareEFI == nil || *info.FirmwareEFI != want {
		t.Errorf("SETUP_EFI = %+v, want %+v", info.FirmwareEFI, want)
	}
	for _, c := range []struct {
		name string
		h    func(*Host)
		o    Options
	}{
		{"--noefi", func(*Host) {}, Options{NoEFI: true}},
		{"no runtime map", func(h *Host) { h.EFI.RuntimeMap = nil }, Options{}},
	} {
		h := uefi()
		c.h(h)
		p := mustBuild(t, payload(modern().bytes(), ""), h, c.o)
		if i := p.HandOver.BootParams; i.EFI != nil || i.FirmwareEFI != nil || i.RSDP == 0 || len(p.Notes) == 0 {
			t.Errorf("%s: efi_info %+v, SETUP_EFI %+v, RSDP %#x, notes %q, want none, none, set, some", c.name, i.EFI, i.FirmwareEFI, i.RSDP, p.Notes)
		}
	}
}

func TestSetupData(t *testing.T) {
	h := bios()
	h.Map = nil
	for i := range 200 {
		h.Map = append(h.Map, E820Entry{uint64(i) * 16 * mib, 8 * mib, E820RAM})
	}
	h.SetupData = []SetupData{{SetupIMA, make([]byte, 16)}, {SetupKHO, make([]byte, 32)}, {SetupPCI, []byte("rom")}, {SetupIMA | setupIndirect, nil}}
	p := mustBuild(t, payload(modern().bytes(), ""), h, Options{Preserve: []uint32{SetupIMA, SetupKHO}, DTB: virt(t).FDT})
	_, page := zeroPage(t, p)
	if got := page[0x1e8]; got != 128 {
		t.Errorf("e820_entries = %d, want 128", got)
	}
	if d := cmp.Diff(h.Map, p.HandOver.BootParams.E820); d != "" {
		t.Errorf("e820 with SETUP_E820_EXT, -want +got:\n%s", d)
	}
	var got []string
	for _, s := range p.HandOver.BootParams.SetupData {
		got = append(got, s.Name)
	}
	if d := cmp.Diff([]string{"E820_EXT", "DTB", "IMA", "KEXEC_KHO", "RNG_SEED"}, got); d != "" {
		t.Errorf("setup_data, -want +got:\n%s", d)
	}
	if _, err := Build(payload(modern().bytes(), ""), h, Options{DTB: []byte("tree")}); !errors.Is(err, ErrDeviceTree) {
		t.Errorf("Build with a bad device tree = %v, want %v", err, ErrDeviceTree)
	}
	// None is handed on unasked: the memory they point to may be in use.
	p = mustBuild(t, payload(modern().bytes(), ""), h, Options{})
	if n := len(p.HandOver.BootParams.SetupData); n != 2 {
		t.Errorf("%d setup_data entries, want 2", n)
	}
}

func TestManyInitrds(t *testing.T) {
	var parts [][]byte
	var want []byte
	for i := range 40 {
		parts = append(parts, bytes.Repeat([]byte{byte(i + 1)}, 1000+i*300))
		want = append(want, parts[i]...)
	}
	p := mustBuild(t, payload(modern().bytes(), "", parts...), bios(), Options{})
	r := *p.HandOver.Initrd
	got := bytes.ReplaceAll(memory{p}.at(t, r.Start, r.Size()), []byte{0}, nil)
	if !bytes.Equal(got, want) {
		t.Errorf("40 archives came out as %d bytes, want %d", len(got), len(want))
	}
	if len(p.Segments) != MaxSegments {
		t.Errorf("%d segments, want %d", len(p.Segments), MaxSegments)
	}
}

// Kernels before 5.15 take no zeros but up to a multiple of four after a
// legacy lz4 frame.
func TestLZ4InitrdIsJoined(t *testing.T) {
	first := append(bytes.Clone(lz4Legacy), "12345"...)
	p := mustBuild(t, payload(modern().bytes(), "", first, []byte("second"), []byte("third")), bios(), Options{})
	if got, want := string(p.Segment("initrd").Data), string(first)+"\x00\x00\x00second"; got != want {
		t.Errorf("initrd = %q, want %q", got, want)
	}
	if p.Segment("initrd.1") == nil || first[len(first)-1] != '5' || len(first) != 9 {
		t.Error("third archive is not apart, or the first one was written to")
	}
}

// elf64 makes an ELF executable.
func elf64(machine uint16, entry uint64, loads ...[4]uint64) []byte { // paddr, vaddr, file size, memory size
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], machine)
	le.PutUint64(b[24:], entry)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], uint16(len(loads)))
	off := uint64(64 + 56*len(loads))
	for _, l := range loads {
		b = le.AppendUint64(b, 1)
		for _, v := range []uint64{off, l[1], l[0], l[2], l[3], 0} {
			b = le.AppendUint64(b, v)
		}
		off += l[2]
	}
	for i, l := range loads {
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, int(l[2]))...)
	}
	return b
}

func TestVmlinuxX86(t *testing.T) {
	const kmap = 0xffffffff80000000
	kernel := elf64(62, 16*mib, [4]uint64{16 * mib, kmap + 16*mib, 0x5000, 0x6000}, [4]uint64{20 * mib, kmap + 20*mib, 0x100, 4 * mib})
	p := mustBuild(t, payload(kernel, "quiet", []byte("initrd")), bios(), Options{})
	_, page := zeroPage(t, p)
	if le.Uint16(page[0x1fe:]) != 0xaa55 || string(page[0x202:0x206]) != "HdrS" || le.Uint16(page[0x206:]) != 0x020f || page[0x211]&1 == 0 {
		t.Error("no setup header was made up")
	}
	if s := p.Segment("kernel.1"); s == nil || s.Phys != 20*mib || s.MemSize != 4*mib || len(s.Data) != 0x100 {
		t.Errorf("second segment = %+v", s)
	}
	if p.HandOver.KernelEntry != 16*mib {
		t.Errorf("entry = %#x, want 16 MiB", p.HandOver.KernelEntry)
	}
	busy := bios()
	busy.Usable = subtract(busy.Usable, Range{21 * mib, 22 * mib})
	for _, c := range []struct {
		name   string
		kernel []byte
		h      *Host
		err    error
	}{
		{"memory in use", kernel, busy, ErrNoRoom},
		{"other architecture", elf64(183, 16*mib, [4]uint64{16 * mib, 0, 16, 16}), bios(), ErrKernel},
		{"entry outside", elf64(62, 17*mib, [4]uint64{16 * mib, 0, 16, 16}), bios(), ErrKernel},
		{"segments overlap", elf64(62, 16*mib, [4]uint64{16 * mib, 0, 16, 0x2000}, [4]uint64{16*mib + 0x1000, 0, 16, 16}), bios(), ErrNoRoom},
		{"not on a page", elf64(62, 16*mib+8, [4]uint64{16*mib + 8, 0, 16, 16}), bios(), ErrNoRoom},
		{"at the end of memory", elf64(62, 0, [4]uint64{1<<64 - 0x1000, 0, 16, 0xfff}), bios(), ErrNoRoom},
		{"nothing to load", elf64(62, 0), bios(), ErrKernel},
		{"truncated", kernel[:len(kernel)-1], bios(), ErrKernel},
	} {
		if _, err := Build(payload(c.kernel, ""), c.h, Options{}); !errors.Is(err, c.err) {
			t.Errorf("%s: Build = %v, want %v", c.name, err, c.err)
		}
	}
}
