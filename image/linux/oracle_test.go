// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// TestRealBzImages compares with what file(1) finds, and unpacks the payload
// with the tool of its method.
func TestRealBzImages(t *testing.T) {
	for _, tc := range []struct{ series, tool, magic string }{
		{"6.1", "lz4", "\x02\x21\x4c\x18"},
		{"6.12", "zstd", "\x28\xb5\x2f\xfd"},
		{"6.12-unsigned", "zstd", "\x28\xb5\x2f\xfd"},
		{"new", "zstd", "\x28\xb5\x2f\xfd"},
	} {
		path := testkit.Kernel(t, "amd64", tc.series)
		k, err := ParseBzImage(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out := string(testkit.Run(t, "", "file", "-b", "-L", path))
		if k.Version == "" || !strings.Contains(out, "version "+k.Version+",") {
			t.Errorf("%s: Version = %q, file says %s", tc.series, k.Version, out)
		}
		if k.Protocol < 0x20c || k.XLoadFlags&XKernel64 == 0 || !k.Relocatable || k.InitSize == 0 || k.CmdlineSize != 2047 || k.InitrdAddrMax != 0x7fffffff || k.PrefAddress != 0x1000000 {
			t.Errorf("%s: %+v", tc.series, struct {
				P, X            uint16
				Init, Cmd, Addr uint32
				Pref            uint64
			}{k.Protocol, k.XLoadFlags, k.InitSize, k.CmdlineSize, k.InitrdAddrMax, k.PrefAddress})
		}
		payload := k.Payload()
		if !strings.HasPrefix(string(payload), tc.magic) {
			t.Fatalf("%s: payload begins % x, want % x", tc.series, payload[:4], tc.magic)
		}
		// The last four bytes are the uncompressed size, not of the stream.
		in := testkit.WriteFile(t, "payload", payload[:len(payload)-4])
		plain, err := exec.Command(testkit.Tool(t, tc.tool), "-dc", in).Output()
		if err != nil {
			t.Fatalf("%s: %s: %v", tc.series, tc.tool, err)
		}
		if len(plain) != int(k.UncompressedSize) {
			t.Errorf("%s: UncompressedSize = %d, %s gives %d", tc.series, k.UncompressedSize, tc.tool, len(plain))
		}
		e, err := ParseELF(plain)
		if err != nil {
			t.Fatalf("%s: vmlinux: %v", tc.series, err)
		}
		inside := false
		for _, s := range e.Segments {
			inside = inside || e.Entry >= s.Phys && e.Entry < s.Phys+s.FileSize
		}
		if e.Arch != "x86_64" || !e.IsVmlinux() || !inside || e.Segments[0].Phys != k.PrefAddress {
			t.Errorf("%s: vmlinux for %s, entry 0x%x, %d segments", tc.series, e.Arch, e.Entry, len(e.Segments))
		}
		if got := Release(Banner(plain)); got != Release(k.Version) {
			t.Errorf("%s: Banner() says %q, setup header %q", tc.series, got, Release(k.Version))
		}
	}
}

// TestRealImages reads the kernels of the other architectures.
func TestRealImages(t *testing.T) {
	path := testkit.Kernel(t, "arm64", "6.12")
	b := testkit.ReadFile(t, path)
	k, err := ParseImage(b)
	if err != nil {
		t.Fatal(err)
	}
	if k.Arch != "arm64" || k.TextOffset != 0 || k.ImageSize < uint64(len(b))/2 || k.PageSize != Page4K || !k.Anywhere || k.PEOffset == 0 {
		t.Errorf("ParseImage(arm64) = %+v", Image{Arch: k.Arch, TextOffset: k.TextOffset, ImageSize: k.ImageSize, Flags: k.Flags, PEOffset: k.PEOffset})
	}
	if got := Release(Banner(b)); !strings.HasSuffix(path, got) || got == "" {
		t.Errorf("Banner(arm64) gives %q, file is %s", got, path)
	}

	b = testkit.ReadFile(t, testkit.Kernel(t, "riscv64", "6.12"))
	if k, err = ParseImage(b); err != nil {
		t.Fatal(err)
	}
	if k.Arch != "riscv64" || k.HeaderVersion != 2 || k.TextOffset != 0x200000 && k.TextOffset != 0 || k.ImageSize == 0 {
		t.Errorf("ParseImage(riscv64) = %+v", Image{Arch: k.Arch, TextOffset: k.TextOffset, ImageSize: k.ImageSize, HeaderVersion: k.HeaderVersion})
	}
	if got := Banner(b); got == "" {
		t.Error("Banner(riscv64) = nothing")
	}

	// Debian's loongarch64 kernel is a zboot image around an Image.
	z := testkit.ReadFile(t, testkit.Kernel(t, "loong64", "new"))
	if IsImage(z) {
		t.Error("IsImage(zboot) = true")
	}
	off, size := le.Uint32(z[8:]), le.Uint32(z[12:])
	in := testkit.WriteFile(t, "payload.zst", z[off:off+size])
	b = testkit.Run(t, "", "zstd", "-dc", in)
	if k, err = ParseImage(b); err != nil {
		t.Fatal(err)
	}
	if k.Arch != "loongarch64" || k.TextOffset != 0x200000 || k.ImageSize < uint64(len(b)) || k.EntryOffset == 0 {
		t.Errorf("ParseImage(loongarch64) = text offset 0x%x, image size 0x%x of 0x%x, entry 0x%x", k.TextOffset, k.ImageSize, len(b), k.EntryOffset)
	}
}
