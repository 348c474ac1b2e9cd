// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"

	"github.com/peelboot/peel/internal/magic"
)

// Flags of a gzip member header (RFC 1952, 2.3.1).
const (
	gzipHeaderCRC = 1 << 1
	gzipExtra     = 1 << 2
	gzipName      = 1 << 3
	gzipComment   = 1 << 4
	gzipReserved  = 0xE0
)

// gzip decodes the members of a gzip file.
func (o Options) gzip(dst, src []byte) (Result, error) {
	var (
		r  Result
		in = bytes.NewReader(nil)
		fr = flate.NewReader(in)
	)
	for first := true; first || bytes.HasPrefix(src[r.Read:], []byte(magic.Gzip+"\x08")); first = false {
		body, err := gzipHeader(src, r.Read)
		if err != nil {
			return r, err
		}
		in.Reset(src[body:])
		if err := fr.(flate.Resetter).Reset(in, nil); err != nil {
			return r, errAt(ErrCorrupt, body, "deflate: %v", err)
		}
		start := r.Written
		sum, err := o.deflate(dst, &r, fr, in, len(src))
		if err != nil {
			return r, err
		}
		end := len(src) - in.Len()
		if len(src)-end < 8 {
			if !o.AllowMissingSize || len(src)-end != 4 {
				return r, errAt(ErrTruncated, len(src), "gzip trailer has %d of 8 bytes", len(src)-end)
			}
		}
		if want := binary.LittleEndian.Uint32(src[end:]); want != sum {
			return r, errAt(ErrCorrupt, end, "CRC32 of the output is 0x%08x, the trailer says 0x%08x", sum, want)
		}
		if len(src)-end == 4 {
			r.Read = len(src)
			return r, nil
		}
		size := uint32(uint64(r.Written - start))
		if want := binary.LittleEndian.Uint32(src[end+4:]); want != size {
			return r, errAt(ErrCorrupt, end+4, "output has 0x%x bytes, the trailer says 0x%x", size, want)
		}
		r.Read = end + 8
	}
	return r, nil
}

// deflate reads fr to its end into dst from r.Written on and returns the CRC32
// of what it wrote. total is the size of the whole input, for offsets.
func (o Options) deflate(dst []byte, r *Result, fr io.Reader, in *bytes.Reader, total int) (uint32, error) {
	var (
		sum uint32
		one [1]byte
	)
	for {
		buf := dst[r.Written:]
		full := len(buf) == 0
		if full {
			// The end of the stream may still follow; a byte may not.
			buf = one[:]
		}
		n, err := fr.Read(buf)
		if full && n > 0 {
			return 0, errLimit(total-in.Len(), len(dst))
		}
		sum = crc32.Update(sum, crc32.IEEETable, buf[:n])
		r.Written += n
		switch {
		case err == nil:
		case err == io.EOF:
			return sum, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return 0, errAt(ErrTruncated, total, "deflate data")
		default:
			return 0, errAt(ErrCorrupt, total-in.Len(), "%v", err)
		}
	}
}

// gzipHeader checks the member header at off and returns the offset behind it.
func gzipHeader(src []byte, off int) (int, error) {
	b := src[off:]
	if !bytes.HasPrefix(b, []byte(magic.Gzip)[:min(len(b), len(magic.Gzip))]) {
		return 0, errAt(ErrCorrupt, off, "no gzip magic")
	}
	if len(b) < 10 {
		return 0, errAt(ErrTruncated, len(src), "gzip header has %d of 10 bytes", len(b))
	}
	if b[2] != 8 {
		return 0, errAt(ErrUnsupported, off+2, "gzip compression method %d", b[2])
	}
	flags := b[3]
	if flags&gzipReserved != 0 {
		return 0, errAt(ErrUnsupported, off+3, "gzip flags 0x%02x", flags)
	}
	truncated := errAt(ErrTruncated, len(src), "gzip header")
	n := 10
	if flags&gzipExtra != 0 {
		if len(b)-n < 2 {
			return 0, truncated
		}
		extra := int(binary.LittleEndian.Uint16(b[n:]))
		n += 2
		if len(b)-n < extra {
			return 0, truncated
		}
		n += extra
	}
	for _, flag := range []byte{gzipName, gzipComment} {
		if flags&flag == 0 {
			continue
		}
		i := bytes.IndexByte(b[n:], 0)
		if i < 0 {
			return 0, truncated
		}
		n += i + 1
	}
	if flags&gzipHeaderCRC != 0 {
		if len(b)-n < 2 {
			return 0, truncated
		}
		want, got := binary.LittleEndian.Uint16(b[n:]), uint16(crc32.ChecksumIEEE(b[:n]))
		if want != got {
			return 0, errAt(ErrCorrupt, off+n, "CRC16 of the gzip header is 0x%04x, stored 0x%04x", got, want)
		}
		n += 2
	}
	return off + n, nil
}
