// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"math/bits"
	"slices"
)

// codeLengths fills lengths with those of an optimal prefix code for the given
// frequencies, none longer than limit bits, by package-merge (Larmore and
// Hirschberg 1990). A symbol that does not occur gets 0.
func codeLengths(freq []uint32, limit int, lengths []uint8) {
	clear(lengths)
	type leaf struct {
		freq uint64
		sym  int
	}
	leaves := make([]leaf, 0, len(freq))
	for s, n := range freq {
		if n > 0 {
			leaves = append(leaves, leaf{uint64(n), s})
		}
	}
	switch len(leaves) {
	case 0:
		return
	case 1:
		lengths[leaves[0].sym] = 1
		return
	}
	slices.SortFunc(leaves, func(a, b leaf) int {
		if a.freq != b.freq {
			if a.freq < b.freq {
				return -1
			}
			return 1
		}
		return a.sym - b.sym
	})
	// Row by row the lightest leaves and pairs of the row before are merged.
	// isLeaf of a row says which of its items are leaves: that is all that is
	// needed to count, from the last row back, which leaves were taken.
	rows := make([][]bool, limit)
	var before []uint64
	for r := range rows {
		row := make([]uint64, 0, 2*len(leaves))
		isLeaf := make([]bool, 0, 2*len(leaves))
		i, j := 0, 0
		for i < len(leaves) || j+1 < len(before) {
			if j+1 >= len(before) || i < len(leaves) && leaves[i].freq <= before[j]+before[j+1] {
				row, isLeaf = append(row, leaves[i].freq), append(isLeaf, true)
				i++
			} else {
				row, isLeaf = append(row, before[j]+before[j+1]), append(isLeaf, false)
				j += 2
			}
		}
		before, rows[r] = row, isLeaf
	}
	take := 2*len(leaves) - 2
	for r := limit - 1; r >= 0; r-- {
		n := 0
		for _, is := range rows[r][:take] {
			if is {
				lengths[leaves[n].sym]++
				n++
			}
		}
		take = 2 * (take - n)
	}
}

// codes returns the codes of the given lengths with their bits in the order in
// which they are written (RFC 1951, 3.2.2).
func codes(lengths []uint8) []uint16 {
	var count, next [16]uint16
	for _, n := range lengths {
		if n > 0 {
			count[n]++
		}
	}
	for n := 1; n < 15; n++ {
		next[n+1] = (next[n] + count[n]) << 1
	}
	out := make([]uint16, len(lengths))
	for s, n := range lengths {
		if n > 0 {
			out[s] = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
	return out
}
