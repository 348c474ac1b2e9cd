// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
)

func build(t testing.TB, names ...string) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: ArchX86_64.Machine()})
	for _, n := range names {
		if err := b.Add(pe.NewSection{Name: n, Data: [][]byte{[]byte("data")}}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDetect(t *testing.T) {
	z, err := os.ReadFile(filepath.Join("zboot", "testdata", "vmlinuz-arm64-6.1-xz.efi"))
	if err != nil {
		t.Fatal(err)
	}
	signed := build(t, ".linux", ".initrd")
	for _, tc := range []struct {
		name string
		b    []byte
		want Info
		pe   bool
		err  error
	}{
		{"empty", nil, Info{Kind: KindUnknown}, false, nil},
		{"text", []byte("This is no kernel.\n"), Info{Kind: KindUnknown}, false, nil},
		{"text of MZ", []byte("MZ and more"), Info{Kind: KindUnknown}, false, pe.ErrTruncated},
		{"program", build(t, ".text"), Info{Kind: KindPE, Arch: ArchX86_64}, true, nil},
		{"UKI", build(t, ".text", ".linux"), Info{Kind: KindUKI, Arch: ArchX86_64}, true, nil},
		{"UKI with two kernels", build(t, ".linux", ".linux"), Info{Kind: KindUKI, Arch: ArchX86_64}, true, uki.ErrDuplicate},
		{"UKI cut off", signed[:len(signed)-1], Info{Kind: KindPE}, false, pe.ErrSectionBounds},
		{"thin", build(t, ".linux", ".linuxh"), Info{Kind: KindThin, Arch: ArchX86_64}, true, uki.ErrThin},
		{"addon", build(t, ".cmdline"), Info{Kind: KindAddon, Arch: ArchX86_64}, true, nil},
		{"zboot", z, Info{Kind: KindZboot, Arch: ArchARM64, Method: "xz"}, true, nil},
		{"zboot cut off", z[:len(z)/2], Info{Kind: KindZboot}, false, zboot.ErrPayload},
		{"gzip", []byte("\x1f\x8b\x08\x00"), Info{Kind: KindCompress, Method: "gzip"}, false, nil},
		{"bzip2", []byte("BZh91AY"), Info{Kind: KindCompress, Method: "bzip2"}, false, nil},
		{"xz", []byte("\xfd7zXZ\x00"), Info{Kind: KindCompress, Method: "xz"}, false, nil},
		{"lzma", []byte("\x5d\x00\x00\x80\x00"), Info{Kind: KindCompress, Method: "lzma"}, false, nil},
		{"lzo", []byte("\x89LZO\x00\r\n\x1a\n"), Info{Kind: KindCompress, Method: "lzo"}, false, nil},
		{"lz4", []byte("\x02\x21\x4c\x18"), Info{Kind: KindCompress, Method: "lz4"}, false, nil},
		{"lz4 frame", []byte("\x04\x22\x4d\x18"), Info{Kind: KindCompress, Method: "lz4"}, false, nil},
		{"zstd", []byte("\x28\xb5\x2f\xfd"), Info{Kind: KindCompress, Method: "zstd"}, false, nil},
		{"vmlinux", elf(62, ".init.text"), Info{Kind: KindVmlinux, Arch: ArchX86_64}, false, nil},
		{"vmlinux ppc64le", elf(21, ".init.text"), Info{Kind: KindVmlinux, Arch: ArchPPC64LE}, false, nil},
		{"container", elf(0, ".bpf.1"), Info{Kind: KindContainer}, false, nil},
		{"envelope", elf(183, ".kernel"), Info{Kind: KindEnvelope, Arch: ArchARM64}, false, nil},
		{"generic envelope", elf(0, ".pe.1"), Info{Kind: KindEnvelope}, false, nil},
		{"program as ELF", elf(62, ".text"), Info{Kind: KindUnknown}, false, nil},
		{"other ELF", elf(0, ".text"), Info{Kind: KindUnknown}, false, nil},
		{"ELF cut off", elf(62, ".text")[:100], Info{Kind: KindUnknown}, false, linux.ErrTruncated},
	} {
		got := Detect(tc.b)
		if got.Kind != tc.want.Kind || got.Arch != tc.want.Arch || got.Method != tc.want.Method || (got.PE != nil) != tc.pe || !errors.Is(got.Err, tc.err) {
			t.Errorf("%s: Detect() = %s, %s, %q, PE %v, %v, want %s, %s, %q, PE %v, %v", tc.name,
				got.Kind, got.Arch, got.Method, got.PE != nil, got.Err, tc.want.Kind, tc.want.Arch, tc.want.Method, tc.pe, tc.err)
		}
	}
}

// elf returns an ELF file of one segment with sections of those names.
func elf(machine byte, names ...string) []byte {
	b := make([]byte, 0x400)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18] = 2, machine
	b[32], b[54], b[56] = 64, 56, 1
	b[64] = 1
	b[0x29], b[58], b[60], b[62] = 1, 64, byte(len(names)+2), byte(len(names)+1)
	str := []byte{0}
	for i, n := range append(names, ".shstrtab") {
		s := b[0x100+(i+1)*64:]
		s[0], s[4] = byte(len(str)), 1
		str = append(append(str, n...), 0)
	}
	s := b[0x100+(len(names)+1)*64:]
	s[25], s[32] = 3, byte(len(str))
	copy(b[0x300:], str)
	return b
}

func TestDetectReal(t *testing.T) {
	for _, tc := range []struct {
		path   string
		kind   Kind
		arch   Arch
		method string
	}{
		{testkit.Kernel(t, "amd64", "6.1"), KindBzImage, ArchX86_64, "lz4"},
		{testkit.Kernel(t, "amd64", "6.12"), KindBzImage, ArchX86_64, "zstd"},
		{testkit.Kernel(t, "arm64", "6.12"), KindImage, ArchARM64, ""},
		{testkit.Kernel(t, "riscv64", "6.12"), KindImage, ArchRISCV64, ""},
		{testkit.Kernel(t, "loong64", "new"), KindZboot, ArchLoongArch64, "zstd"},
		{testkit.Shim(t), KindPE, ArchX86_64, ""},
		{testkit.SystemdBoot(t, "amd64", "trixie"), KindPE, ArchX86_64, ""},
		{testkit.UKI(t, testkit.UKIOptions{Cmdline: "quiet"}), KindUKI, ArchX86_64, ""},
	} {
		got := Detect(testkit.ReadFile(t, tc.path))
		if got.Kind != tc.kind || got.Arch != tc.arch || got.Method != tc.method || got.PE == nil || got.Err != nil {
			t.Errorf("Detect(%s) = %s, %s, %q, %v, want %s, %s, %q", filepath.Base(tc.path), got.Kind, got.Arch, got.Method, got.Err, tc.kind, tc.arch, tc.method)
		}
	}
}

func FuzzDetect(f *testing.F) {
	f.Add(build(f, ".linux"))
	f.Add(build(f, ".cmdline"))
	f.Add(elf(62, ".bpf.1"))
	f.Add([]byte("MZ\x00\x00zimg"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := Detect(b)
		if in.Kind == "" || (in.Kind == KindUKI || in.Kind == KindAddon) && in.PE == nil {
			t.Errorf("Detect() = %+v", in)
		}
	})
}
