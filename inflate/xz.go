// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"

	"github.com/peelboot/peel/internal/magic"
)

// Sizes in bytes and numbers of the .xz file format, version 1.2.1.
const (
	xzHeaderSize = 12 // stream header and stream footer alike
	xzMagicEnd   = "YZ"

	xzCheckNone   = 0
	xzCheckCRC32  = 1
	xzCheckCRC64  = 4
	xzCheckSHA256 = 10

	xzHasPacked   = 0x40 // block flags: compressed size present
	xzHasUnpacked = 0x80 // block flags: uncompressed size present
	xzReserved    = 0x3C

	xzMaxVLI = 1<<63 - 1
)

// xzCheckSize returns the size in bytes of check field id (section 2.1.1.2).
func xzCheckSize(id byte) int {
	if id == xzCheckNone {
		return 0
	}
	return 4 << ((id - 1) / 3)
}

// xzRecords stands for the list of block sizes that the index repeats: two
// lists are the same if their counts and digests are. Memory thus does not grow
// with the number of blocks.
type xzRecords struct {
	count  uint64
	size   uint64 // of the output
	blocks uint64 // of the blocks with their padding
	sum    hash.Hash
}

func newXZRecords() *xzRecords { return &xzRecords{sum: sha256.New()} }

func (x *xzRecords) add(unpadded, unpacked uint64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], unpadded)
	binary.LittleEndian.PutUint64(b[8:], unpacked)
	x.sum.Write(b[:])
	x.count++
	x.size += unpacked
	x.blocks += (unpadded + 3) &^ 3
}

func (x *xzRecords) equal(y *xzRecords) bool {
	return x.count == y.count && x.size == y.size && bytes.Equal(x.sum.Sum(nil), y.sum.Sum(nil))
}

// xzVLI reads a number of up to nine groups of seven bits (section 1.2) and
// returns how many bytes it took; 0 if b ends before it does, -1 if it is
// longer than it may or needs to be.
func xzVLI(b []byte) (uint64, int) {
	var v uint64
	for i, c := range b[:min(len(b), 9)] {
		v |= uint64(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, -1
			}
			return v, i + 1
		}
	}
	if len(b) >= 9 {
		return 0, -1
	}
	return 0, 0
}

// xz decodes concatenated .xz streams and the zero padding between them.
func (o Options) xz(dst, src []byte) (Result, error) {
	var (
		r Result
		d lzmaDecoder
	)
	for {
		if err := o.xzStream(&d, dst, src, &r); err != nil {
			return r, err
		}
		// Padding counts if another stream or the end of the input follows.
		next := r.Read
		for next < len(src) && src[next] == 0 {
			next++
		}
		if (next-r.Read)%4 != 0 {
			return r, nil
		}
		if next == len(src) {
			r.Read = next
			return r, nil
		}
		if !bytes.HasPrefix(src[next:], []byte(magic.XZ)) {
			return r, nil
		}
		r.Read = next
	}
}

// xzStreamFlags checks the two flag bytes b, found at offset off, and returns
// the id of the check.
func xzStreamFlags(b []byte, off int) (byte, error) {
	if b[0] != 0 || b[1]&0xF0 != 0 {
		return 0, errAt(ErrUnsupported, off, "xz stream flags 0x%02x%02x", b[0], b[1])
	}
	return b[1], nil
}

// xzStream decodes the stream at src[r.Read:] and moves r on.
func (o Options) xzStream(d *lzmaDecoder, dst, src []byte, r *Result) error {
	start := r.Read
	head := src[start:]
	if !bytes.HasPrefix(head, []byte(magic.XZ)[:min(len(head), len(magic.XZ))]) {
		return errAt(ErrCorrupt, start, "no xz magic")
	}
	if len(head) < xzHeaderSize {
		return errAt(ErrTruncated, len(src), "xz stream header has %d of %d bytes", len(head), xzHeaderSize)
	}
	if want, got := binary.LittleEndian.Uint32(head[8:]), crc32.ChecksumIEEE(head[6:8]); want != got {
		return errAt(ErrCorrupt, start+8, "CRC32 of the xz stream header is 0x%08x, stored 0x%08x", got, want)
	}
	check, err := xzStreamFlags(head[6:8], start+6)
	if err != nil {
		return err
	}
	switch check {
	case xzCheckNone, xzCheckCRC32, xzCheckCRC64, xzCheckSHA256:
	default:
		return errAt(ErrUnsupported, start+7, "xz check 0x%x", check)
	}

	pos, out := start+xzHeaderSize, r.Written
	blocks := newXZRecords()
	for {
		if pos >= len(src) {
			return errAt(ErrTruncated, len(src), "xz block header")
		}
		if src[pos] == 0 {
			break
		}
		b, err := o.xzBlockHeader(src, pos)
		if err != nil {
			return err
		}
		if b.unpacked > uint64(len(dst)-out) && b.hasUnpacked {
			return errLimit(pos, len(dst))
		}
		body := pos + b.headerSize
		end, o2, err := d.lzma2(dst, out, src, body)
		r.Written = o2
		if err != nil {
			return err
		}
		packed, unpacked := uint64(end-body), uint64(o2-out)
		if b.hasPacked && b.packed != packed || b.hasUnpacked && b.unpacked != unpacked {
			return errAt(ErrCorrupt, pos, "xz block has 0x%x bytes packed, 0x%x unpacked, its header says otherwise", packed, unpacked)
		}
		for i := len(b.filters) - 1; i >= 0; i-- {
			b.filters[i].decode(dst[out:o2])
		}
		blocks.add(uint64(end-pos)+uint64(xzCheckSize(check)), unpacked)

		pad := -(end - pos) & 3
		if len(src)-end < pad+xzCheckSize(check) {
			return errAt(ErrTruncated, len(src), "xz block check")
		}
		for _, c := range src[end : end+pad] {
			if c != 0 {
				return errAt(ErrCorrupt, end, "xz block padding is not zero")
			}
		}
		end += pad
		if err := xzVerify(check, dst[out:o2], src[end:], end); err != nil {
			return err
		}
		pos, out = end+xzCheckSize(check), o2
	}

	index := pos
	records, end, err := xzIndex(src, index)
	if err != nil {
		return err
	}
	if !records.equal(blocks) {
		return errAt(ErrCorrupt, index, "xz index of %d blocks, 0x%x bytes does not describe the %d blocks, 0x%x bytes before it",
			records.count, records.size, blocks.count, blocks.size)
	}
	if len(src)-end < xzHeaderSize {
		return errAt(ErrTruncated, len(src), "xz stream footer has %d of %d bytes", len(src)-end, xzHeaderSize)
	}
	backward, footCheck, err := xzFooter(src[end:end+xzHeaderSize], end)
	if err != nil {
		return err
	}
	if footCheck != check || backward != uint64(end-index) {
		return errAt(ErrCorrupt, end, "xz stream footer does not match header or index")
	}
	r.Read = end + xzHeaderSize
	return nil
}

// xzVerify compares the check of data with the one stored at the start of
// field, which lies at offset off.
func xzVerify(check byte, data, field []byte, off int) error {
	switch check {
	case xzCheckCRC32:
		if want, got := binary.LittleEndian.Uint32(field), crc32.ChecksumIEEE(data); want != got {
			return errAt(ErrCorrupt, off, "CRC32 of the block is 0x%08x, stored 0x%08x", got, want)
		}
	case xzCheckCRC64:
		if want, got := binary.LittleEndian.Uint64(field), crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)); want != got {
			return errAt(ErrCorrupt, off, "CRC64 of the block is 0x%016x, stored 0x%016x", got, want)
		}
	case xzCheckSHA256:
		if got := sha256.Sum256(data); !bytes.Equal(got[:], field[:sha256.Size]) {
			return errAt(ErrCorrupt, off, "SHA-256 of the block is %x, stored %x", got, field[:sha256.Size])
		}
	}
	return nil
}
