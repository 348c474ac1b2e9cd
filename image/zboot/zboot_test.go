// SPDX-License-Identifier: Apache-2.0

package zboot

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/internal/testkit"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReal(t *testing.T) {
	for _, tc := range []struct {
		name string
		want Header
		size uint32
		sum  string
		tool string
	}{
		{"vmlinuz-arm64-6.12-gzip.efi", Header{PayloadOffset: 46752, PayloadSize: 1646547, Method: "gzip", Magic: PEMagic, PEOffset: 0x40},
			4784128, "62380a49bbcd286e011b4723b39c1beb4ed0d452842e99cbb54b14845137ab12", ""},
		{"vmlinuz-arm64-6.1-xz.efi", Header{PayloadOffset: 13536, PayloadSize: 1198548, Method: "xzkern", PEOffset: 0x40},
			3932672, "89705bf3c5629f6e3c73ab83fcbd873cb786dd54423f7a3e843cc466a4ba3e90", "xz"},
		{"vmlinuz-arm64-6.1-lzo.efi", Header{PayloadOffset: 7600, PayloadSize: 1707615, Method: "lzo", PEOffset: 0x40},
			3932672, "d69585ec58bc1aa6b143622813fde02156f92a63fbd9eb255a97b153d56875b5", "lzop"},
	} {
		f, err := Parse(read(t, tc.name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, f.Header); diff != "" {
			t.Errorf("%s: Header (-want +got):\n%s", tc.name, diff)
		}
		var plain []byte
		if tc.tool == "" {
			r, err := gzip.NewReader(bytes.NewReader(f.Payload()))
			if err != nil {
				t.Fatal(err)
			}
			if plain, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		} else {
			plain = testkit.Run(t, "", tc.tool, "-dc", testkit.WriteFile(t, "payload."+tc.tool[:2], f.Payload()))
		}
		sum := sha256.Sum256(plain)
		if got := hex.EncodeToString(sum[:]); got != tc.sum {
			t.Errorf("%s: payload has SHA-256 %s, want %s", tc.name, got, tc.sum)
		}
		if n, ok := f.UncompressedSize(); !ok || n != tc.size || int(n) != len(plain) {
			t.Errorf("%s: UncompressedSize() = %d, %v, want %d", tc.name, n, ok, tc.size)
		}
		// The writer gives back the header that the kernel's build wrote.
		b, err := f.Encode()
		if err != nil || !bytes.Equal(b, f.Raw[:HeaderSize]) {
			t.Errorf("%s: Encode() = % x, %v, want % x", tc.name, b, err, f.Raw[:HeaderSize])
		}
	}
}

// TestDebian reads the zboot kernel that Debian ships.
func TestDebian(t *testing.T) {
	f, err := Parse(testkit.ReadFile(t, testkit.Kernel(t, "loong64", "new")))
	if err != nil {
		t.Fatal(err)
	}
	plain := testkit.Run(t, "", "zstd", "-dc", testkit.WriteFile(t, "payload.zst", f.Payload()))
	if n, ok := f.UncompressedSize(); f.Method != "zstd" || !ok || int(n) != len(plain) {
		t.Errorf("method %q, UncompressedSize() = %d, %v, zstd gives %d", f.Method, n, ok, len(plain))
	}
}

func sample(t testing.TB) []byte {
	t.Helper()
	h := Header{PayloadOffset: 80, PayloadSize: 16, Method: "zstd22", Magic: PEMagic, PEOffset: 64}
	b, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(b, make([]byte, 36)...)
}

func TestHostile(t *testing.T) {
	put := func(off int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint32(b[off:], v); return b }
	}
	text := func(off int, s string) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[off:], s); return b }
	}
	for _, tc := range []struct {
		name string
		want error
		edit func([]byte) []byte
	}{
		{"no MZ", ErrNotZboot, text(0, "ZM")},
		{"no zimg", ErrNotZboot, text(4, "zimf")},
		{"empty", ErrNotZboot, func([]byte) []byte { return nil }},
		{"no name", ErrMethod, text(offMethod, "\x00")},
		{"name without NUL", ErrMethod, text(offMethod, "01234567890123456789012345678901")},
		{"name with control character", ErrMethod, text(offMethod, "gz\nip\x00")},
		{"no payload", ErrPayload, put(offSize, 0)},
		{"payload in the header", ErrPayload, put(offOffset, 63)},
		{"payload beyond the file", ErrPayload, put(offSize, 21)},
		{"payload behind the file", ErrPayload, put(offOffset, 1<<31)},
		{"sum wraps 32 bits", ErrPayload, func(b []byte) []byte {
			le.PutUint32(b[offOffset:], 0xffffffff)
			le.PutUint32(b[offSize:], 81)
			return b
		}},
	} {
		if f, err := Parse(tc.edit(sample(t))); !errors.Is(err, tc.want) {
			t.Errorf("%s: Parse() = %v, %v, want %v", tc.name, f, err, tc.want)
		}
	}
	b := sample(t)
	for n := range 96 {
		want := ErrPayload
		switch {
		case n < 8:
			want = ErrNotZboot
		case n < HeaderSize:
			want = ErrTruncated
		}
		if _, err := Parse(b[:n:n]); !errors.Is(err, want) {
			t.Fatalf("Parse(cut at %d) = %v, want %v", n, err, want)
		}
	}
}

func TestUncompressedSize(t *testing.T) {
	b := sample(t)
	le.PutUint32(b[96:], 777)
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := f.UncompressedSize(); n != 777 || !ok {
		t.Errorf("UncompressedSize(zstd22) = %d, %v, want 777", n, ok)
	}
	if f, err = Parse(b[:98]); err != nil {
		t.Fatal(err)
	}
	if n, ok := f.UncompressedSize(); ok {
		t.Errorf("UncompressedSize(cut) = %d, want none", n)
	}
	copy(b[offMethod:], "gzip\x00")
	le.PutUint32(b[92:], 888)
	if f, err = Parse(b); err != nil {
		t.Fatal(err)
	}
	if n, ok := f.UncompressedSize(); n != 888 || !ok {
		t.Errorf("UncompressedSize(gzip) = %d, %v, want 888", n, ok)
	}
	le.PutUint32(b[offSize:], 3)
	if f, err = Parse(b); err != nil {
		t.Fatal(err)
	}
	if n, ok := f.UncompressedSize(); ok {
		t.Errorf("UncompressedSize(gzip of 3 bytes) = %d, want none", n)
	}
}

func TestSetPayload(t *testing.T) {
	b := sample(t)
	if err := SetPayload(b, 90, 8); err != nil {
		t.Fatal(err)
	}
	if f, err := Parse(b); err != nil || f.PayloadOffset != 90 || f.PayloadSize != 8 {
		t.Errorf("Parse(after SetPayload) = %+v, %v", f, err)
	}
	if err := SetPayload(b[:10], 1, 1); !errors.Is(err, ErrTruncated) {
		t.Errorf("SetPayload(short) = %v, want %v", err, ErrTruncated)
	}
	if err := SetPayload(make([]byte, 64), 1, 1); !errors.Is(err, ErrNotZboot) {
		t.Errorf("SetPayload(zeros) = %v, want %v", err, ErrNotZboot)
	}
	if _, err := (&Header{Method: "far too long a name for this field"}).Encode(); !errors.Is(err, ErrMethod) {
		t.Errorf("Encode(long name) = %v, want %v", err, ErrMethod)
	}
}

// FuzzParse checks that what the reader accepts lies inside the file and
// survives the writer.
func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add(read(f, "vmlinuz-arm64-6.1-lzo.efi")[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		z, err := Parse(b)
		if err != nil {
			return
		}
		if len(z.Payload()) != int(z.PayloadSize) {
			t.Errorf("Payload() = %d bytes, want %d", len(z.Payload()), z.PayloadSize)
		}
		z.UncompressedSize()
		h, err := z.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c := bytes.Clone(b)
		copy(c, h)
		again, err := Parse(c)
		if err != nil || again.Header != z.Header {
			t.Errorf("Parse(Encode()) = %+v, %v, want %+v", again, err, z.Header)
		}
	})
}
