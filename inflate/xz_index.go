// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"encoding/binary"
	"hash/crc32"
)

// xzIndex reads the index at src[pos:] (section 4 of the .xz format) and
// returns its records and the offset behind it.
func xzIndex(src []byte, pos int) (*xzRecords, int, error) {
	start := pos
	if len(src)-pos < 1 || src[pos] != 0 {
		return nil, 0, errAt(ErrCorrupt, pos, "no xz index")
	}
	pos++
	var bad error
	vli := func() uint64 {
		if bad != nil {
			return 0
		}
		v, n := xzVLI(src[pos:])
		switch {
		case n == 0:
			bad = errAt(ErrTruncated, len(src), "xz index")
		case n < 0:
			bad = errAt(ErrCorrupt, pos, "xz index: malformed number")
		default:
			pos += n
		}
		return v
	}
	records := newXZRecords()
	count := vli()
	for records.count < count && bad == nil {
		unpadded, unpacked := vli(), vli()
		if bad == nil && (unpadded < 5 || unpadded > xzMaxVLI-3 || records.size+unpacked > xzMaxVLI) {
			bad = errAt(ErrCorrupt, pos, "xz index: record of 0x%x and 0x%x bytes", unpadded, unpacked)
		}
		records.add(unpadded, unpacked)
	}
	if bad != nil {
		return nil, 0, bad
	}
	pad := -(pos - start) & 3
	if len(src)-pos < pad+4 {
		return nil, 0, errAt(ErrTruncated, len(src), "xz index")
	}
	for _, c := range src[pos : pos+pad] {
		if c != 0 {
			return nil, 0, errAt(ErrCorrupt, pos, "xz index padding is not zero")
		}
	}
	pos += pad
	if want, got := binary.LittleEndian.Uint32(src[pos:]), crc32.ChecksumIEEE(src[start:pos]); want != got {
		return nil, 0, errAt(ErrCorrupt, pos, "CRC32 of the xz index is 0x%08x, stored 0x%08x", got, want)
	}
	return records, pos + 4, nil
}

// xzFooter checks the stream footer b, found at offset off. It returns the size
// of the index before it in bytes and the check of the stream.
func xzFooter(b []byte, off int) (backward uint64, check byte, err error) {
	if string(b[10:12]) != xzMagicEnd {
		return 0, 0, errAt(ErrCorrupt, off+10, "no xz footer magic")
	}
	if want, got := binary.LittleEndian.Uint32(b), crc32.ChecksumIEEE(b[4:10]); want != got {
		return 0, 0, errAt(ErrCorrupt, off, "CRC32 of the xz stream footer is 0x%08x, stored 0x%08x", got, want)
	}
	check, err = xzStreamFlags(b[8:10], off+8)
	return (uint64(binary.LittleEndian.Uint32(b[4:])) + 1) * 4, check, err
}

// xzSize adds up the sizes in the indexes of src, from its end backwards.
func xzSize(src []byte) (uint64, bool) {
	var total uint64
	for end := len(src); end > 0; {
		for end >= 4 && binary.LittleEndian.Uint32(src[end-4:]) == 0 {
			end -= 4
		}
		if end < 2*xzHeaderSize {
			return 0, false
		}
		foot := end - xzHeaderSize
		backward, _, err := xzFooter(src[foot:end], foot)
		if err != nil || backward > uint64(foot-xzHeaderSize) {
			return 0, false
		}
		index := foot - int(backward)
		records, after, err := xzIndex(src[:foot], index)
		if err != nil || after != foot || total+records.size > xzMaxVLI {
			return 0, false
		}
		total += records.size
		// The blocks' sizes say where the stream begins.
		start := uint64(index)
		if records.blocks > start-xzHeaderSize {
			return 0, false
		}
		end = int(start - xzHeaderSize - records.blocks)
	}
	return total, len(src) > 0
}
