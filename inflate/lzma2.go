// SPDX-License-Identifier: Apache-2.0

package inflate

import "encoding/binary"

// Control bytes of LZMA2 chunks (LZMA SDK, Lzma2Dec.c; XZ Utils,
// lzma2_decoder.c).
const (
	lzma2End       = 0x00
	lzma2CopyReset = 0x01 // stored, dictionary reset
	lzma2Copy      = 0x02 // stored
	lzma2LZMA      = 0x80 // lowest value of a compressed chunk
	lzma2State     = 0xA0 // compressed, state reset
	lzma2Props     = 0xC0 // compressed, state reset, new properties
	lzma2Dict      = 0xE0 // compressed, state reset, new properties, dictionary reset
)

// lzma2 decodes LZMA2 chunks from src[pos:] into dst[out:] up to and with the
// end marker. It returns the positions behind what it read and wrote. A
// dictionary is never older than out: that is where a block begins.
func (d *lzmaDecoder) lzma2(dst []byte, out int, src []byte, pos int) (int, int, error) {
	var (
		window    = out
		needDict  = true
		needProps = true
	)
	for {
		if pos >= len(src) {
			return pos, out, errAt(ErrTruncated, len(src), "LZMA2 chunk header")
		}
		at, control := pos, src[pos]
		if control == lzma2End {
			return pos + 1, out, nil
		}
		if control > lzma2Copy && control < lzma2LZMA {
			return pos, out, errAt(ErrCorrupt, pos, "LZMA2 control byte 0x%02x", control)
		}
		header := 3
		if control >= lzma2LZMA {
			header = 5
			if control >= lzma2Props {
				header = 6
			}
		}
		if len(src)-pos < header {
			return pos, out, errAt(ErrTruncated, len(src), "LZMA2 chunk header has %d of %d bytes", len(src)-pos, header)
		}
		h := src[pos : pos+header]
		pos += header

		if control >= lzma2Dict || control == lzma2CopyReset {
			needDict, needProps = false, true
			window = out
		} else if needDict {
			return pos, out, errAt(ErrCorrupt, at, "first LZMA2 chunk 0x%02x does not reset the dictionary", control)
		}

		if control < lzma2LZMA {
			n := int(binary.BigEndian.Uint16(h[1:])) + 1
			if n > len(dst)-out {
				return pos, out, errLimit(at, len(dst))
			}
			k := copy(dst[out:out+n], src[pos:])
			pos += k
			out += k
			if k < n {
				return pos, out, errAt(ErrTruncated, len(src), "stored LZMA2 chunk has 0x%x of 0x%x bytes", k, n)
			}
			continue
		}

		unpacked := int(control&0x1F)<<16 + int(binary.BigEndian.Uint16(h[1:])) + 1
		packed := int(binary.BigEndian.Uint16(h[3:])) + 1
		if control >= lzma2Props {
			lc, lp, pb, ok := lzmaProps(h[5])
			if !ok || lc+lp > 4 {
				return pos, out, errAt(ErrCorrupt, pos-1, "LZMA2 properties 0x%02x", h[5])
			}
			d.setProps(lc, lp, pb)
			needProps = false
		} else if needProps {
			return pos, out, errAt(ErrCorrupt, at, "LZMA2 chunk 0x%02x without properties", control)
		}
		if control >= lzma2State {
			d.reset()
		}
		if unpacked > len(dst)-out {
			return pos, out, errLimit(at, len(dst))
		}
		short := len(src)-pos < packed
		chunk := src[pos:min(len(src), pos+packed)]
		if !d.startRange(chunk) {
			if short && (len(chunk) == 0 || chunk[0] == 0) {
				return pos, out, errAt(ErrTruncated, len(src), "LZMA2 chunk")
			}
			return pos, out, errAt(ErrCorrupt, pos, "LZMA2 range coder")
		}
		end := out + unpacked
		used, o, stop := d.run(chunk, 5, dst, window, out, end)
		out = o
		if stop == lzmaFull {
			used = d.normalize(chunk, used)
		}
		switch {
		case stop == lzmaNoInput && short, stop == lzmaFull && used > len(chunk) && short:
			return pos, out, errAt(ErrTruncated, len(src), "LZMA2 chunk has 0x%x of 0x%x bytes", len(chunk), packed)
		case stop == lzmaBadRep:
			return pos, out, errAt(ErrCorrupt, pos+used, "LZMA2 distance before the dictionary, output 0x%x", out)
		case stop != lzmaFull || used != packed || d.code != 0:
			return pos, out, errAt(ErrCorrupt, pos, "LZMA2 chunk of 0x%x bytes does not end where its header says", packed)
		}
		pos += packed
	}
}
