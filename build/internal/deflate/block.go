// SPDX-License-Identifier: Apache-2.0

package deflate

// block is a block of the stream, ready to be written.
type block struct {
	last   bool
	tokens []match
	data   []byte // what the tokens stand for
	kind   uint8  // RFC 1951, 3.2.3: the two type bits
	lit    [numLitLen + 2]uint8
	dist   [numDist]uint8
	head   header
	size   uint64 // in bits; of a stored block without padding
}

const (
	kindStored  = 0
	kindFixed   = 1
	kindDynamic = 2
)

// maxStored is the largest stored block in bytes (RFC 1951, 3.2.4).
const maxStored = 1<<16 - 1

// newBlock chooses the kind of block that is the smallest for the tokens,
// which stand for data.
func newBlock(tokens []match, data []byte) block {
	b := block{tokens: tokens, data: data}
	var h histogram
	for _, t := range tokens {
		h.add(t)
	}
	h.litLen[endOfBlock] = 1

	b.kind = kindDynamic
	codeLengths(h.litLen[:], 15, b.lit[:numLitLen])
	distanceLengths(h.dist, b.dist[:])
	b.head = newHeader(b.lit[:numLitLen], b.dist[:])
	b.size = b.head.size + bodySize(&h, b.lit[:], b.dist[:])

	var lit [numLitLen + 2]uint8
	var dist [numDist]uint8
	fixedLengths(lit[:], dist[:])
	if n := bodySize(&h, lit[:], dist[:]); n < b.size {
		b.kind, b.size, b.lit, b.dist = kindFixed, n, lit, dist
	}
	if n := storedSize(len(data)); n < b.size {
		b.kind, b.size = kindStored, n
	}
	b.size += 3
	return b
}

// distanceLengths makes the code of the distances. Some old decoders refuse
// one of fewer than two symbols, so that there always are two.
func distanceLengths(counts [numDist]uint32, lengths []uint8) {
	used := 0
	for _, n := range counts {
		if n > 0 {
			used++
		}
	}
	for s := 0; used < 2; s++ {
		if counts[s] == 0 {
			counts[s] = 1
			used++
		}
	}
	codeLengths(counts[:], 15, lengths)
}

// storedSize returns the bits of n bytes in stored blocks, but for the first
// three.
func storedSize(n int) uint64 {
	pieces := uint64(max(1, (n+maxStored-1)/maxStored))
	return uint64(n)*8 + pieces*(32+7+3) - 3
}

// bodySize returns the bits of all symbols.
func bodySize(h *histogram, lit, dist []uint8) uint64 {
	var size uint64
	for s, n := range h.litLen {
		bits := uint64(lit[s])
		if s >= literals+9 && s < numLitLen-1 {
			bits += uint64((s - literals - 5) / 4)
		}
		size += bits * uint64(n)
	}
	for s, n := range h.dist {
		bits := uint64(dist[s])
		if s >= 4 {
			bits += uint64(s/2 - 1)
		}
		size += bits * uint64(n)
	}
	return size
}

// fixedLengths sets the code of RFC 1951, 3.2.6. Two symbols that never occur
// belong to it.
func fixedLengths(lit, dist []uint8) {
	for s := range lit {
		switch {
		case s < 144:
			lit[s] = 8
		case s < 256:
			lit[s] = 9
		case s < 280:
			lit[s] = 7
		default:
			lit[s] = 8
		}
	}
	for s := range dist {
		dist[s] = 5
	}
}

// emit writes the block.
func (b *block) emit(w *bitWriter) {
	if b.kind == kindStored {
		b.emitStored(w)
		return
	}
	var last uint32
	if b.last {
		last = 1
	}
	w.put(last|uint32(b.kind)<<1, 3)
	lit, n := codes(b.lit[:]), b.lit[:]
	if b.kind == kindDynamic {
		b.head.emit(w)
		lit, n = codes(b.lit[:numLitLen]), b.lit[:numLitLen]
	}
	dist := codes(b.dist[:])
	for _, t := range b.tokens {
		if t.length() == 0 {
			w.put(uint32(lit[t]), n[t])
			continue
		}
		sym, extra, v := lengthSymbol(t.length())
		w.put(uint32(lit[sym]), n[sym])
		w.put(v, extra)
		sym, extra, v = distanceSymbol(t.distance())
		w.put(uint32(dist[sym]), b.dist[sym])
		w.put(v, extra)
	}
	w.put(uint32(lit[endOfBlock]), n[endOfBlock])
}

func (b *block) emitStored(w *bitWriter) {
	for data := b.data; ; {
		n := min(len(data), maxStored)
		var head uint32
		if b.last && n == len(data) {
			head = 1
		}
		w.put(head, 3)
		w.align()
		w.put(uint32(n)|uint32(^uint16(n))<<16, 32)
		w.out = append(w.out, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}
