// SPDX-License-Identifier: Apache-2.0

package inflate

import "encoding/binary"

const (
	lzmaHeaderSize  = 13
	lzmaSizeUnknown = 1<<64 - 1
)

// lzmaProps splits a properties byte into lc, lp and pb.
func lzmaProps(b byte) (lc, lp, pb uint8, ok bool) {
	if b >= 9*5*5 {
		return 0, 0, 0, false
	}
	return b % 9, b / 9 % 5, b / 45, true
}

// lzma decodes one .lzma file: 13 bytes of header (properties, u32 dictionary
// size, u64 size or -1, both little-endian), then the range coder's data. With
// size -1 an end marker closes the stream, with a known size it may.
func (o Options) lzma(dst, src []byte) (Result, error) {
	if len(src) < lzmaHeaderSize {
		return Result{}, errAt(ErrTruncated, len(src), "lzma header has %d of %d bytes", len(src), lzmaHeaderSize)
	}
	lc, lp, pb, ok := lzmaProps(src[0])
	if !ok {
		return Result{}, errAt(ErrCorrupt, 0, "lzma properties 0x%02x", src[0])
	}
	if dict := uint64(binary.LittleEndian.Uint32(src[1:])); dict > o.maxDictionary() {
		return Result{}, errAt(ErrDictionary, 1, "lzma dictionary of 0x%x bytes, bound 0x%x", dict, o.maxDictionary())
	}
	size := binary.LittleEndian.Uint64(src[5:])
	known := size != lzmaSizeUnknown
	limit := len(dst)
	if known {
		if size > uint64(limit) {
			return Result{}, errLimit(5, limit)
		}
		limit = int(size)
	}
	if len(src) < lzmaHeaderSize+5 {
		return Result{}, errAt(ErrTruncated, len(src), "lzma range coder")
	}

	var d lzmaDecoder
	d.setProps(lc, lp, pb)
	d.reset()
	if !d.startRange(src[lzmaHeaderSize:]) {
		return Result{}, errAt(ErrCorrupt, lzmaHeaderSize, "lzma range coder begins with 0x%02x", src[lzmaHeaderSize])
	}
	pos, out, stop := d.run(src, lzmaHeaderSize+5, dst, 0, 0, limit)
	if stop == lzmaFull {
		pos = d.normalize(src, pos)
		if pos > len(src) {
			stop = lzmaNoInput
		} else if known && d.code == 0 {
			return Result{Written: out, Read: pos}, nil
		} else {
			// Only the end marker may follow.
			pos, stop = d.endMarker(src, pos, dst, out)
		}
	}
	r := Result{Written: out}
	switch stop {
	case lzmaEnd:
		if known && out != limit {
			return r, errAt(ErrCorrupt, pos, "lzma end marker after 0x%x of 0x%x bytes", out, limit)
		}
		if d.code != 0 {
			return r, errAt(ErrCorrupt, pos, "lzma range coder ends with 0x%x", d.code)
		}
		r.Read = pos
		return r, nil
	case lzmaNoInput:
		return r, errAt(ErrTruncated, len(src), "lzma data")
	case lzmaBadRep:
		return r, errAt(ErrCorrupt, pos, "lzma distance before the start, output 0x%x", out)
	}
	if known {
		return r, errAt(ErrCorrupt, pos, "lzma data goes on after 0x%x bytes", limit)
	}
	return r, errLimit(pos, len(dst))
}
