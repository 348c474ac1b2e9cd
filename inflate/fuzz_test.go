// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// fuzzLimit is the room that fuzzed streams get.
const fuzzLimit = 1 << 15

// fuzz checks what holds for any input of any method: the counts are within
// bounds, nothing outside the output changes, and a stream that fits is the
// same with room for exactly its output and refused with one byte less.
func fuzz(f *testing.F, m Method) {
	data := small()[:1000]
	for _, c := range commands {
		if c.method == m {
			f.Add(pack(f, c.command, data))
			f.Add(pack(f, c.command, nil))
			f.Add(pack(f, c.command, bytes.Repeat([]byte{1, 2}, 2000)))
		}
	}
	switch m {
	case XZ:
		for _, filter := range []string{"--arm64", "--riscv", "--arm", "--armthumb", "--powerpc", "--sparc", "--ia64", "--delta"} {
			f.Add(pack(f, "xz --check=none "+filter+" --lzma2", data))
		}
	case Zstd, LZ4:
		f.Add(append([]byte("\x50\x2a\x4d\x18\x01\x00\x00\x00x"), pack(f, m.String(), data)...))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		SizeHint(m, src)
		dst, check := guarded(t, fuzzLimit)
		r, err := Decompress(m, dst, src)
		check()
		if r.Written < 0 || r.Written > len(dst) || r.Read < 0 || r.Read > len(src) {
			t.Fatalf("Decompress = %+v of %d bytes", r, len(src))
		}
		if err != nil {
			for _, kind := range []error{ErrLimit, ErrTruncated, ErrCorrupt, ErrUnsupported, ErrDictionary} {
				if errors.Is(err, kind) {
					return
				}
			}
			t.Fatalf("Decompress: %v, none of the package's errors", err)
		}
		exact, check := guarded(t, r.Written)
		again, err := Decompress(m, exact, src)
		check()
		if err != nil || again != r || !bytes.Equal(exact, dst[:r.Written]) {
			t.Fatalf("Decompress with room for %d bytes = %+v, %v, want %+v", r.Written, again, err, r)
		}
		if r.Written > 0 {
			if _, err := Decompress(m, exact[:r.Written-1], src); !errors.Is(err, ErrLimit) {
				t.Fatalf("Decompress with room for %d of %d bytes: %v, want ErrLimit", r.Written-1, r.Written, err)
			}
		}
		differential(t, m, src[:r.Read], dst[:r.Written])
	})
}

// differential compares an output with that of another decoder, where there is
// one that can read the stream at all.
func differential(t *testing.T, m Method, src, got []byte) {
	var (
		r   io.Reader
		err error
	)
	switch m {
	case Gzip:
		r, err = gzip.NewReader(bytes.NewReader(src))
	case LZ4:
		r = lz4.NewReader(bytes.NewReader(src))
	case LZMA:
		if len(src) < 13 || src[4] != 0 { // its dictionary is allocated
			return
		}
		r, err = lzma.NewReader(bytes.NewReader(src))
	case XZ:
		r, err = xz.ReaderConfig{DictCap: 1 << 20}.NewReader(bytes.NewReader(src))
	default:
		return
	}
	if err != nil {
		return
	}
	ref, err := io.ReadAll(io.LimitReader(r, fuzzLimit+1))
	if err == nil && !bytes.Equal(ref, got) {
		t.Fatalf("Decompress(%v) has %d bytes, another decoder %d, or they differ", m, len(got), len(ref))
	}
}

func FuzzGzip(f *testing.F)  { fuzz(f, Gzip) }
func FuzzBzip2(f *testing.F) { fuzz(f, Bzip2) }
func FuzzLZMA(f *testing.F)  { fuzz(f, LZMA) }
func FuzzXZ(f *testing.F)    { fuzz(f, XZ) }
func FuzzLZO(f *testing.F)   { fuzz(f, LZO) }
func FuzzLZ4(f *testing.F)   { fuzz(f, LZ4) }
func FuzzZstd(f *testing.F)  { fuzz(f, Zstd) }

// FuzzLZO1X compares the block decoder with another one.
func FuzzLZO1X(f *testing.F) {
	for _, level := range []string{"-1", "-9"} {
		for _, data := range [][]byte{small(), text(3, 30_000), make([]byte, 3000)} {
			src := pack(f, "lzop "+level, data)
			h, err := lzopHeader(src, 0)
			if err != nil {
				f.Fatal(err)
			}
			b, err := h.block(src, h.end)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src[b.body:b.end])
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		dst, check := guarded(t, 1<<16)
		n, err := lzo1x(dst, src)
		check()
		ref := make([]byte, len(dst))
		k, refErr := lzo.Decompress(src, ref)
		if err == nil && refErr == nil && !bytes.Equal(dst[:n], ref[:k]) {
			t.Fatalf("lzo1x = %d bytes, go-lzo has %d, or they differ", n, k)
		}
	})
}

// FuzzLZMA2 feeds chunks without the checksums of a container around them.
func FuzzLZMA2(f *testing.F) {
	for _, command := range []string{"xz -T1 --format=raw --lzma2=preset=6", "xz -T1 --format=raw --lzma2=lc=1,lp=3,pb=0"} {
		f.Add(pack(f, command, small()))
		f.Add(pack(f, command, text(3, 70_000)))
		f.Add(pack(f, command, nil))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var d, again lzmaDecoder
		dst, check := guarded(t, 1<<17)
		// Blocks do not begin at the start of the output, as a rule.
		const start = 1000
		pos, out, err := d.lzma2(dst, start, src, 0)
		check()
		if out < start || out > len(dst) || pos < 0 || err == nil && pos > len(src) {
			t.Fatalf("lzma2 = %d, %d", pos, out)
		}
		exact, check := guarded(t, out)
		_, out2, err2 := again.lzma2(exact, start, src, 0)
		check()
		if err == nil && (err2 != nil || out2 != out || !bytes.Equal(exact[start:out], dst[start:out])) {
			t.Fatalf("lzma2 with room for %d bytes = %d, %v", out-start, out2-start, err2)
		}
	})
}

// FuzzFilters undoes every filter on arbitrary bytes.
func FuzzFilters(f *testing.F) {
	f.Add([]byte("\xe8\x00\x00\x00\x00\xe9\xff\xff\xff\xff"), uint32(0))
	f.Add([]byte("\xef\x00\x00\x00\x17\x01\x00\x00\x13\x00\x00\x00"), uint32(1<<32-4))
	f.Fuzz(func(t *testing.T, b []byte, start uint32) {
		for id := uint64(xzDelta); id <= xzRISCV; id++ {
			c, check := guarded(t, len(b))
			copy(c, b)
			xzFilter{id: id, start: start, delta: 1 + int(start&0xFF)}.decode(c)
			check()
		}
	})
}

// FuzzRoundTrip packs arbitrary data with encoders written in Go.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(nil), byte(0))
	f.Add(small(), byte(1))
	f.Add(bytes.Repeat([]byte("ab"), 40_000), byte(2))
	f.Add(text(12, 100_000), byte(3))
	f.Fuzz(func(t *testing.T, data []byte, variant byte) {
		var buf bytes.Buffer
		trip := func(m Method, w io.WriteCloser, err error) {
			t.Helper()
			if err == nil {
				_, err = w.Write(data)
			}
			if err == nil {
				err = w.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			want(t, m, buf.Bytes(), data)
			buf.Reset()
		}
		lc := int(variant % 5)
		props := &lzma.Properties{LC: lc, LP: (4 - lc) & int(variant>>3), PB: int(variant>>5) % 5}
		marker := variant&1 != 0 || len(data) == 0 // that encoder takes size 0 for unknown
		lw, err := lzma.WriterConfig{Properties: props, DictCap: 1 << 16, EOSMarker: marker, SizeInHeader: !marker, Size: int64(len(data))}.NewWriter(&buf)
		trip(LZMA, lw, err)
		xw, err := xz.WriterConfig{Properties: props, DictCap: 1 << 16, CheckSum: []byte{xz.CRC32, xz.CRC64, xz.SHA256}[variant%3]}.NewWriter(&buf)
		trip(XZ, xw, err)
		gw, err := gzip.NewWriterLevel(&buf, int(variant%10))
		trip(Gzip, gw, err)
		zw, err := zstd.NewWriter(&buf, zstd.WithEncoderLevel(zstd.EncoderLevel(1+variant%4)), zstd.WithEncoderConcurrency(1))
		trip(Zstd, zw, err)
		fw := lz4.NewWriter(&buf)
		err = fw.Apply(lz4.LegacyOption(variant&1 != 0), lz4.ConcurrencyOption(1))
		trip(LZ4, fw, err)
	})
}
