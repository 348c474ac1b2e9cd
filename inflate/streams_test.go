// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// small is what most tests here pack: large enough for every kind of
// instruction, small enough to try every byte.
func small() []byte { return text(1, 3000) }

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		method  Method
		command string
	}{
		{Gzip, "gzip -1"}, {Gzip, "gzip -9"},
		{Bzip2, "bzip2 -1"}, {Bzip2, "bzip2 -9"},
		{LZMA, "lzma -0"}, {LZMA, "lzma -9e"},
		{LZMA, "xz --format=lzma --lzma1=lc=0,lp=4,pb=0"},
		{LZMA, "xz --format=lzma --lzma1=lc=4,lp=0,pb=4,dict=4KiB"},
		{XZ, "xz --check=none"}, {XZ, "xz --check=crc32"}, {XZ, "xz --check=crc64"}, {XZ, "xz --check=sha256"},
		{XZ, "xz -0 --block-size=20000"},
		{XZ, "xz --lzma2=lc=0,lp=4,pb=0"},
		{XZ, "xz --delta=dist=4 --lzma2"},
		{XZ, "xz --x86 --delta=dist=256 --arm --lzma2=dict=4KiB"},
		{LZO, "lzop -1"}, {LZO, "lzop -3"}, {LZO, "lzop -9"}, {LZO, "lzop -9 --crc32"}, {LZO, "lzop --no-checksum"},
		{LZO, "lzop --checksum -7"},
		{LZ4, "lz4 -l -1"}, {LZ4, "lz4 -l -9"},
		{LZ4, "lz4 -B4 -BD"}, {LZ4, "lz4 -B4 -BI -BX"}, {LZ4, "lz4 -9 -B7 --no-frame-crc"},
		{Zstd, "zstd -1 --no-check"}, {Zstd, "zstd -19 --check"}, {Zstd, "zstd --ultra -22 --long=27"},
	} {
		t.Run(c.command, func(t *testing.T) {
			noise := make([]byte, 100_000)
			rand.NewChaCha8([32]byte{}).Read(noise)
			for _, data := range [][]byte{
				nil,
				{0},
				[]byte("peel"),
				small(),
				noise,
				bytes.Repeat([]byte{0}, 300_000),
				bytes.Repeat([]byte("abc"), 70_000),
				text(2, 700_000),
				append(append(text(3, 90_000), noise...), text(3, 90_000)...),
			} {
				want(t, c.method, pack(t, c.command, data), data)
			}
		})
	}
}

// TestBranchFiltersDense packs random bytes from small alphabets full of
// opcodes, which reaches the corners that real code does not.
func TestBranchFiltersDense(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		flag     string
		alphabet []byte
	}{
		{"--x86", []byte{0xE8, 0xE9, 0, 0xFF, 1}},
		{"--x86=start=4294967000", []byte{0xE8, 0xE8, 0, 0xFF, 0xFF, 0x80}},
		{"--arm", []byte{0xEB, 0, 0xFF, 0x12}},
		{"--armthumb", []byte{0xF0, 0xF8, 0xF7, 0xFF, 3}},
		{"--arm64", []byte{0x94, 0x97, 0x90, 0xB0, 0xD0, 0, 0xFF}},
		{"--powerpc", []byte{0x48, 0x4B, 1, 0, 0xFD}},
		{"--sparc", []byte{0x40, 0x7F, 0, 0xC0, 0xFF}},
		{"--ia64", []byte{0x10, 0x12, 0x16, 0x50, 0x0A, 0, 0xA0, 5}},
		{"--riscv", []byte{0xEF, 0x17, 0x97, 0x00, 0x02, 0x31, 0x01, 0x81, 0x13}},
	} {
		for _, size := range []int{1, 4, 5, 7, 8, 17, 200_000} {
			data := make([]byte, size)
			for i := range data {
				data[i] = c.alphabet[r.IntN(len(c.alphabet))]
			}
			if size > 100_000 {
				// Half of it with arbitrary bytes between the opcodes.
				for i := size / 2; i < size; i += 1 + r.IntN(4) {
					data[i] = byte(r.IntN(256))
				}
			}
			t.Run(fmt.Sprint(c.flag, " ", size), func(t *testing.T) {
				want(t, XZ, pack(t, "xz --check=crc32 "+c.flag+" --lzma2=preset=0", data), data)
			})
		}
	}
}

// TestLimit gives each decoder room for the output exactly, for one byte less,
// and for nothing.
func TestLimit(t *testing.T) {
	for _, c := range commands {
		for _, data := range [][]byte{small(), text(4, 400_000), bytes.Repeat([]byte{7}, 200_000)} {
			src := pack(t, c.command, data)
			dst, check := guarded(t, len(data))
			r, err := Decompress(c.method, dst, src)
			if err != nil || r != (Result{len(data), len(src)}) {
				t.Fatalf("%s: Decompress into %d bytes = %+v, %v", c.command, len(data), r, err)
			}
			wantBytes(t, dst, data)
			check()
			for _, limit := range []int{len(data) - 1, len(data) / 2, 1, 0} {
				dst, check := guarded(t, limit)
				r, err := Decompress(c.method, dst, src)
				wantErr(t, fmt.Sprintf("%s: Decompress of %d into %d bytes", c.command, len(data), limit), err, ErrLimit)
				if r.Written > limit {
					t.Fatalf("%s: Written = %d, limit %d", c.command, r.Written, limit)
				}
				wantBytes(t, dst[:min(r.Written, prefixOK(c.command, r.Written))], data[:min(r.Written, prefixOK(c.command, r.Written))])
				check()
			}
		}
	}
}

// prefixOK says how much of an output cut short is comparable: filters of a
// block that was not finished have not been undone.
func prefixOK(command string, n int) int {
	if bytes.Contains([]byte(command), []byte("--x86")) {
		return 0
	}
	return n
}

// TestTruncated cuts small streams at every byte.
func TestTruncated(t *testing.T) {
	data := small()
	for _, c := range commands {
		src := pack(t, c.command, data)
		dst, check := guarded(t, len(data))
		for n := range src {
			r, err := Decompress(c.method, dst, src[:n:n])
			if err == nil && c.command == "lz4 -l -9" && n >= 4 && n <= 8 && r == (Result{0, 4}) {
				continue // a legacy frame of no blocks, with or without something behind it
			}
			wantErr(t, fmt.Sprintf("%s: Decompress of %d of %d bytes", c.command, n, len(src)), err, ErrTruncated)
		}
		check()
	}
}

// TestFlipped changes every byte of small streams. Checksums must catch what
// changes the output.
func TestFlipped(t *testing.T) {
	data := small()[:300]
	for _, c := range commands {
		if c.method == Bzip2 {
			c.command = "bzip2 -1" // smaller tables
		}
		src := pack(t, c.command, data)
		dst, check := guarded(t, len(data)+1000)
		unchecked := c.method == LZMA || c.command == "lz4 -l -9"
		for i := range src {
			for _, flip := range []byte{0x01, 0x80} {
				bad := bytes.Clone(src)
				bad[i] ^= flip
				r, err := Decompress(c.method, dst, bad)
				switch {
				case err != nil:
					wantErr(t, fmt.Sprintf("%s: byte 0x%x ^ 0x%x", c.command, i, flip), err,
						ErrCorrupt, ErrTruncated, ErrLimit, ErrUnsupported, ErrDictionary)
				case !unchecked && !bytes.Equal(dst[:r.Written], data):
					t.Errorf("%s: byte 0x%x ^ 0x%x: other output, no error", c.command, i, flip)
				}
			}
		}
		check()
	}
}

// TestConcatenated decodes two streams as one and leaves alone what follows.
func TestConcatenated(t *testing.T) {
	a, b := text(5, 5000), text(6, 7000)
	both := append(bytes.Clone(a), b...)
	for _, c := range commands {
		if c.method == LZMA {
			continue // one stream only, by its format
		}
		src := append(pack(t, c.command, a), pack(t, c.command, b)...)
		want(t, c.method, src, both)
		for _, tail := range []string{"\x01", "\x00\x00\x00", "B", "BY", "\x1f", "\x00\x00\x00\x01", "trailing bytes"} {
			if c.command == "lz4 -l -9" && len(tail) > 4 {
				continue // would be taken for a block
			}
			dst := make([]byte, len(both))
			r, err := Decompress(c.method, dst, append(bytes.Clone(src), tail...))
			if err != nil || r != (Result{len(both), len(src)}) {
				t.Errorf("%s with tail %q: %+v, %v, want %d read", c.command, tail, r, err, len(src))
			}
			wantBytes(t, dst, both)
		}
	}
}

func TestXZPadding(t *testing.T) {
	a, b := small(), text(8, 100)
	pa, pb := pack(t, "xz", a), pack(t, "xz", b)
	want(t, XZ, bytes.Join([][]byte{pa, make([]byte, 8), pb, make([]byte, 4)}, nil), append(bytes.Clone(a), b...))

	// Padding of another size is none: what follows is not read.
	dst := make([]byte, 1<<20)
	r, err := Decompress(XZ, dst, bytes.Join([][]byte{pa, make([]byte, 6), pb}, nil))
	if err != nil || r != (Result{len(a), len(pa)}) {
		t.Errorf("Decompress = %+v, %v, want %d read", r, err, len(pa))
	}
}

func TestSkippableFrames(t *testing.T) {
	skip := append(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 0x184D2A53), 5), "12345"...)
	data := small()
	for _, c := range []struct {
		method  Method
		command string
	}{{Zstd, "zstd"}, {LZ4, "lz4"}} {
		frame := pack(t, c.command, data)
		src := bytes.Join([][]byte{skip, frame, skip, skip, frame, skip}, nil)
		if m := Detect(src); m != c.method {
			t.Errorf("Detect = %v, want %v", m, c.method)
		}
		want(t, c.method, src, append(bytes.Clone(data), data...))
		dst := make([]byte, 2*len(data))
		_, err := Decompress(c.method, dst, src[:len(src)-1])
		wantErr(t, "Decompress with half a skippable frame", err, ErrTruncated)
	}
}

func TestLZ4Mixed(t *testing.T) {
	a, b := text(9, 9<<20), small()
	// A legacy frame of two blocks, one more, and a frame behind them.
	src := bytes.Join([][]byte{pack(t, "lz4 -l", a), pack(t, "lz4 -l", b), pack(t, "lz4", b)}, nil)
	want(t, LZ4, src, bytes.Join([][]byte{a, b, b}, nil))
}

// TestLZMAKnownSize rewrites the header of a stream that ends with a marker.
func TestLZMAKnownSize(t *testing.T) {
	data := small()
	src := pack(t, "lzma", data)
	dst := make([]byte, len(data)+10)
	for _, c := range []struct {
		size int
		err  error
	}{
		{len(data), nil}, // size and marker
		{len(data) - 1, ErrCorrupt},
		{len(data) - 300, ErrCorrupt},
		{len(data) + 1, ErrCorrupt},
		{len(dst) + 1, ErrLimit},
	} {
		b := bytes.Clone(src)
		binary.LittleEndian.PutUint64(b[5:], uint64(c.size))
		r, err := Decompress(LZMA, dst, b)
		if c.err != nil {
			wantErr(t, fmt.Sprintf("Decompress with size %d of %d", c.size, len(data)), err, c.err)
		} else if err != nil || r != (Result{len(data), len(src)}) {
			t.Errorf("Decompress with size %d = %+v, %v", c.size, r, err)
		}
	}
}

func TestErrors(t *testing.T) {
	_, err := Decompress(None, nil, nil)
	wantErr(t, "Decompress(None)", err, ErrUnsupported)
	for m := Gzip; m <= Zstd; m++ {
		_, err := Decompress(m, make([]byte, 10), []byte("these bytes are not compressed at all"))
		wantErr(t, "Decompress of text", err, ErrCorrupt, ErrUnsupported, ErrDictionary)
		if _, ok := SizeHint(m, nil); ok {
			t.Errorf("SizeHint(%v, nil) is ok", m)
		}
	}
	data := small()
	for _, c := range []struct {
		command string
		at      int
		value   byte
		err     error
	}{
		{"gzip", 2, 7, ErrUnsupported},
		{"gzip", 3, 0x20, ErrUnsupported},
		{"zstd", 4, 0x0C, ErrUnsupported},
	} {
		b := pack(t, c.command, data)
		b[c.at] = c.value
		_, err := Decompress(Detect(b), make([]byte, 1<<20), b)
		if !errors.Is(err, c.err) {
			t.Errorf("%s with byte %d = 0x%02x: %v, want %v", c.command, c.at, c.value, err, c.err)
		}
	}
}

func TestGzipHeader(t *testing.T) {
	data := small()
	src := pack(t, "gzip -n", data)
	optional := append([]byte{3, 0, 'x', 'y', 'z'}, "name\x00comment\x00"...)
	head := append(bytes.Clone(src[:10]), optional...)
	head[3] = gzipExtra | gzipName | gzipComment | gzipHeaderCRC
	crc := crc16(head)
	head = binary.LittleEndian.AppendUint16(head, crc)
	want(t, Gzip, append(bytes.Clone(head), src[10:]...), data)
	dst := make([]byte, len(data))
	for n := range head {
		_, err := Decompress(Gzip, dst, head[:n])
		wantErr(t, fmt.Sprintf("Decompress of %d header bytes", n), err, ErrTruncated)
	}
	head[len(head)-1] ^= 1
	_, err := Decompress(Gzip, dst, append(head, src[10:]...))
	wantErr(t, "Decompress with a bad header CRC", err, ErrCorrupt)
}
