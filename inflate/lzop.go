// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"

	"github.com/peelboot/peel/internal/magic"
)

// Flags of an lzop header (lzop 1.04, conf.h).
const (
	lzopAdlerOutput = 1 << 0
	lzopAdlerInput  = 1 << 1
	lzopExtra       = 1 << 6
	lzopCRCOutput   = 1 << 8
	lzopCRCInput    = 1 << 9
	lzopMultipart   = 1 << 10
	lzopFilter      = 1 << 11
	lzopHeaderCRC   = 1 << 12

	lzopMaxVersion = 0x1040
	lzopMaxBlock   = 64 << 20
)

// lzopFile is a decoded lzop header.
type lzopFile struct {
	end   int // offset of the first block
	flags uint32
}

// lzopReader takes big-endian numbers off a header and remembers if it ended.
type lzopReader struct {
	src   []byte
	pos   int
	short bool
}

func (r *lzopReader) next(n int) []byte {
	if r.short || len(r.src)-r.pos < n {
		r.short = true
		return make([]byte, 4)
	}
	r.pos += n
	return r.src[r.pos-n : r.pos]
}

func (r *lzopReader) u8() byte    { return r.next(1)[0] }
func (r *lzopReader) u16() uint16 { return binary.BigEndian.Uint16(r.next(2)) }
func (r *lzopReader) u32() uint32 { return binary.BigEndian.Uint32(r.next(4)) }

// lzopHeader reads the header at src[pos:].
func lzopHeader(src []byte, pos int) (lzopFile, error) {
	var f lzopFile
	if b := src[pos:]; !bytes.HasPrefix(b, []byte(magic.LZO)[:min(len(b), len(magic.LZO))]) {
		return f, errAt(ErrCorrupt, pos, "no lzop magic")
	}
	r := &lzopReader{src: src, pos: pos}
	r.next(len(magic.LZO))
	start := r.pos
	version := r.u16()
	r.u16() // library version
	needed := version
	if version >= 0x0940 {
		needed = r.u16()
	}
	at := r.pos
	method := r.u8()
	if version >= 0x0940 {
		r.u8() // level
	}
	f.flags = r.u32()
	var filter uint32
	if f.flags&lzopFilter != 0 {
		filter = r.u32()
	}
	r.u32() // mode
	r.u32() // time
	if version >= 0x0940 {
		r.u32() // high word of the time
	}
	r.next(int(r.u8())) // name
	end := r.pos
	sum := r.u32()
	if r.short {
		return f, errAt(ErrTruncated, len(src), "lzop header")
	}
	got := adler32.Checksum(src[start:end])
	if f.flags&lzopHeaderCRC != 0 {
		got = crc32.ChecksumIEEE(src[start:end])
	}
	switch {
	case got != sum:
		return f, errAt(ErrCorrupt, end, "checksum of the lzop header is 0x%08x, stored 0x%08x", got, sum)
	case version < 0x0900 || needed > lzopMaxVersion:
		return f, errAt(ErrUnsupported, start, "lzop version 0x%04x, needed 0x%04x", version, needed)
	case method < 1 || method > 3:
		return f, errAt(ErrUnsupported, at, "lzop method %d", method)
	case filter != 0:
		return f, errAt(ErrUnsupported, at, "lzop filter %d", filter)
	case f.flags&lzopMultipart != 0:
		return f, errAt(ErrUnsupported, at, "multipart lzop file")
	}
	if f.flags&lzopExtra != 0 {
		start = r.pos
		n := r.u32()
		if uint64(n) > uint64(len(src)-r.pos) {
			r.short = true
		} else {
			r.next(int(n))
		}
		end = r.pos
		sum = r.u32()
		if r.short {
			return f, errAt(ErrTruncated, len(src), "lzop extra field")
		}
		got = adler32.Checksum(src[start:end])
		if f.flags&lzopHeaderCRC != 0 {
			got = crc32.ChecksumIEEE(src[start:end])
		}
		if got != sum {
			return f, errAt(ErrCorrupt, end, "checksum of the lzop extra field is 0x%08x, stored 0x%08x", got, sum)
		}
	}
	f.end = r.pos
	return f, nil
}

// lzopBlock is the header of one block.
type lzopBlock struct {
	unpacked, packed uint32 // bytes; unpacked is 0 at the end of a file
	body, end        int    // offsets in the input
	adlerOut, crcOut uint32
	adlerIn, crcIn   uint32
}

// block reads the block header at src[pos:].
func (f lzopFile) block(src []byte, pos int) (lzopBlock, error) {
	var b lzopBlock
	r := &lzopReader{src: src, pos: pos}
	b.unpacked = r.u32()
	if !r.short && b.unpacked == 0 {
		b.body, b.end = r.pos, r.pos
		return b, nil
	}
	b.packed = r.u32()
	stored := b.packed == b.unpacked
	field := func(flag uint32, to *uint32) {
		if f.flags&flag != 0 {
			*to = r.u32()
		}
	}
	field(lzopAdlerOutput, &b.adlerOut)
	field(lzopCRCOutput, &b.crcOut)
	if !stored {
		field(lzopAdlerInput, &b.adlerIn)
		field(lzopCRCInput, &b.crcIn)
	}
	switch {
	case r.short:
		return b, errAt(ErrTruncated, len(src), "lzop block header")
	case b.unpacked > lzopMaxBlock || b.packed > b.unpacked || b.packed == 0:
		return b, errAt(ErrCorrupt, pos, "lzop block of 0x%x bytes, 0x%x unpacked", b.packed, b.unpacked)
	}
	b.body = r.pos
	if uint64(b.packed) > uint64(len(src)-b.body) {
		return b, errAt(ErrTruncated, len(src), "lzop block has 0x%x of 0x%x bytes", len(src)-b.body, b.packed)
	}
	b.end = b.body + int(b.packed)
	return b, nil
}

// lzop decodes concatenated lzop files.
func (o Options) lzop(dst, src []byte) (Result, error) {
	var r Result
	for {
		f, err := lzopHeader(src, r.Read)
		if err != nil {
			return r, err
		}
		for pos := f.end; ; {
			b, err := f.block(src, pos)
			if err != nil {
				return r, err
			}
			if b.unpacked == 0 {
				r.Read = b.end
				break
			}
			if uint64(b.unpacked) > uint64(len(dst)-r.Written) {
				return r, errLimit(pos, len(dst))
			}
			out := dst[r.Written : r.Written+int(b.unpacked)]
			if err := f.decode(out, src, b); err != nil {
				return r, err
			}
			r.Written += len(out)
			pos = b.end
		}
		if !bytes.HasPrefix(src[r.Read:], []byte(magic.LZO)) {
			return r, nil
		}
	}
}

// decode decodes block b of src into out, which has the block's size.
func (f lzopFile) decode(out, src []byte, b lzopBlock) error {
	body := src[b.body:b.end]
	check := func(what string, flag, want uint32, sum func([]byte) uint32, data []byte) error {
		if f.flags&flag == 0 {
			return nil
		}
		if got := sum(data); got != want {
			return errAt(ErrCorrupt, b.body, "%s of the lzop block is 0x%08x, stored 0x%08x", what, got, want)
		}
		return nil
	}
	if b.packed == b.unpacked {
		copy(out, body)
	} else {
		if err := check("Adler-32", lzopAdlerInput, b.adlerIn, adler32.Checksum, body); err != nil {
			return err
		}
		if err := check("CRC32", lzopCRCInput, b.crcIn, crc32.ChecksumIEEE, body); err != nil {
			return err
		}
		n, err := lzo1x(out, body)
		if err != nil {
			return errAt(ErrCorrupt, b.body, "lzop block of 0x%x bytes: %v", b.packed, err)
		}
		if n != len(out) {
			return errAt(ErrCorrupt, b.body, "lzop block has 0x%x bytes, its header says 0x%x", n, len(out))
		}
	}
	if err := check("Adler-32", lzopAdlerOutput, b.adlerOut, adler32.Checksum, out); err != nil {
		return err
	}
	return check("CRC32", lzopCRCOutput, b.crcOut, crc32.ChecksumIEEE, out)
}

// lzopSize adds up the sizes of all blocks.
func lzopSize(src []byte) (uint64, bool) {
	var total uint64
	for pos := 0; ; {
		f, err := lzopHeader(src, pos)
		if err != nil {
			return 0, false
		}
		for pos = f.end; ; {
			b, err := f.block(src, pos)
			if err != nil {
				return 0, false
			}
			pos = b.end
			if b.unpacked == 0 {
				break
			}
			total += uint64(b.unpacked)
		}
		if !bytes.HasPrefix(src[pos:], []byte(magic.LZO)) {
			return total, true
		}
	}
}
