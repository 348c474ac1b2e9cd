// SPDX-License-Identifier: Apache-2.0

package deflate

// numPre is the size of the alphabet that describes code lengths: a length, or
// a repetition (RFC 1951, 3.2.7).
const (
	numPre      = 19
	repeatLast  = 16 // the length before, 3 to 6 times
	zerosShort  = 17 // 3 to 10 times 0
	zerosLong   = 18 // 11 to 138 times 0
	maxPreBits  = 7
	preSizeBits = 3
)

// preSymbol is a symbol of that alphabet and the value of its extra bits.
type preSymbol struct{ sym, value uint8 }

func preExtra(sym int) uint8 {
	switch sym {
	case repeatLast:
		return 2
	case zerosShort:
		return 3
	case zerosLong:
		return 7
	}
	return 0
}

// preOrder returns the order in which the lengths of that alphabet's own code
// are stored.
func preOrder() [numPre]uint8 {
	return [numPre]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
}

// header describes the two codes of a dynamic block.
type header struct {
	lits, dists int // symbols described
	pre         [numPre]uint8
	pres        int // lengths of pre that are stored
	syms        []preSymbol
	size        uint64 // bits
}

// newHeader returns the shortest description. Repetitions save symbols but
// lengthen the code of the rest, so that each set of them is tried.
func newHeader(lit, dist []uint8) header {
	h := header{lits: len(lit), dists: len(dist)}
	for h.lits > literals+1 && lit[h.lits-1] == 0 {
		h.lits--
	}
	for h.dists > 1 && dist[h.dists-1] == 0 {
		h.dists--
	}
	all := make([]uint8, 0, numLitLen+numDist)
	all = append(append(all, lit[:h.lits]...), dist[:h.dists]...)
	best := h
	for set := range 8 {
		h.syms = runs(all, set&1 != 0, set&2 != 0, set&4 != 0)
		var count [numPre]uint32
		for _, s := range h.syms {
			count[s.sym]++
		}
		codeLengths(count[:], maxPreBits, h.pre[:])
		order := preOrder()
		for h.pres = numPre; h.pres > 4 && h.pre[order[h.pres-1]] == 0; {
			h.pres--
		}
		h.size = 5 + 5 + 4 + preSizeBits*uint64(h.pres)
		for s, n := range count {
			h.size += uint64(n) * uint64(h.pre[s]+preExtra(s))
		}
		if set == 0 || h.size < best.size {
			best = h
		}
	}
	return best
}

// runs turns code lengths into symbols, using the repetitions that are allowed.
func runs(lengths []uint8, last, short, long bool) []preSymbol {
	out := make([]preSymbol, 0, len(lengths))
	for i := 0; i < len(lengths); {
		v := lengths[i]
		n := 1
		for i+n < len(lengths) && lengths[i+n] == v {
			n++
		}
		i += n
		if v == 0 {
			for long && n >= 11 {
				k := min(n, 138)
				out = append(out, preSymbol{zerosLong, uint8(k - 11)})
				n -= k
			}
			for short && n >= 3 {
				k := min(n, 10)
				out = append(out, preSymbol{zerosShort, uint8(k - 3)})
				n -= k
			}
		} else {
			out = append(out, preSymbol{v, 0})
			n--
		}
		for last && v != 0 && n >= 3 {
			k := min(n, 6)
			// 3 and 4 are one more than one of 6 and the rest alone.
			if n == 7 {
				k = 4
			}
			if n == 8 {
				k = 4
			}
			out = append(out, preSymbol{repeatLast, uint8(k - 3)})
			n -= k
		}
		for ; n > 0; n-- {
			out = append(out, preSymbol{v, 0})
		}
	}
	return out
}

func (h *header) emit(w *bitWriter) {
	w.put(uint32(h.lits-257), 5)
	w.put(uint32(h.dists-1), 5)
	w.put(uint32(h.pres-4), 4)
	order := preOrder()
	for _, s := range order[:h.pres] {
		w.put(uint32(h.pre[s]), preSizeBits)
	}
	code := codes(h.pre[:])
	for _, s := range h.syms {
		w.put(uint32(code[s.sym]), h.pre[s.sym])
		w.put(uint32(s.value), preExtra(int(s.sym)))
	}
}
