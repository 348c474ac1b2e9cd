// SPDX-License-Identifier: Apache-2.0

package inflate

import "encoding/binary"

// Bits of the FLG byte of an LZ4 frame descriptor.
const (
	lz4Version       = 0xC0 // must be 01
	lz4Independent   = 0x20
	lz4BlockChecksum = 0x10
	lz4ContentSize   = 0x08
	lz4Checksum      = 0x04
	lz4FlagReserved  = 0x02
	lz4DictID        = 0x01
)

// lz4Header is a decoded LZ4 frame descriptor.
type lz4Header struct {
	end      int // offset behind the descriptor
	flags    byte
	maxBlock int    // bytes of content
	content  uint64 // bytes, if flags has lz4ContentSize
}

func lz4ReadHeader(src []byte, pos int) (lz4Header, error) {
	var h lz4Header
	b := src[pos:]
	if len(b) < 7 {
		return h, errAt(ErrTruncated, len(src), "LZ4 frame header has %d of at least 7 bytes", len(b))
	}
	h.flags = b[4]
	bd := b[5]
	if h.flags&lz4Version != 0x40 || h.flags&lz4FlagReserved != 0 || bd&0x8F != 0 || bd>>4 < 4 {
		return h, errAt(ErrUnsupported, pos+4, "LZ4 frame descriptor 0x%02x%02x", h.flags, bd)
	}
	h.maxBlock = 1 << (8 + 2*(bd>>4)) // 4: 64 KiB ... 7: 4 MiB
	n := 6
	if h.flags&lz4ContentSize != 0 {
		n += 8
	}
	if h.flags&lz4DictID != 0 {
		n += 4
	}
	if len(b) <= n {
		return h, errAt(ErrTruncated, len(src), "LZ4 frame header has %d of %d bytes", len(b), n+1)
	}
	if got := byte(xxh32(b[4:n]) >> 8); got != b[n] {
		return h, errAt(ErrCorrupt, pos+n, "checksum of the LZ4 frame header is 0x%02x, stored 0x%02x", got, b[n])
	}
	if h.flags&lz4ContentSize != 0 {
		h.content = binary.LittleEndian.Uint64(b[6:])
	}
	h.end = pos + n + 1
	return h, nil
}

// lz4Frame decodes the LZ4 frame at src[r.Read:].
func lz4Frame(dst, src []byte, r *Result) error {
	h, err := lz4ReadHeader(src, r.Read)
	if err != nil {
		return err
	}
	if h.flags&lz4DictID != 0 {
		return errAt(ErrUnsupported, r.Read, "LZ4 dictionary")
	}
	if h.flags&lz4ContentSize != 0 && h.content > uint64(len(dst)-r.Written) {
		return errLimit(r.Read, len(dst))
	}
	start, pos := r.Written, h.end
	word := func(what string) (uint32, error) {
		if len(src)-pos < 4 {
			return 0, errAt(ErrTruncated, len(src), "LZ4 %s", what)
		}
		pos += 4
		return binary.LittleEndian.Uint32(src[pos-4:]), nil
	}
	for {
		size, err := word("block size")
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		stored := size>>31 != 0
		size &= 1<<31 - 1
		if uint64(size) > uint64(h.maxBlock) {
			return errAt(ErrCorrupt, pos-4, "LZ4 block of 0x%x bytes, at most 0x%x", size, h.maxBlock)
		}
		if uint64(size) > uint64(len(src)-pos) {
			return errAt(ErrTruncated, len(src), "LZ4 block has 0x%x of 0x%x bytes", len(src)-pos, size)
		}
		body := pos
		block := src[body : body+int(size)]
		pos += int(size)
		if h.flags&lz4BlockChecksum != 0 {
			want, err := word("block checksum")
			if err != nil {
				return err
			}
			if got := xxh32(block); got != want {
				return errAt(ErrCorrupt, pos-4, "checksum of the LZ4 block is 0x%08x, stored 0x%08x", got, want)
			}
		}
		if stored {
			if len(block) > len(dst)-r.Written {
				return errLimit(body, len(dst))
			}
			r.Written += copy(dst[r.Written:], block)
			continue
		}
		window := r.Written
		if h.flags&lz4Independent == 0 {
			window = start
		}
		n, err := lz4Block(dst, window, r.Written, h.maxBlock, block, body)
		r.Written += n
		if err != nil {
			return err
		}
	}
	if n := uint64(r.Written - start); h.flags&lz4ContentSize != 0 && n != h.content {
		return errAt(ErrCorrupt, pos, "LZ4 frame has 0x%x bytes, its header says 0x%x", n, h.content)
	}
	if h.flags&lz4Checksum != 0 {
		want, err := word("content checksum")
		if err != nil {
			return err
		}
		if got := xxh32(dst[start:r.Written]); got != want {
			return errAt(ErrCorrupt, pos-4, "checksum of the LZ4 frame is 0x%08x, stored 0x%08x", got, want)
		}
	}
	r.Read = pos
	return nil
}

// lz4Size returns the content size of a frame, if it begins src and says so.
func lz4Size(src []byte) (uint64, bool) {
	if len(src) < 4 || binary.LittleEndian.Uint32(src) != lz4FrameMagic {
		return 0, false
	}
	h, err := lz4ReadHeader(src, 0)
	if err != nil || h.flags&lz4ContentSize == 0 {
		return 0, false
	}
	return h.content, true
}
