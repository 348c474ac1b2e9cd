// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"encoding/binary"
	"hash/crc32"
)

// xzBlock is a decoded block header (section 3.1 of the .xz format).
type xzBlock struct {
	headerSize  int // bytes, with the CRC32
	packed      uint64
	unpacked    uint64
	hasPacked   bool
	hasUnpacked bool
	filters     []xzFilter // in the order in which they were applied, without LZMA2
}

// xzBlockHeader reads the block header at src[pos:], whose first byte is there
// and not zero.
func (o Options) xzBlockHeader(src []byte, pos int) (*xzBlock, error) {
	b := &xzBlock{headerSize: (int(src[pos]) + 1) * 4}
	if len(src)-pos < b.headerSize {
		return nil, errAt(ErrTruncated, len(src), "xz block header has %d of %d bytes", len(src)-pos, b.headerSize)
	}
	h := src[pos : pos+b.headerSize]
	crc := len(h) - 4
	if want, got := binary.LittleEndian.Uint32(h[crc:]), crc32.ChecksumIEEE(h[:crc]); want != got {
		return nil, errAt(ErrCorrupt, pos+crc, "CRC32 of the xz block header is 0x%08x, stored 0x%08x", got, want)
	}
	h = h[:crc]
	flags := h[1]
	if flags&xzReserved != 0 {
		return nil, errAt(ErrUnsupported, pos+1, "xz block flags 0x%02x", flags)
	}
	at := 2
	malformed := false
	vli := func() uint64 {
		v, n := xzVLI(h[at:])
		if n <= 0 {
			malformed = true
			return 0
		}
		at += n
		return v
	}
	if flags&xzHasPacked != 0 {
		b.hasPacked, b.packed = true, vli()
		malformed = malformed || b.packed == 0
	}
	if flags&xzHasUnpacked != 0 {
		b.hasUnpacked, b.unpacked = true, vli()
	}
	last := int(flags & 3)
	for i := 0; i <= last && !malformed; i++ {
		id, size := vli(), vli()
		if malformed || size > uint64(len(h)-at) {
			malformed = true
			break
		}
		props := h[at : at+int(size)]
		off := pos + at
		at += int(size)
		if i == last {
			if err := o.xzLZMA2(id, props, off); err != nil {
				return nil, err
			}
			continue
		}
		f, err := newXZFilter(id, props, off)
		if err != nil {
			return nil, err
		}
		b.filters = append(b.filters, f)
	}
	if malformed {
		return nil, errAt(ErrCorrupt, pos+at, "xz block header: malformed number or filter")
	}
	for _, c := range h[at:] {
		if c != 0 {
			return nil, errAt(ErrUnsupported, pos+at, "xz block header padding is not zero")
		}
	}
	return b, nil
}

// Filter ids of the .xz format (sections 5.3.1 to 5.3.3 and xz 5.4, 5.6).
const (
	xzDelta    = 0x03
	xzX86      = 0x04
	xzPowerPC  = 0x05
	xzIA64     = 0x06
	xzARM      = 0x07
	xzARMThumb = 0x08
	xzSPARC    = 0x09
	xzARM64    = 0x0A
	xzRISCV    = 0x0B
	xzLZMA2    = 0x21
)

// xzLZMA2 checks that the last filter of a chain is LZMA2 with a dictionary
// within the bound.
func (o Options) xzLZMA2(id uint64, props []byte, off int) error {
	if id != xzLZMA2 {
		return errAt(ErrUnsupported, off, "xz filter 0x%x as the last of the chain", id)
	}
	if len(props) != 1 || props[0] > 40 {
		return errAt(ErrCorrupt, off, "LZMA2 properties % x", props)
	}
	dict := uint64(1<<32 - 1)
	if p := props[0]; p < 40 {
		dict = uint64(2|p&1) << (p/2 + 11)
	}
	if dict > o.maxDictionary() {
		return errAt(ErrDictionary, off, "LZMA2 dictionary of 0x%x bytes, bound 0x%x", dict, o.maxDictionary())
	}
	return nil
}

// xzFilter is one filter of a chain other than LZMA2, ready to be undone.
type xzFilter struct {
	id    uint64
	start uint32 // position of the first byte, for branch filters
	delta int    // distance in bytes, for delta
}

// newXZFilter checks the properties of a filter.
func newXZFilter(id uint64, props []byte, off int) (xzFilter, error) {
	f := xzFilter{id: id}
	var align uint32
	switch id {
	case xzDelta:
		if len(props) != 1 {
			return f, errAt(ErrCorrupt, off, "delta filter with %d bytes of properties", len(props))
		}
		f.delta = int(props[0]) + 1
		return f, nil
	case xzX86:
		align = 1
	case xzARMThumb, xzRISCV:
		align = 2
	case xzPowerPC, xzARM, xzSPARC, xzARM64:
		align = 4
	case xzIA64:
		align = 16
	default:
		return f, errAt(ErrUnsupported, off, "xz filter 0x%x", id)
	}
	switch len(props) {
	case 0:
	case 4:
		f.start = binary.LittleEndian.Uint32(props)
	default:
		return f, errAt(ErrCorrupt, off, "xz filter 0x%x with %d bytes of properties", id, len(props))
	}
	if f.start%align != 0 {
		return f, errAt(ErrCorrupt, off, "xz filter 0x%x starts at 0x%x, not a multiple of %d", id, f.start, align)
	}
	return f, nil
}

// decode undoes the filter on the whole of a block, in place.
func (f xzFilter) decode(b []byte) {
	switch f.id {
	case xzDelta:
		undoDelta(b, f.delta)
	case xzX86:
		undoX86(b, f.start)
	case xzPowerPC:
		undoPowerPC(b, f.start)
	case xzIA64:
		undoIA64(b, f.start)
	case xzARM:
		undoARM(b, f.start)
	case xzARMThumb:
		undoARMThumb(b, f.start)
	case xzSPARC:
		undoSPARC(b, f.start)
	case xzARM64:
		undoARM64(b, f.start)
	case xzRISCV:
		undoRISCV(b, f.start)
	}
}
