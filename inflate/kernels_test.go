// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// memoryBudget is what a decoder may allocate beside output and dictionary.
const memoryBudget = 32 << 20

// zbootPayload returns the compressed payload of an EFI zboot image and the
// size that follows it.
func zbootPayload(t testing.TB, b []byte) (payload []byte, size int) {
	t.Helper()
	if len(b) < 64 || string(b[4:8]) != "zimg" {
		t.Fatal("not a zboot image")
	}
	start := uint64(binary.LittleEndian.Uint32(b[8:]))
	end := start + uint64(binary.LittleEndian.Uint32(b[12:]))
	trailer := end
	if string(b[24:28]) == "gzip" {
		trailer -= 4
	}
	return b[start:end:end], int(binary.LittleEndian.Uint32(b[trailer:]))
}

// zbootImages are real ones, made by the kernel's build. Their origin is told
// in the README.md beside them.
var zbootImages = []struct {
	file   string
	method Method
	size   int
	sha256 string
}{
	{"vmlinuz-arm64-6.12-gzip.efi", Gzip, 4784128, "62380a49bbcd286e011b4723b39c1beb4ed0d452842e99cbb54b14845137ab12"},
	{"vmlinuz-arm64-6.1-xz.efi", XZ, 3932672, "89705bf3c5629f6e3c73ab83fcbd873cb786dd54423f7a3e843cc466a4ba3e90"},
	{"vmlinuz-arm64-6.1-lzo.efi", LZO, 3932672, "d69585ec58bc1aa6b143622813fde02156f92a63fbd9eb255a97b153d56875b5"},
}

func zbootImage(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "image", "zboot", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestZbootImages(t *testing.T) {
	for _, img := range zbootImages {
		t.Run(img.file, func(t *testing.T) {
			payload, size := zbootPayload(t, zbootImage(t, img.file))
			if m := Detect(payload); m != img.method {
				t.Fatalf("Detect = %v, want %v", m, img.method)
			}
			dst := make([]byte, 64<<20)
			var r Result
			n := allocated(func() {
				var err error
				if r, err = Decompress(img.method, dst, payload); err != nil {
					t.Fatal(err)
				}
			})
			if r != (Result{img.size, len(payload)}) || size != img.size {
				t.Errorf("Decompress = %+v, trailer says %d, want %d written, %d read", r, size, img.size, len(payload))
			}
			if got := sha(dst[:r.Written]); got != img.sha256 {
				t.Errorf("sha256 = %s, want %s", got, img.sha256)
			}
			if n > memoryBudget {
				t.Errorf("Decompress allocated %d bytes, want at most %d", n, memoryBudget)
			}
		})
	}
}

// TestZbootMinusFour passes payloads short by four bytes, as callers do that
// take the size trailer for part of the payload.
func TestZbootMinusFour(t *testing.T) {
	for _, img := range zbootImages {
		payload, _ := zbootPayload(t, zbootImage(t, img.file))
		short := payload[:len(payload)-4]
		dst := make([]byte, img.size)
		_, err := Decompress(img.method, dst, short)
		wantErr(t, "Decompress("+img.file+" less 4 bytes)", err, ErrTruncated)
		r, err := Options{AllowMissingSize: true}.Decompress(img.method, dst, short)
		if img.method != Gzip {
			wantErr(t, "Decompress("+img.file+" less 4 bytes, AllowMissingSize)", err, ErrTruncated)
			continue
		}
		if err != nil || r != (Result{img.size, len(short)}) || sha(dst) != img.sha256 {
			t.Errorf("Decompress(%s less 4 bytes, AllowMissingSize) = %+v, %v", img.file, r, err)
		}
	}
}

// TestZbootDebian decodes the zboot kernel that Debian ships for loong64.
func TestZbootDebian(t *testing.T) {
	payload, size := zbootPayload(t, testkit.ReadFile(t, testkit.Kernel(t, "loong64", "new")))
	m := Detect(payload)
	if hint, ok := SizeHint(m, payload); ok && hint != uint64(size) {
		t.Errorf("SizeHint = %d, want %d", hint, size)
	}
	want(t, m, payload, pack(t, m.String()+" -dc", payload))
}

// TestBzImages decodes the payload of Debian's x86 kernels as the tool does.
func TestBzImages(t *testing.T) {
	for _, series := range []string{"6.1", "6.12"} {
		b := testkit.ReadFile(t, testkit.Kernel(t, "amd64", series))
		start := (int(b[0x1F1])+1)*512 + int(binary.LittleEndian.Uint32(b[0x248:]))
		end := start + int(binary.LittleEndian.Uint32(b[0x24C:]))
		payload := b[start:end]
		m := Detect(payload)
		t.Run(series+"-"+m.String(), func(t *testing.T) {
			size, _ := SizeTrailer(payload)
			dst := make([]byte, 512<<20)
			var r Result
			n := allocated(func() {
				var err error
				if r, err = Decompress(m, dst, payload); err != nil {
					t.Fatal(err)
				}
			})
			if r != (Result{int(size), len(payload) - 4}) {
				t.Fatalf("Decompress = %+v, want %d written, %d read", r, size, len(payload)-4)
			}
			if n > memoryBudget {
				t.Errorf("Decompress allocated %d bytes, want at most %d", n, memoryBudget)
			}
			tool := m.String() + " -dc"
			if m == Zstd {
				tool += " --long=31"
			}
			wantBytes(t, dst[:r.Written], pack(t, tool, payload[:r.Read]))
		})
	}
}

// codeOf returns some MiB out of a kernel's code, for filters of its
// architecture.
func codeOf(t testing.TB, arch string) []byte {
	t.Helper()
	b := testkit.ReadFile(t, testkit.Kernel(t, arch, "6.12"))
	const start, size = 2 << 20, 3 << 20
	if len(b) < start+size {
		t.Fatalf("kernel of %s has %d bytes", arch, len(b))
	}
	return b[start : start+size]
}

// TestKernelRoundTrip packs a whole arm64 kernel with every tool, in the ways
// the kernel's own build does.
func TestKernelRoundTrip(t *testing.T) {
	payload, _ := zbootPayload(t, zbootImage(t, "vmlinuz-arm64-6.12-gzip.efi"))
	kernel := pack(t, "gzip -dc", payload)
	for _, c := range []struct {
		method  Method
		command string
	}{
		{Gzip, "gzip -n -9"},
		{Bzip2, "bzip2 -9"},
		{LZMA, "lzma -9"},
		{XZ, "xz --check=crc32 --arm64 --lzma2=preset=6,dict=128MiB"},
		{LZO, "lzop -9"},
		{LZ4, "lz4 -l -9"},
		{LZ4, "lz4 -1"},
		{Zstd, "zstd --ultra -22 --long=27"},
		{Zstd, "zstd -1"},
	} {
		t.Run(c.command, func(t *testing.T) {
			src := pack(t, c.command, kernel)
			if m := Detect(src); m != c.method {
				t.Fatalf("Detect = %v, want %v", m, c.method)
			}
			want(t, c.method, src, kernel)

			// With the kernel's trailer: it stays unread.
			trailer := binary.LittleEndian.AppendUint32(nil, uint32(len(kernel)))
			dst := make([]byte, len(kernel))
			r, err := Decompress(c.method, dst, append(bytes.Clone(src), trailer...))
			if err != nil || r != (Result{len(kernel), len(src)}) {
				t.Fatalf("Decompress with trailer = %+v, %v, want %d read", r, err, len(src))
			}
			wantBytes(t, dst, kernel)
		})
	}
}

// TestBranchFilters packs real code of each architecture with its filter.
func TestBranchFilters(t *testing.T) {
	for _, c := range []struct{ arch, flag string }{
		{"arm64", "--arm64"},
		{"arm64", "--arm64=start=4096"},
		{"riscv64", "--riscv"},
		{"riscv64", "--riscv=start=65538"},
	} {
		code := codeOf(t, c.arch)
		want(t, XZ, pack(t, "xz --check=crc32 "+c.flag+" --lzma2=preset=1", code), code)
	}
}
