// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"testing"

	"github.com/peelboot/peel/internal/magic"
)

// refuse decodes src into limit bytes and wants one of kinds, no byte written
// outside, and at most extra bytes allocated.
func refuse(t *testing.T, what string, m Method, src []byte, limit int, extra uint64, kinds ...error) {
	t.Helper()
	dst, check := guarded(t, limit)
	var err error
	n := allocated(func() { _, err = Decompress(m, dst, src) })
	wantErr(t, what, err, kinds...)
	check()
	if n > extra {
		t.Errorf("%s: Decompress allocated %d bytes, want at most %d", what, n, extra)
	}
}

// TestBombs packs 200 MiB of zeros with each tool.
func TestBombs(t *testing.T) {
	const size = 200 << 20
	for _, c := range commands {
		if c.method == LZMA || c.method == Zstd {
			c.command = map[Method]string{LZMA: "lzma -1", Zstd: "zstd -1 --long=27"}[c.method]
		}
		src := packZeros(t, c.command, size)
		for _, limit := range []int{0, 1 << 20, 20<<20 + 1} {
			dictionary := uint64(0)
			if c.method == Zstd {
				// Small rooms are decoded through the library's window.
				dictionary = DefaultMaxDictionary
			}
			refuse(t, fmt.Sprintf("%s: %d bytes of bomb into %d", c.command, len(src), limit),
				c.method, src, limit, dictionary+memoryBudget, ErrLimit)
		}
	}
}

// zstdHead returns a zstd frame header with a window of 128 MiB and no
// content size.
func zstdHead() []byte { return append([]byte(magic.Zstd), 0x00, 17<<3) }

func zstdBlock(kind, size int, last bool, body ...byte) []byte {
	h := uint32(size<<3 | kind<<1)
	if last {
		h |= 1
	}
	return append([]byte{byte(h), byte(h >> 8), byte(h >> 16)}, body...)
}

// TestZstdNeverMovesOutput feeds frames whose blocks each pass the end of the
// output in one of the ways there are. The library would then grow a slice of
// its own to the size of all output.
func TestZstdNeverMovesOutput(t *testing.T) {
	const limit = 256 << 20
	fill := bytes.Repeat(zstdBlock(1, zstdMaxBlock, false, 'x'), limit/zstdMaxBlock)
	raw := zstdBlock(0, 5, true, []byte("abcde")...)
	rle := zstdBlock(1, zstdMaxBlock, true, 'y')
	// Compressed blocks of literals only: 100 bytes of one value, no sequences.
	literals := zstdBlock(2, 4, true, 0x05|4<<4, 100>>4, 'z', 0)
	for name, last := range map[string][]byte{"raw": raw, "rle": rle, "literals": literals} {
		src := bytes.Join([][]byte{zstdHead(), fill, last}, nil)
		refuse(t, "frame that ends in "+name, Zstd, src, limit, DefaultMaxDictionary+memoryBudget, ErrLimit)

		// The same with room enough.
		dst := make([]byte, limit+1<<20)
		n := allocated(func() {
			if r, err := Decompress(Zstd, dst, src); err != nil || r.Read != len(src) || r.Written <= limit {
				t.Errorf("frame that ends in %s: %+v, %v", name, r, err)
			}
		})
		if n > memoryBudget {
			t.Errorf("frame that ends in %s: %d bytes allocated, want at most %d", name, n, memoryBudget)
		}
	}

	// A content size that is too small: 1 MiB said, 256 MiB there.
	lying := append([]byte(magic.Zstd), 0x80, 17<<3)
	lying = binary.LittleEndian.AppendUint32(lying, 1<<20)
	refuse(t, "frame with a lying size", Zstd, bytes.Join([][]byte{lying, fill, rle}, nil), limit, memoryBudget, ErrCorrupt)
	refuse(t, "frame with a lying size, small room", Zstd, bytes.Join([][]byte{lying, fill, rle}, nil), 1<<20, DefaultMaxDictionary+memoryBudget, ErrCorrupt, ErrLimit)

	// Many tiny frames.
	tiny := bytes.Join([][]byte{zstdHead(), raw}, nil)
	src := bytes.Repeat(tiny, 100_000)
	dst := make([]byte, 500_000)
	if r, err := Decompress(Zstd, dst, src); err != nil || r != (Result{500_000, len(src)}) {
		t.Errorf("100000 frames: %+v, %v", r, err)
	}
	if _, err := Decompress(Zstd, dst[:499_999], src); err == nil {
		t.Error("100000 frames into one byte too few: no error")
	}
}

// TestDeclaredSizes gives headers that ask for more than the decoder may use.
func TestDeclaredSizes(t *testing.T) {
	data := small()

	lzma := pack(t, "lzma", data)
	binary.LittleEndian.PutUint32(lzma[1:], 1<<32-1)
	refuse(t, "lzma dictionary of 4 GiB", LZMA, lzma, 1<<20, 1<<20, ErrDictionary)
	dst := make([]byte, len(data))
	if r, err := (Options{MaxDictionary: 1 << 32}).Decompress(LZMA, dst, lzma); err != nil || r.Written != len(data) {
		t.Errorf("lzma dictionary of 4 GiB, allowed: %+v, %v", r, err)
	}
	binary.LittleEndian.PutUint32(lzma[1:], 1<<20)
	binary.LittleEndian.PutUint64(lzma[5:], 1<<62)
	refuse(t, "lzma size of 4 EiB", LZMA, lzma, 1<<20, 1<<20, ErrLimit)
	lzma[0] = 8 + 9*4 + 45*4
	refuse(t, "lzma with lc 8, lp 4", LZMA, lzma, 1<<20, memoryBudget, ErrLimit)
	lzma[0] = 225
	refuse(t, "lzma properties 225", LZMA, lzma, 1<<20, 1<<20, ErrCorrupt)

	for _, dict := range []string{"256MiB", "1536MiB"} {
		src := pack(t, "xz --lzma2=preset=0,dict="+dict, data)
		refuse(t, "xz dictionary of "+dict, XZ, src, 1<<20, 1<<20, ErrDictionary)
		if r, err := (Options{MaxDictionary: 2 << 30}).Decompress(XZ, dst, src); err != nil || r.Written != len(data) {
			t.Errorf("xz dictionary of %s, allowed: %+v, %v", dict, r, err)
		}
	}

	window := append([]byte(magic.Zstd), 0x00, 0xFF) // 3.75 TiB
	refuse(t, "zstd window of 3.75 TiB", Zstd, append(window, zstdBlock(0, 0, true)...), 1<<20, 1<<20, ErrDictionary)
	content := append([]byte(magic.Zstd), 0xE0)
	content = binary.LittleEndian.AppendUint64(content, 1<<63)
	refuse(t, "zstd content of 8 EiB", Zstd, append(content, zstdBlock(0, 0, true)...), 1<<20, 1<<20, ErrLimit)

	lz4 := pack(t, "lz4", data)
	head := []byte{0x04, 0x22, 0x4D, 0x18, 0x48 | 0x20, 0x70}
	head = binary.LittleEndian.AppendUint64(head, 1<<60)
	head = append(head, byte(xxh32(head[4:])>>8))
	refuse(t, "lz4 content of 1 EiB", LZ4, append(head, lz4[7:]...), 1<<20, 1<<20, ErrLimit)

	// An xz index that promises 2^62 blocks.
	xz := pack(t, "xz", nil)
	count := []byte{0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 5, 0}
	index := binary.LittleEndian.AppendUint32(bytes.Clone(count), crc32.ChecksumIEEE(count))
	refuse(t, "xz index of 2^62 blocks", XZ, append(bytes.Clone(xz[:12]), index...), 1<<20, 1<<20, ErrTruncated, ErrCorrupt)
	if _, ok := SizeHint(XZ, append(bytes.Clone(xz[:12]), index...)); ok {
		t.Error("SizeHint of a broken index is ok")
	}

	// An lzop block of 64 MiB, and one beyond what lzop knows.
	lzo := pack(t, "lzop", data)
	f, err := lzopHeader(lzo, 0)
	if err != nil {
		t.Fatal(err)
	}
	for size, kind := range map[uint32]error{64 << 20: ErrLimit, 64<<20 + 1: ErrCorrupt, 1<<32 - 1: ErrCorrupt} {
		b := bytes.Clone(lzo)
		binary.BigEndian.PutUint32(b[f.end:], size)
		refuse(t, fmt.Sprintf("lzop block of 0x%x bytes", size), LZO, b, 1<<20, 1<<20, kind)
	}
}

// TestUnsupported names features that are recognised but not decoded.
func TestUnsupported(t *testing.T) {
	data := small()
	lzo := pack(t, "lzop -F --no-name", data) // no block checksums
	sum := func(b []byte, end int) []byte {
		binary.BigEndian.PutUint32(b[end:], adler32.Checksum(b[9:end]))
		return b
	}
	f, err := lzopHeader(lzo, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(b []byte){
		"method 4":       func(b []byte) { b[15] = 4 },
		"multipart":      func(b []byte) { b[19] |= lzopMultipart >> 8 },
		"version 0x2000": func(b []byte) { b[13] = 0x20 },
	} {
		b := bytes.Clone(lzo)
		change(b)
		refuse(t, "lzop "+what, LZO, sum(b, f.end-4), 1<<20, 1<<20, ErrUnsupported)
	}

	// An xz stream whose check or filter is not known.
	xz := pack(t, "xz -T1 --check=crc32", data)
	b := bytes.Clone(xz)
	b[7] = 2
	binary.LittleEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[6:8]))
	refuse(t, "xz check 2", XZ, b, 1<<20, 1<<20, ErrUnsupported)
	b = bytes.Clone(xz)
	b[14] = 0x22
	end := 12 + int(b[12])*4
	binary.LittleEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[12:end]))
	refuse(t, "xz filter 0x22", XZ, b, 1<<20, 1<<20, ErrUnsupported)

	dict := append([]byte(magic.Zstd), 0x01, 0x50, 0x07)
	refuse(t, "zstd dictionary", Zstd, append(dict, zstdBlock(0, 0, true)...), 1<<20, 1<<20, ErrUnsupported)
	head := []byte{0x04, 0x22, 0x4D, 0x18, 0x41 | 0x20, 0x70, 1, 2, 3, 4}
	head = append(head, byte(xxh32(head[4:])>>8), 0, 0, 0, 0)
	refuse(t, "lz4 dictionary", LZ4, head, 1<<20, 1<<20, ErrUnsupported)
}
