// SPDX-License-Identifier: Apache-2.0

package inflate

import "math/bits"

// rcNorm refills the range. Past the end of src it goes on with zero bytes and
// still counts pos up: run looks at pos once per symbol.
func rcNorm(src []byte, pos int, rng, code uint32) (int, uint32, uint32) {
	if rng < rcTop {
		rng <<= 8
		code <<= 8
		if uint(pos) < uint(len(src)) {
			code |= uint32(src[pos])
		}
		pos++
	}
	return pos, rng, code
}

// rcBit decodes one bit without a branch. m is all ones for a 0 and zero for a 1.
func rcBit(prob, rng, code uint32) (newProb uint16, newRng, newCode, m uint32) {
	bound := (rng >> rcModelBits) * prob
	diff := uint64(code) - uint64(bound)
	m = uint32(diff >> 32)
	rest := rng - bound
	newRng = rest + ((bound - rest) & m)
	newCode = uint32(diff) + (bound & m)
	const up = (1<<rcMoveBits - 1) - rcModelOne
	mu := m & uint32(up&0xFFFFFFFF)
	newProb = uint16(prob - uint32(int32(prob+mu)>>rcMoveBits))
	return newProb, newRng, newCode, m
}

// lzmaLiteral decodes the eight bits of a literal that follows a literal.
func lzmaLiteral(src []byte, pos int, rng, code uint32, p *[lzmaLiteralSize]uint16) (int, uint32, uint32, uint32) {
	sym := uint32(1)
	for sym < 0x100 {
		pos, rng, code = rcNorm(src, pos, rng, code)
		var m uint32
		p[sym], rng, code, m = rcBit(uint32(p[sym]), rng, code)
		sym = sym<<1 + 1 + m
	}
	return pos, rng, code, sym
}

// lzmaMatchedLiteral decodes a literal that follows a match; match is the byte
// at distance rep0, whose bits choose the sub-model as long as they agree.
func lzmaMatchedLiteral(src []byte, pos int, rng, code uint32, p *[lzmaLiteralSize]uint16, match uint32) (int, uint32, uint32, uint32) {
	offs := uint32(0x100)
	sym := uint32(1)
	for sym < 0x100 {
		match <<= 1
		bit := match & offs
		pos, rng, code = rcNorm(src, pos, rng, code)
		i := offs + bit + sym
		if i >= lzmaLiteralSize {
			break
		}
		var m uint32
		p[i], rng, code, m = rcBit(uint32(p[i]), rng, code)
		sym = sym<<1 + 1 + m
		// Keep offs if the decoded bit equals the match bit, else drop it.
		offs &= bit ^ m
	}
	return pos, rng, code, sym
}

// lzmaTree8 decodes eight bits, most significant first.
func lzmaTree8(src []byte, pos int, rng, code uint32, p *[256]uint16) (int, uint32, uint32, uint32) {
	sym := uint32(1)
	for sym < 0x100 {
		pos, rng, code = rcNorm(src, pos, rng, code)
		var m uint32
		p[sym], rng, code, m = rcBit(uint32(p[sym]), rng, code)
		sym = sym<<1 + 1 + m
	}
	return pos, rng, code, sym - 0x100
}

// lzmaTree6 decodes six bits, most significant first.
func lzmaTree6(src []byte, pos int, rng, code uint32, p *[64]uint16) (int, uint32, uint32, uint32) {
	sym := uint32(1)
	for sym < 64 {
		pos, rng, code = rcNorm(src, pos, rng, code)
		var m uint32
		p[sym], rng, code, m = rcBit(uint32(p[sym]), rng, code)
		sym = sym<<1 + 1 + m
	}
	return pos, rng, code, sym - 64
}

// lzmaReverse decodes n bits, least significant first, with the tree that
// begins at base.
func lzmaReverse(src []byte, pos int, rng, code uint32, p *[256]uint16, base, n uint32) (int, uint32, uint32, uint32) {
	sym, val := uint32(1), uint32(0)
	for i := uint32(0); i < n; i++ {
		pos, rng, code = rcNorm(src, pos, rng, code)
		var m uint32
		k := uint8(base + sym)
		p[k], rng, code, m = rcBit(uint32(p[k]), rng, code)
		sym = sym<<1 + 1 + m
		val |= (1 + m) << (i & 31)
	}
	return pos, rng, code, val
}

// lzmaLen decodes a length (minus lzmaMatchMinLen).
func lzmaLen(src []byte, pos int, rng, code uint32, l *lzmaLength, posState uint32) (int, uint32, uint32, uint32) {
	pos, rng, code = rcNorm(src, pos, rng, code)
	var m uint32
	l.choice, rng, code, m = rcBit(uint32(l.choice), rng, code)
	p, add := &l.low, uint32(0)
	if m == 0 {
		pos, rng, code = rcNorm(src, pos, rng, code)
		l.choice2, rng, code, m = rcBit(uint32(l.choice2), rng, code)
		if m == 0 {
			var n uint32
			pos, rng, code, n = lzmaTree8(src, pos, rng, code, &l.high)
			return pos, rng, code, n + 16
		}
		p, add = &l.mid, 8
	}
	base := posState << 3
	sym := uint32(1)
	for sym < 8 {
		pos, rng, code = rcNorm(src, pos, rng, code)
		k := uint8(base + sym)
		p[k], rng, code, m = rcBit(uint32(p[k]), rng, code)
		sym = sym<<1 + 1 + m
	}
	return pos, rng, code, sym - 8 + add
}

// lzmaDirect decodes n bits of fixed probability.
func lzmaDirect(src []byte, pos int, rng, code, n uint32) (int, uint32, uint32, uint32) {
	var v uint32
	for ; n > 0; n-- {
		pos, rng, code = rcNorm(src, pos, rng, code)
		rng >>= 1
		code -= rng
		m := uint32(int32(code) >> 31) // all ones for a 0
		code += rng & m
		v = v<<1 + 1 + m
	}
	return pos, rng, code, v
}

// run decodes symbols from src, starting at pos, into dst[out:limit]; matches
// may reach back to dst[windowStart]. It returns the position in src, the
// position in dst and why it stopped. limit is at most len(dst).
func (d *lzmaDecoder) run(src []byte, pos int, dst []byte, windowStart, out, limit int) (int, int, lzmaStop) {
	var (
		m         = &d.model
		rng, code = d.rng, d.code
		state     = d.state
		rep0      = d.rep0
		pbMask    = uint32(1)<<d.pb - 1
		lpMask    = uint32(1)<<d.lp - 1
		lc        = uint32(d.lc)
		literal   = d.literal
		stop      = lzmaFull
		mask      uint32
		length    uint32
	)
	// Positions are counted from the start of the stream's window.
	win := dst[windowStart:limit]
	o := out - windowStart

decode:
	for o < len(win) {
		if pos > len(src) {
			stop = lzmaNoInput
			break
		}
		posState := uint32(o) & pbMask
		k := uint8(state<<4 + posState)

		pos, rng, code = rcNorm(src, pos, rng, code)
		prob := uint32(m.isMatch[k])
		bound := (rng >> rcModelBits) * prob
		if code < bound {
			rng = bound
			m.isMatch[k] = uint16(prob + (rcModelOne-prob)>>rcMoveBits)

			var prev uint32
			if o > 0 {
				prev = uint32(win[o-1])
			}
			ctx := (uint32(o)&lpMask)<<lc + prev>>(8-lc)
			p := (*[lzmaLiteralSize]uint16)(literal[uint(ctx)*lzmaLiteralSize:])
			var sym uint32
			if state < lzmaLitStates {
				pos, rng, code, sym = lzmaLiteral(src, pos, rng, code, p)
				if state < 4 {
					state = 0
				} else {
					state -= 3
				}
			} else {
				at := o - int(rep0) - 1
				if uint(at) >= uint(len(win)) {
					stop = lzmaBadRep
					break
				}
				pos, rng, code, sym = lzmaMatchedLiteral(src, pos, rng, code, p, uint32(win[at]))
				if state < 10 {
					state -= 3
				} else {
					state -= 6
				}
			}
			win[o] = byte(sym)
			o++
			continue
		}
		rng -= bound
		code -= bound
		m.isMatch[k] = uint16(prob - prob>>rcMoveBits)

		s := state & 15
		pos, rng, code = rcNorm(src, pos, rng, code)
		m.isRep[s], rng, code, mask = rcBit(uint32(m.isRep[s]), rng, code)
		if mask != 0 {
			// A match with a distance of its own.
			d.rep3, d.rep2, d.rep1 = d.rep2, d.rep1, rep0
			pos, rng, code, length = lzmaLen(src, pos, rng, code, &m.matchLen, posState)
			var slot uint32
			pos, rng, code, slot = lzmaTree6(src, pos, rng, code, &m.slot[min(length, 3)])
			switch {
			case slot < lzmaStartPosModel:
				rep0 = slot
			case slot < lzmaEndPosModel:
				n := slot>>1 - 1
				base := (2 | slot&1) << n
				var low uint32
				pos, rng, code, low = lzmaReverse(src, pos, rng, code, &m.special, base-slot, n)
				rep0 = base + low
			default:
				n := slot>>1 - 1
				var v uint32
				pos, rng, code, v = lzmaDirect(src, pos, rng, code, n-lzmaAlignBits)
				rep0 = (2|slot&1)<<n + v<<lzmaAlignBits
				sym := uint32(1)
				for i := uint32(0); i < lzmaAlignBits; i++ {
					pos, rng, code = rcNorm(src, pos, rng, code)
					m.align[sym&15], rng, code, mask = rcBit(uint32(m.align[sym&15]), rng, code)
					sym = sym<<1 + 1 + mask
				}
				rep0 += uint32(bits.Reverse8(uint8(sym << 4)))
				if rep0 == 0xFFFFFFFF {
					stop = lzmaEnd
					pos, rng, code = rcNorm(src, pos, rng, code)
					break decode
				}
			}
			if state < lzmaLitStates {
				state = 7
			} else {
				state = 10
			}
		} else {
			pos, rng, code = rcNorm(src, pos, rng, code)
			m.isRep0[s], rng, code, mask = rcBit(uint32(m.isRep0[s]), rng, code)
			if mask != 0 {
				pos, rng, code = rcNorm(src, pos, rng, code)
				m.isRep0Long[k], rng, code, mask = rcBit(uint32(m.isRep0Long[k]), rng, code)
				if mask != 0 {
					at := o - int(rep0) - 1
					if uint(at) >= uint(len(win)) {
						stop = lzmaBadRep
						break
					}
					win[o] = win[at]
					o++
					if state < lzmaLitStates {
						state = 9
					} else {
						state = 11
					}
					continue
				}
			} else {
				pos, rng, code = rcNorm(src, pos, rng, code)
				m.isRep1[s], rng, code, mask = rcBit(uint32(m.isRep1[s]), rng, code)
				dist := d.rep1
				if mask == 0 {
					pos, rng, code = rcNorm(src, pos, rng, code)
					m.isRep2[s], rng, code, mask = rcBit(uint32(m.isRep2[s]), rng, code)
					dist = d.rep2
					if mask == 0 {
						dist = d.rep3
						d.rep3 = d.rep2
					}
					d.rep2 = d.rep1
				}
				d.rep1 = rep0
				rep0 = dist
			}
			pos, rng, code, length = lzmaLen(src, pos, rng, code, &m.repLen, posState)
			if state < lzmaLitStates {
				state = 8
			} else {
				state = 11
			}
		}

		n := int(length) + lzmaMatchMinLen
		dist := int(rep0) + 1
		if dist > o {
			stop = lzmaBadRep
			break
		}
		if n > len(win)-o {
			stop = lzmaOverLimit
			break
		}
		copyMatch(win, o, dist, n)
		o += n
	}
	if pos > len(src) {
		stop = lzmaNoInput
	}
	d.rng, d.code, d.state, d.rep0 = rng, code, state, rep0
	return pos, windowStart + o, stop
}

// normalize refills the range after the last symbol, which is when all bytes of
// a complete stream have been read.
func (d *lzmaDecoder) normalize(src []byte, pos int) int {
	pos, d.rng, d.code = rcNorm(src, pos, d.rng, d.code)
	return pos
}

// endMarker decodes one symbol more than dst[:out] has room for. It returns
// lzmaEnd if that is the end marker, else lzmaNoInput or lzmaOverLimit.
func (d *lzmaDecoder) endMarker(src []byte, pos int, dst []byte, out int) (int, lzmaStop) {
	// The position inside dst chooses the sub-models, so the symbol is decoded
	// in a copy of the last bytes whose offset agrees in the bits that count.
	// A literal or short match fills the room of one byte, others overrun it;
	// a distance may be taken for too large, but never for the marker.
	const span = 1 << 4
	var buf [3*span + 1]byte
	at := 2*span + out%span
	if out < at {
		at = out
	}
	copy(buf[:at], dst[out-at:out])
	pos, _, stop := d.run(src, pos, buf[:], 0, at, at+1)
	if stop == lzmaFull || stop == lzmaBadRep {
		stop = lzmaOverLimit
	}
	return pos, stop
}

// copyMatch copies n bytes within b from o-dist to o, byte by byte where the
// two overlap. 0 < dist <= o and o+n <= len(b).
func copyMatch(b []byte, o, dist, n int) {
	to := b[o : o+n]
	from := b[o-dist:]
	if dist >= n {
		copy(to, from)
		return
	}
	// The period doubles with every copy.
	for len(to) > 0 {
		k := copy(to, from[:dist])
		to = to[k:]
		dist += k
	}
}
