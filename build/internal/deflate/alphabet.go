// SPDX-License-Identifier: Apache-2.0

package deflate

import "math/bits"

// The alphabets of RFC 1951, section 3.2.5.
const (
	literals   = 256
	endOfBlock = 256
	numLitLen  = 286 // symbols of literals, the end of a block and lengths
	numDist    = 30  // symbols of distances
)

// lengthSymbol returns the symbol of a match's length, how many extra bits
// follow it, and their value.
func lengthSymbol(length int) (sym int, extra uint8, value uint32) {
	switch n := uint(length - minMatch); {
	case length == maxMatch:
		return numLitLen - 1, 0, 0
	case n < 8:
		return literals + 1 + int(n), 0, 0
	default:
		e := bits.Len(n) - 3
		return literals + 1 + 4*e + int(n>>e), uint8(e), uint32(n) & (1<<e - 1)
	}
}

// distanceSymbol does the same for a distance.
func distanceSymbol(distance int) (sym int, extra uint8, value uint32) {
	n := uint(distance - 1)
	if n < 4 {
		return int(n), 0, 0
	}
	e := bits.Len(n) - 2
	return 2*e + int(n>>e), uint8(e), uint32(n) & (1<<e - 1)
}

// histogram counts the symbols of a block.
type histogram struct {
	litLen [numLitLen]uint32
	dist   [numDist]uint32
}

// add counts a token: a match, or a literal if its length is 0.
func (h *histogram) add(t match) {
	if t.length() == 0 {
		h.litLen[t]++
		return
	}
	sym, _, _ := lengthSymbol(t.length())
	h.litLen[sym]++
	sym, _, _ = distanceSymbol(t.distance())
	h.dist[sym]++
}

// Costs are numbers of bits times costBit.
const (
	costShift = 6
	costBit   = 1 << costShift
)

// log2 returns the binary logarithm of x, which is not 0, times costBit,
// rounded down.
func log2(x uint32) uint32 {
	n := bits.Len32(x) - 1
	m := uint64(x) << (31 - n) // 1 <= m/2^31 < 2
	out := uint32(n)
	for range costShift {
		m = m * m >> 31
		out <<= 1
		if m >= 1<<32 {
			m >>= 1
			out++
		}
	}
	return out
}

// entropy returns the cost of all symbols of a block, and an estimate for that
// of the codes' description, each symbol paying its share of what an
// ideal code would cost.
func (h *histogram) entropy() uint64 {
	var cost uint64
	const perSymbol, perBlock = 4 * costBit, 40 * costBit
	for _, counts := range [2][]uint32{h.litLen[:], h.dist[:]} {
		var total uint32
		for _, n := range counts {
			total += n
		}
		if total == 0 {
			continue
		}
		all := log2(total)
		for _, n := range counts {
			if n > 0 {
				cost += uint64(n)*uint64(all-log2(n)) + perSymbol
			}
		}
	}
	return cost + perBlock
}

// costs tells what each literal, length and distance costs.
type costs struct {
	literal  [literals]uint32
	length   [maxMatch + 1]uint32
	distance [numDist]uint32 // by symbol, with the extra bits
}

// set derives the costs from how often the symbols occurred. One that did not
// occur costs as much as one that occurred once.
func (c *costs) set(h *histogram) {
	var sym [numLitLen]uint32
	symbolCosts(h.litLen[:], sym[:])
	copy(c.literal[:], sym[:])
	for n := minMatch; n <= maxMatch; n++ {
		s, extra, _ := lengthSymbol(n)
		c.length[n] = sym[s] + uint32(extra)<<costShift
	}
	symbolCosts(h.dist[:], c.distance[:])
	for s := range c.distance {
		if s >= 4 {
			c.distance[s] += uint32(s/2-1) << costShift
		}
	}
}

func symbolCosts(counts, out []uint32) {
	var total uint32
	for _, n := range counts {
		total += n
	}
	all := log2(max(total, 1))
	for s, n := range counts {
		// A code has one bit at least.
		out[s] = max(all-min(all, log2(max(n, 1))), costBit)
	}
}
