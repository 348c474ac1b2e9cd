// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"encoding/binary"
	"math/bits"
)

const (
	minMatch = 3   // bytes, RFC 1951, 3.2.5
	maxMatch = 258 // bytes
	// searchDepth is how many earlier places are tried for each byte.
	searchDepth = 128
	// hashBits is the size of the tables by the next bytes.
	hashBits = 16
	// overread is how far behind its end a buffer is read, eight bytes at a
	// time.
	overread = 8
)

// A match is a length (upper half) at a distance (lower half), both in bytes.
type match uint32

func (m match) length() int   { return int(m >> 16) }
func (m match) distance() int { return int(m & 0xffff) }

// finder finds earlier occurrences of the bytes at each place of a buffer. The
// places of the last windowSize bytes with equal hash form a binary tree in
// the order of what follows them, the youngest at the root: a search finds
// longer and longer matches while it hangs the tree below the new place.
type finder struct {
	buf  []byte // and overread bytes behind it
	head []int32
	sons []int32 // two for each place of the window: smaller, larger
	// three has the youngest place by the hash of three bytes, which the
	// trees are too coarse for.
	three []int32
}

func newFinder(buf []byte) *finder {
	f := &finder{
		buf:   buf,
		head:  make([]int32, 1<<hashBits),
		three: make([]int32, 1<<hashBits),
		sons:  make([]int32, 2*windowSize),
	}
	for i := range f.head {
		f.head[i], f.three[i] = -1, -1
	}
	return f
}

// commonLength returns how many bytes at a and b are equal, from at least n and
// up to limit.
func (f *finder) commonLength(a, b, n, limit int) int {
	for n < limit {
		x := binary.LittleEndian.Uint64(f.buf[a+n:]) ^ binary.LittleEndian.Uint64(f.buf[b+n:])
		if x != 0 {
			return min(limit, n+bits.TrailingZeros64(x)/8)
		}
		n += 8
	}
	return limit
}

// insert adds place pos to the trees and appends the matches found there to
// out, each longer and farther than the one before; end is the end of the
// data. It adds nothing to out if quiet.
func (f *finder) insert(pos, end int, out []match, quiet bool) []match {
	limit := min(maxMatch, end-pos)
	if limit < minMatch+1 {
		return out
	}
	v := binary.LittleEndian.Uint32(f.buf[pos:])
	h := v * 0x9E3779B1 >> (32 - hashBits)
	h3 := v << 8 * 0x9E3779B1 >> (32 - hashBits)
	cur := int(f.head[h])
	near := int(f.three[h3])
	f.head[h], f.three[h3] = int32(pos), int32(pos)

	oldest := max(0, pos-windowSize+1)
	best := minMatch - 1
	if !quiet && near >= oldest {
		if n := f.commonLength(pos, near, 0, minMatch); n == minMatch {
			best = minMatch
			out = append(out, match(minMatch<<16|(pos-near)))
		}
	}
	const mask = windowSize - 1
	smaller, larger := 2*(pos&mask), 2*(pos&mask)+1
	smallerLen, largerLen := 0, 0
	for depth := searchDepth; ; depth-- {
		if cur < oldest || depth == 0 {
			f.sons[smaller], f.sons[larger] = -1, -1
			return out
		}
		n := f.commonLength(pos, cur, min(smallerLen, largerLen), limit)
		if n > best && !quiet {
			best = n
			out = append(out, match(n<<16|(pos-cur)))
		}
		node := 2 * (cur & mask)
		if n == limit {
			f.sons[smaller], f.sons[larger] = f.sons[node], f.sons[node+1]
			return out
		}
		if f.buf[cur+n] < f.buf[pos+n] {
			f.sons[smaller] = int32(cur)
			smaller, smallerLen = node+1, n
			cur = int(f.sons[smaller])
		} else {
			f.sons[larger] = int32(cur)
			larger, largerLen = node, n
			cur = int(f.sons[larger])
		}
	}
}
