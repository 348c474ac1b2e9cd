// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

func crc16(b []byte) uint16 { return uint16(crc32.ChecksumIEEE(b)) }

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		head string
		want Method
	}{
		{"", None},
		{"\x1f", None},
		{"MZ\x00\x00zimg", None},
		{"07070100000000", None},
		{"\x1f\x8b\x08\x00", Gzip},
		{"BZh91AY", Bzip2},
		{"\x5d\x00\x00\x80\x00", LZMA},
		{"\xfd7zXZ\x00\x00\x01", XZ},
		{"\x89LZO\x00\x0d\x0a\x1a\x0a", LZO},
		{"\x02\x21\x4c\x18", LZ4},
		{"\x04\x22\x4d\x18", LZ4},
		{"\x28\xb5\x2f\xfd", Zstd},
		{"\x50\x2a\x4d\x18\x00\x00\x00\x00\x04\x22\x4d\x18", None}, // the rest is too short to tell
		{"\x50\x2a\x4d\x18\x00\x00\x00\x00\x04\x22\x4d\x18\x00\x00\x00\x00", LZ4},
		{"\x50\x2a\x4d\x18\x02\x00\x00\x00ab\x28\xb5\x2f\xfd\x00\x00\x00\x00", Zstd},
		{"\x50\x2a\x4d\x18\xff\x00\x00\x00", Zstd},
		{"\x50\x2a\x4d\x18\x00\x00\x00\x00abcdefgh", None},
	} {
		if got := Detect([]byte(c.head)); got != c.want {
			t.Errorf("Detect(%q) = %v, want %v", c.head, got, c.want)
		}
	}
}

func TestMethodString(t *testing.T) {
	for m, want := range map[Method]string{None: "none", Gzip: "gzip", Bzip2: "bzip2", LZMA: "lzma", XZ: "xz", LZO: "lzo", LZ4: "lz4", Zstd: "zstd", 99: "method 99"} {
		if got := m.String(); got != want {
			t.Errorf("Method(%d).String() = %q, want %q", m, got, want)
		}
	}
}

func TestSizeHint(t *testing.T) {
	data := text(11, 600_000)
	name := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method  Method
		command string
		ok      bool
	}{
		{Gzip, "gzip -c", true},
		{XZ, "xz -c --block-size=100000", true},
		{LZO, "lzop -c", true},
		{LZ4, "lz4 -c --content-size", true},
		{LZ4, "lz4 -c", false},
		{LZ4, "lz4 -l -c", false},
		{Zstd, "zstd -c", true},
		{LZMA, "lzma -c", false},
		{Bzip2, "bzip2 -c", false},
	} {
		src := pack(t, c.command+" "+name, nil)
		n, ok := SizeHint(c.method, src)
		if ok != c.ok || ok && n != uint64(len(data)) {
			t.Errorf("SizeHint(%s) = %d, %v, want %d, %v", c.command, n, ok, len(data), c.ok)
		}
		if c.method == Gzip || c.method == LZMA || !ok {
			continue
		}
		// Sums of several streams.
		if n, ok := SizeHint(c.method, append(bytes.Clone(src), src...)); c.method != LZ4 && (!ok || n != 2*uint64(len(data))) {
			t.Errorf("SizeHint(%s, twice) = %d, %v, want %d", c.command, n, ok, 2*len(data))
		}
		for n := range min(len(src), 2000) {
			SizeHint(c.method, src[:n])
			SizeHint(c.method, src[n:])
		}
	}
	if n, ok := SizeTrailer([]byte{9, 1, 2, 0, 0}); n != 0x201 || !ok {
		t.Errorf("SizeTrailer = 0x%x, %v, want 0x201", n, ok)
	}
	if _, ok := SizeTrailer([]byte{1, 2, 3}); ok {
		t.Error("SizeTrailer of 3 bytes is ok")
	}
}

// TestExpectedSize: what a stream says is believed within reason.
func TestExpectedSize(t *testing.T) {
	data := text(12, 100_000)
	src := pack(t, "gzip -c", data)
	if got, want := ExpectedSize(Gzip, src), uint64(len(data)); got != want {
		t.Errorf("ExpectedSize(gzip) = %d, want %d", got, want)
	}
	copy(src[len(src)-4:], "\xff\xff\xff\xff")
	if got, want := ExpectedSize(Gzip, src), uint64(6*len(src)); got != want {
		t.Errorf("ExpectedSize(gzip that claims 4 GiB) = %d, want %d", got, want)
	}
	if got, want := ExpectedSize(Bzip2, src), uint64(3*len(src)); got != want {
		t.Errorf("ExpectedSize(bzip2) = %d, want %d", got, want)
	}
}

func TestXXH32(t *testing.T) {
	// Vectors of the xxHash specification's sanity checks, seed 0.
	for in, want := range map[string]uint32{
		"":    0x02CC5D05,
		"a":   0x550D7456,
		"abc": 0x32D153FF,
		"Nobody inspects the spammish repetition": 0xE2293B2F,
	} {
		if got := xxh32([]byte(in)); got != want {
			t.Errorf("xxh32(%q) = 0x%08x, want 0x%08x", in, got, want)
		}
	}
}
