// SPDX-License-Identifier: Apache-2.0

package inflate

// The numbers of the LZMA model (LZMA specification by Igor Pavlov,
// "lzma-specification.txt" in the LZMA SDK).
const (
	rcTop       = 1 << 24 // the range is refilled below this value
	rcModelBits = 11
	rcModelOne  = 1 << rcModelBits
	rcMoveBits  = 5

	lzmaProbInit = rcModelOne / 2

	lzmaMatchMinLen   = 2
	lzmaLiteralSize   = 0x300
	lzmaLitStates     = 7 // states below this one follow a literal
	lzmaStartPosModel = 4
	lzmaEndPosModel   = 14
	lzmaAlignBits     = 4
)

// lzmaLength is the model of one length coder: a choice between 3, 3 and 8 bits.
type lzmaLength struct {
	choice  uint16
	choice2 uint16
	low     [256]uint16 // posState<<3 | node; 128 used
	mid     [256]uint16
	high    [256]uint16
}

// lzmaModel holds all adaptive probabilities but those of the literals. Arrays
// are as long as their index type can reach, so that no index needs a check.
type lzmaModel struct {
	isMatch    [256]uint16 // state<<4 | posState
	isRep0Long [256]uint16
	isRep      [16]uint16
	isRep0     [16]uint16
	isRep1     [16]uint16
	isRep2     [16]uint16
	slot       [4][64]uint16
	special    [256]uint16 // reverse trees of the slots 4..13; 115 used
	align      [16]uint16
	matchLen   lzmaLength
	repLen     lzmaLength
}

// lzmaDecoder is the state of one LZMA stream between two calls of run. The
// window is the output itself; distances reach back to windowStart at most.
type lzmaDecoder struct {
	model   lzmaModel
	literal []uint16 // lzmaLiteralSize << (lc+lp)

	lc, lp, pb             uint8
	state                  uint32
	rep0, rep1, rep2, rep3 uint32

	rng, code uint32
}

// lzmaStop says why run returned.
type lzmaStop int

const (
	lzmaFull      lzmaStop = iota // the output limit was reached exactly
	lzmaEnd                       // the end marker was decoded
	lzmaNoInput                   // the input ended inside a symbol
	lzmaBadRep                    // a distance reaches before the window
	lzmaOverLimit                 // a match runs past the output limit
)

func fill16(p []uint16, v uint16) {
	for i := range p {
		p[i] = v
	}
}

func (l *lzmaLength) reset() {
	l.choice, l.choice2 = lzmaProbInit, lzmaProbInit
	fill16(l.low[:], lzmaProbInit)
	fill16(l.mid[:], lzmaProbInit)
	fill16(l.high[:], lzmaProbInit)
}

// setProps sets lc, lp and pb, growing the literal model if it has to. The
// caller has checked lc <= 8, lp <= 4, pb <= 4.
func (d *lzmaDecoder) setProps(lc, lp, pb uint8) {
	d.lc, d.lp, d.pb = lc, lp, pb
	n := lzmaLiteralSize << (lc + lp)
	if cap(d.literal) < n {
		d.literal = make([]uint16, n)
	}
	d.literal = d.literal[:n]
}

// reset puts the model into the state that the start of a stream (or a state
// reset of LZMA2) has.
func (d *lzmaDecoder) reset() {
	m := &d.model
	fill16(m.isMatch[:], lzmaProbInit)
	fill16(m.isRep0Long[:], lzmaProbInit)
	fill16(m.isRep[:], lzmaProbInit)
	fill16(m.isRep0[:], lzmaProbInit)
	fill16(m.isRep1[:], lzmaProbInit)
	fill16(m.isRep2[:], lzmaProbInit)
	for i := range m.slot {
		fill16(m.slot[i][:], lzmaProbInit)
	}
	fill16(m.special[:], lzmaProbInit)
	fill16(m.align[:], lzmaProbInit)
	m.matchLen.reset()
	m.repLen.reset()
	fill16(d.literal, lzmaProbInit)
	d.state = 0
	d.rep0, d.rep1, d.rep2, d.rep3 = 0, 0, 0, 0
}

// startRange reads the five bytes that open a range coder's input. It reports
// false if there are fewer, or if the first is not zero.
func (d *lzmaDecoder) startRange(src []byte) bool {
	if len(src) < 5 || src[0] != 0 {
		return false
	}
	d.rng = 0xFFFFFFFF
	d.code = uint32(src[1])<<24 | uint32(src[2])<<16 | uint32(src[3])<<8 | uint32(src[4])
	return true
}
