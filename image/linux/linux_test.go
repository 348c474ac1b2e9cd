// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bzImage returns a made-up kernel of protocol 2.15 with one setup sector and
// a payload of 16 bytes.
func bzImage() []byte {
	b := make([]byte, 3*sectorSize+64)
	b[setupStart] = 2
	le.PutUint32(b[0x1f4:], 4)
	b[0x1fe], b[0x1ff] = 0x55, 0xaa
	b[0x200], b[0x201] = 0xeb, 0x6a
	copy(b[setupMagic:], "HdrS")
	le.PutUint16(b[0x206:], 0x020f)
	le.PutUint16(b[0x20e:], 0x100)
	copy(b[0x300:], "6.12.1-test (me@here) #1 SMP\x00")
	b[0x211] = LoadedHigh
	le.PutUint32(b[0x22c:], 0x7fffffff)
	le.PutUint32(b[0x230:], 0x200000)
	b[0x234], b[0x235] = 1, 21
	le.PutUint16(b[0x236:], XKernel64|XCanBeAbove4G)
	le.PutUint32(b[0x238:], 2047)
	le.PutUint32(b[0x248:], 8)
	le.PutUint32(b[0x24c:], 16)
	le.PutUint64(b[0x258:], 0x1000000)
	le.PutUint32(b[0x260:], 0x3000000)
	le.PutUint32(b[0x264:], 0x190)
	le.PutUint32(b[0x268:], 0x40)
	copy(b[3*sectorSize+8:], "\x28\xb5\x2f\xfdcompressed")
	le.PutUint32(b[3*sectorSize+8+12:], 12345)
	return b
}

func TestParseBzImage(t *testing.T) {
	b := bzImage()
	k, err := ParseBzImage(b)
	if err != nil {
		t.Fatal(err)
	}
	want := &BzImage{
		Raw: b, Protocol: 0x20f, SetupSize: 3 * sectorSize, CodeSize: 64, HeaderEnd: 0x26c, Version: "6.12.1-test (me@here) #1 SMP",
		LoadFlags: LoadedHigh, XLoadFlags: XKernel64 | XCanBeAbove4G, InitrdAddrMax: 0x7fffffff, KernelAlignment: 0x200000,
		Relocatable: true, MinAlignment: 21, CmdlineSize: 2047, PayloadOffset: 3*sectorSize + 8, PayloadSize: 16, UncompressedSize: 12345,
		PrefAddress: 0x1000000, InitSize: 0x3000000, HandoverOffset: 0x190, KernelInfoOffset: 0x40,
	}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Errorf("ParseBzImage (-want +got):\n%s", diff)
	}
	if got := k.Payload(); !bytes.HasPrefix(got, []byte("\x28\xb5\x2f\xfd")) || len(got) != 16 {
		t.Errorf("Payload() = %q", got)
	}
	if len(k.Code()) != 64 || len(k.Header()) != 0x26c-0x1f1 || k.ProtocolString() != "2.15" || Release(k.Version) != "6.12.1-test" {
		t.Errorf("Code() %d bytes, Header() %d, protocol %s, release %s", len(k.Code()), len(k.Header()), k.ProtocolString(), Release(k.Version))
	}
}

// TestOldProtocol checks that fields a protocol does not have are not read.
func TestOldProtocol(t *testing.T) {
	b := bzImage()
	le.PutUint16(b[0x206:], 0x0203)
	k, err := ParseBzImage(b)
	if err != nil {
		t.Fatal(err)
	}
	if k.InitrdAddrMax != 0x7fffffff || k.CmdlineSize != 255 || k.PayloadSize != 0 || k.InitSize != 0 || k.Relocatable || k.XLoadFlags != 0 || len(k.Payload()) != 0 {
		t.Errorf("ParseBzImage(2.03) = %+v", k)
	}
	// A header that its own jump cuts off short.
	le.PutUint16(b[0x206:], 0x020f)
	b[0x201] = 0x40
	if k, err = ParseBzImage(b); err != nil {
		t.Fatal(err)
	}
	if k.CmdlineSize != 2047 || k.PayloadSize != 0 || k.InitSize != 0 {
		t.Errorf("ParseBzImage(header to 0x242) = %+v", k)
	}
}

func TestBzImageHostile(t *testing.T) {
	for _, tc := range []struct {
		name string
		want error
		edit func(b []byte) []byte
	}{
		{"empty", ErrTruncated, func([]byte) []byte { return nil }},
		{"cut in the header", ErrTruncated, func(b []byte) []byte { return b[:0x22f] }},
		{"cut in the setup code", ErrTruncated, func(b []byte) []byte { return b[:3*sectorSize-1] }},
		{"cut in the payload", ErrTruncated, func(b []byte) []byte { return b[:3*sectorSize+23] }},
		{"no boot flag", ErrNotKernel, func(b []byte) []byte { b[0x1fe] = 0; return b }},
		{"no HdrS", ErrNotKernel, func(b []byte) []byte { b[setupMagic] = 'h'; return b }},
		{"protocol 2.01", ErrHeader, func(b []byte) []byte { le.PutUint16(b[0x206:], 0x0201); return b }},
		{"protocol 3.00", ErrHeader, func(b []byte) []byte { le.PutUint16(b[0x206:], 0x0300); return b }},
		{"no jump", ErrHeader, func(b []byte) []byte { b[0x200] = 0x90; return b }},
		{"short jump", ErrHeader, func(b []byte) []byte { b[0x201] = 0x10; return b }},
		{"255 setup sectors", ErrTruncated, func(b []byte) []byte { b[setupStart] = 255; return b }},
		{"default of 4 sectors", ErrTruncated, func(b []byte) []byte { b[setupStart] = 0; return b }},
		{"payload wraps", ErrTruncated, func(b []byte) []byte {
			le.PutUint32(b[0x248:], 0xffffffff)
			le.PutUint32(b[0x24c:], 0xffffffff)
			return b
		}},
	} {
		if k, err := ParseBzImage(tc.edit(bzImage())); !errors.Is(err, tc.want) {
			t.Errorf("%s: ParseBzImage() = %v, %v, want %v", tc.name, k, err, tc.want)
		}
	}
	b := bzImage()
	le.PutUint16(b[0x20e:], 0xffff)
	if k, err := ParseBzImage(b); err != nil || k.Version != "" {
		t.Errorf("ParseBzImage(version outside) = %v, %v, want no version", k, err)
	}
}

func image(magic string, at int) []byte {
	b := make([]byte, 256)
	copy(b[at:], magic)
	le.PutUint64(b[8:], 0x80000)
	le.PutUint64(b[16:], 0x200000)
	return b
}

func TestParseImage(t *testing.T) {
	arm := image("ARM\x64", 0x38)
	le.PutUint64(arm[24:], 1<<3|2<<1)
	copy(arm, "MZ")
	le.PutUint32(arm[0x3c:], 0x40)
	riscv := image("RSC\x05", 0x38)
	le.PutUint32(riscv[32:], 2)
	loong := make([]byte, 256)
	copy(loong, "MZ")
	le.PutUint64(loong[8:], 0x9000000000201000)
	le.PutUint64(loong[16:], 0x1800000)
	le.PutUint64(loong[24:], 0x200000)
	le.PutUint32(loong[0x38:], peMagic)
	le.PutUint32(loong[0x3c:], 0x40)
	copy(loong[0x40:], "PE\x00\x00\x64\x62")
	for _, tc := range []struct {
		b    []byte
		want Image
	}{
		{arm, Image{Arch: "arm64", TextOffset: 0x80000, ImageSize: 0x200000, Flags: 12, PageSize: Page16K, Anywhere: true, PEOffset: 0x40}},
		{riscv, Image{Arch: "riscv64", TextOffset: 0x80000, ImageSize: 0x200000, HeaderVersion: 2}},
		{loong, Image{Arch: "loongarch64", TextOffset: 0x200000, ImageSize: 0x1800000, EntryOffset: 0x1000, PEOffset: 0x40}},
	} {
		tc.want.Raw = tc.b
		got, err := ParseImage(tc.b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&tc.want, got); diff != "" {
			t.Errorf("ParseImage(%s) (-want +got):\n%s", tc.want.Arch, diff)
		}
		for n := range 64 {
			if _, err := ParseImage(tc.b[:n:n]); !errors.Is(err, ErrTruncated) {
				t.Fatalf("ParseImage(%s cut at %d) = %v, want %v", tc.want.Arch, n, err, ErrTruncated)
			}
		}
	}
	if _, err := ParseImage(make([]byte, 64)); !errors.Is(err, ErrNotKernel) {
		t.Errorf("ParseImage(zeros) = %v, want %v", err, ErrNotKernel)
	}
	le.PutUint64(arm[16:], 1<<63)
	if _, err := ParseImage(arm); !errors.Is(err, ErrHeader) {
		t.Errorf("ParseImage(image size 1<<63) = %v, want %v", err, ErrHeader)
	}
	le.PutUint64(loong[8:], 0x100000)
	if _, err := ParseImage(loong); !errors.Is(err, ErrHeader) {
		t.Errorf("ParseImage(entry before the image) = %v, want %v", err, ErrHeader)
	}
}

// elf returns a kernel of two segments and a container's section names.
func elf(machine uint16, names ...string) []byte {
	b := make([]byte, 0x1000)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], machine)
	le.PutUint64(b[24:], 0x1000100)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], elfSegmentSize)
	le.PutUint16(b[56:], 3)
	for i, typ := range []uint32{1, 4, 1} {
		p := b[64+i*elfSegmentSize:]
		le.PutUint32(p, typ)
		le.PutUint32(p[4:], 5)
		le.PutUint64(p[8:], uint64(0x800+i*0x100))
		le.PutUint64(p[16:], 0xffffffff81000000+uint64(i)*0x1000)
		le.PutUint64(p[24:], uint64(0x1000000+i*0x1000))
		le.PutUint64(p[32:], 0x100)
		le.PutUint64(p[40:], 0x180)
		le.PutUint64(p[48:], 0x200000)
	}
	le.PutUint64(b[40:], 0x400)
	le.PutUint16(b[58:], elfSectionSize)
	le.PutUint16(b[60:], uint16(len(names)+2))
	le.PutUint16(b[62:], uint16(len(names)+1))
	strings := []byte{0}
	for i, n := range append(names, ".shstrtab") {
		s := b[0x400+(i+1)*elfSectionSize:]
		le.PutUint32(s, uint32(len(strings)))
		le.PutUint32(s[4:], 1)
		le.PutUint64(s[24:], 0xb00)
		le.PutUint64(s[32:], uint64(i))
		strings = append(append(strings, n...), 0)
	}
	s := b[0x400+(len(names)+1)*elfSectionSize:]
	le.PutUint64(s[24:], 0xc00)
	le.PutUint64(s[32:], uint64(len(strings)))
	copy(b[0xc00:], strings)
	return b
}

func TestParseELF(t *testing.T) {
	e, err := ParseELF(elf(62, ".init.text", ".bpf.1"))
	if err != nil {
		t.Fatal(err)
	}
	wantSegments := []ELFSegment{
		{Offset: 0x800, FileSize: 0x100, MemSize: 0x180, Virt: 0xffffffff81000000, Phys: 0x1000000, Align: 0x200000, Flags: 5},
		{Offset: 0xa00, FileSize: 0x100, MemSize: 0x180, Virt: 0xffffffff81002000, Phys: 0x1002000, Align: 0x200000, Flags: 5},
	}
	if diff := cmp.Diff(wantSegments, e.Segments); diff != "" {
		t.Errorf("Segments (-want +got):\n%s", diff)
	}
	var names []string
	for _, s := range e.Sections {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{".init.text", ".bpf.1", ".shstrtab"}, names); diff != "" {
		t.Errorf("Sections (-want +got):\n%s", diff)
	}
	if e.Arch != "x86_64" || e.Entry != 0x1000100 || !e.IsVmlinux() || len(e.Data(e.Sections[1])) != 1 {
		t.Errorf("ParseELF() = arch %s, entry 0x%x, vmlinux %v", e.Arch, e.Entry, e.IsVmlinux())
	}
	if e, err := ParseELF(elf(62, ".text")); err != nil || e.IsVmlinux() {
		t.Errorf("ParseELF(program) = %v, %v, want no vmlinux", e, err)
	}
	for machine, want := range map[uint16]string{183: "arm64", 243: "riscv64", 258: "loongarch64", 21: "ppc64le", 2: ""} {
		if e, err := ParseELF(elf(machine)); err != nil || e.Arch != want {
			t.Errorf("ParseELF(machine %d) = %v, want arch %q", machine, err, want)
		}
	}
}

func TestELFHostile(t *testing.T) {
	for _, tc := range []struct {
		name string
		want error
		edit func(b []byte)
	}{
		{"32 bit", ErrNotKernel, func(b []byte) { b[4] = 1 }},
		{"big endian", ErrNotKernel, func(b []byte) { b[5] = 2 }},
		{"program headers beyond the file", ErrTruncated, func(b []byte) { le.PutUint64(b[32:], 0xff0) }},
		{"program header offset wraps", ErrTruncated, func(b []byte) { le.PutUint64(b[32:], ^uint64(0)) }},
		{"program header size", ErrHeader, func(b []byte) { le.PutUint16(b[54:], 55) }},
		{"65535 program headers", ErrLimit, func(b []byte) { le.PutUint16(b[56:], 65535) }},
		{"section header size", ErrHeader, func(b []byte) { le.PutUint16(b[58:], 0) }},
		{"65535 sections", ErrLimit, func(b []byte) { le.PutUint16(b[60:], 65535) }},
		{"name table out of range", ErrHeader, func(b []byte) { le.PutUint16(b[62:], 99) }},
		{"segment beyond the file", ErrTruncated, func(b []byte) { le.PutUint64(b[64+8:], 0xf80) }},
		{"segment offset wraps", ErrTruncated, func(b []byte) { le.PutUint64(b[64+8:], ^uint64(0)-0x80) }},
		{"file size above memory size", ErrHeader, func(b []byte) { le.PutUint64(b[64+40:], 0xff) }},
		{"physical address wraps", ErrHeader, func(b []byte) { le.PutUint64(b[64+24:], ^uint64(0)-0x100) }},
		{"section beyond the file", ErrTruncated, func(b []byte) { le.PutUint64(b[0x400+elfSectionSize+32:], 0x1000) }},
	} {
		b := elf(62, ".text")
		tc.edit(b)
		if _, err := ParseELF(b); !errors.Is(err, tc.want) {
			t.Errorf("%s: ParseELF() = %v, want %v", tc.name, err, tc.want)
		}
	}
	for n := range 64 {
		if _, err := ParseELF(elf(62)[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("ParseELF(cut at %d) = %v, want %v", n, err, ErrTruncated)
		}
	}
	// A name that never ends stays empty.
	b := elf(62, ".text")
	for i := 0xc01; i < len(b); i++ {
		b[i] = 'x'
	}
	e, err := ParseELF(b)
	if err != nil || e.Sections[0].Name != "" {
		t.Errorf("ParseELF(endless name) = %v, %v", e, err)
	}
}

func TestBanner(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"\x00Linux version %s (%s)\n\x00Linux version 6.12.1 (me@here) #1 SMP\n\x00", "Linux version 6.12.1 (me@here) #1 SMP"},
		{"Linux version 6", ""},
		{"Linux version ", ""},
		{"Linux version 6.1\x01\n Linux version 6.2 x\n", "Linux version 6.2 x"},
		{"Linux version 6" + strings.Repeat("x", maxText) + "\n", ""},
		{"", ""},
	} {
		if got := Banner([]byte(tc.in)); got != tc.want {
			t.Errorf("Banner(%.40q) = %q, want %q", tc.in, got, tc.want)
		}
	}
	if got := Release("Linux version 6.12.1-a (x)"); got != "6.12.1-a" {
		t.Errorf("Release() = %q", got)
	}
}

// FuzzHeaders runs every reader of the package over the same input.
func FuzzHeaders(f *testing.F) {
	f.Add(bzImage())
	f.Add(image("ARM\x64", 0x38))
	f.Add(image("RSC\x05", 0x38))
	f.Add(elf(62, ".text", ".kernel"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseBzImage(b); err == nil {
			k.Payload()
			k.Code()
			k.Header()
		}
		if k, err := ParseImage(b); err == nil && k.EntryOffset >= max(k.ImageSize, 1) {
			t.Errorf("entry 0x%x beyond image of 0x%x bytes", k.EntryOffset, k.ImageSize)
		}
		if e, err := ParseELF(b); err == nil {
			for _, s := range e.Sections {
				e.Data(s)
			}
			for _, s := range e.Segments {
				if s.FileSize > 0 && len(b[s.Offset:s.Offset+s.FileSize]) != int(s.FileSize) {
					t.Errorf("segment %+v", s)
				}
			}
		}
		Banner(b)
	})
}
