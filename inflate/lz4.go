// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"encoding/binary"

	"github.com/pierrec/lz4/v4"

	"github.com/peelboot/peel/internal/magic"
)

const (
	lz4FrameMagic  = 0x184D2204
	lz4LegacyMagic = 0x184C2102

	lz4LegacyBlock = 8 << 20 // content of a legacy block, but for the last
	lz4Window      = 64 << 10
)

// lz4LegacyBound is the largest size a legacy block can have in the input: the
// worst case of LZ4 for 8 MiB.
const lz4LegacyBound = lz4LegacyBlock + lz4LegacyBlock/255 + 16

// lz4 decodes concatenated LZ4 frames, legacy frames and skippable frames (LZ4
// frame format description, version 1.6.2).
func (o Options) lz4(dst, src []byte) (Result, error) {
	var r Result
	for {
		rest := src[r.Read:]
		if n, ok := magic.Skippable(rest); ok {
			if n > uint64(len(rest)) {
				return r, errAt(ErrTruncated, len(src), "skippable frame has 0x%x of 0x%x bytes", len(rest), n)
			}
			r.Read += int(n)
			continue
		}
		var magic uint32
		if len(rest) >= 4 {
			magic = binary.LittleEndian.Uint32(rest)
		}
		var err error
		switch {
		case magic == lz4FrameMagic:
			err = lz4Frame(dst, src, &r)
		case magic == lz4LegacyMagic:
			err = lz4Legacy(dst, src, &r)
		case r.Read > 0:
			return r, nil
		case len(rest) < 4:
			err = errAt(ErrTruncated, len(src), "LZ4 magic")
		default:
			err = errAt(ErrCorrupt, 0, "no LZ4 magic")
		}
		if err != nil {
			return r, err
		}
	}
}

// lz4Legacy decodes a legacy frame: blocks behind a 32-bit size each. The
// format has no end: a frame is over at the end of the input, at a number that
// cannot be a size, or at a number with nothing behind it, as which the
// kernel's size trailer shows.
func lz4Legacy(dst, src []byte, r *Result) error {
	pos := r.Read + 4
	for {
		rest := src[pos:]
		if len(rest) < 4 {
			break
		}
		size := binary.LittleEndian.Uint32(rest)
		if size == 0 || size > lz4LegacyBound || len(rest) == 4 {
			break
		}
		if uint64(size) > uint64(len(rest)-4) {
			return errAt(ErrTruncated, len(src), "LZ4 block has 0x%x of 0x%x bytes", len(rest)-4, size)
		}
		body := pos + 4
		n, err := lz4Block(dst, r.Written, r.Written, lz4LegacyBlock, src[body:body+int(size)], body)
		r.Written += n
		if err != nil {
			return err
		}
		pos = body + int(size)
	}
	r.Read = pos
	return nil
}

// lz4Block decodes one block of at most maxSize bytes of content to dst[out:].
// Matches may reach back to dst[window]. off is the block's offset in the input.
func lz4Block(dst []byte, window, out, maxSize int, block []byte, off int) (int, error) {
	dict := dst[max(window, out-lz4Window):out]
	room := dst[out:]
	fits := len(room) >= maxSize
	if fits {
		room = room[:maxSize:maxSize]
	}
	n, err := lz4.UncompressBlockWithDict(block, room, dict)
	if err == nil && n >= 0 && n <= len(room) {
		clearOverrun(dst, out+n)
		return n, nil
	}
	if !fits {
		// Too large or broken: see what the block is with room enough, which is
		// 8 MiB at most; no byte of a block stands for more than 255.
		spare := make([]byte, min(maxSize, 255*len(block)))
		if n, err := lz4.UncompressBlockWithDict(block, spare, dict); err == nil && n > len(room) {
			return 0, errLimit(off, len(dst))
		}
	}
	return 0, errAt(ErrCorrupt, off, "LZ4 block of 0x%x bytes", len(block))
}
