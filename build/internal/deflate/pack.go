// SPDX-License-Identifier: Apache-2.0

package deflate

import "slices"

// maxRounds bounds how often a block's tokens are chosen anew with the costs
// that the round before led to.
const maxRounds = 4

// pack makes the blocks of the chunk buf[window:].
func pack(buf []byte, window int, last bool) []block {
	if len(buf) == window {
		b := newBlock(nil, nil)
		b.last = last
		return []block{b}
	}
	p := newParser(buf, window)
	// A first division of the whole, to see where the data changes; a second
	// with what was seen; then each part on its own.
	tokens := p.greedy(nil)
	var c costs
	for range 2 {
		var h histogram
		for _, t := range tokens {
			h.add(t)
		}
		h.litLen[endOfBlock]++
		c.set(&h)
		tokens = p.cheapest(p.from, p.to, &c, tokens[:0])
	}
	tokens = p.separately(tokens)
	var out []block
	pos := p.from
	for _, part := range split(tokens) {
		end := pos
		for _, t := range part {
			end += max(1, t.length())
		}
		out = append(out, p.refine(part, pos, end))
		pos = end
	}
	out[len(out)-1].last = last
	return out
}

// separately splits the tokens and chooses those of each part once more.
func (p *parser) separately(tokens []match) []match {
	out := make([]match, 0, len(tokens))
	var c costs
	pos := p.from
	for _, part := range split(tokens) {
		var h histogram
		h.litLen[endOfBlock] = 1
		end := pos
		for _, t := range part {
			h.add(t)
			end += max(1, t.length())
		}
		c.set(&h)
		out = p.cheapest(pos, end, &c, out)
		pos = end
	}
	return out
}

// refine returns the smallest block for buf[from:to] that can be found,
// beginning with the given tokens.
func (p *parser) refine(tokens []match, from, to int) block {
	best := newBlock(slices.Clone(tokens), p.buf[from:to])
	tokens = best.tokens
	var c costs
	for range maxRounds {
		var h histogram
		h.litLen[endOfBlock] = 1
		for _, t := range tokens {
			h.add(t)
		}
		c.set(&h)
		tokens = p.cheapest(from, to, &c, make([]match, 0, len(tokens)))
		b := newBlock(tokens, best.data)
		if b.size >= best.size {
			break
		}
		best = b
	}
	return best
}

const (
	// splitStep is the number of tokens between places where a block may end.
	splitStep = 256
	// splitGain is what an additional block must save at least, in bits.
	splitGain = 16
)

// splitter cuts tokens where the codes should change.
type splitter struct {
	sums []histogram // of the tokens before each place
	ends []int       // places where a block ends
}

// split cuts tokens into the parts that should have codes of their own.
func split(tokens []match) [][]match {
	n := (len(tokens) + splitStep - 1) / splitStep
	s := splitter{sums: make([]histogram, n+1)}
	for i := range n {
		s.sums[i+1] = s.sums[i]
		for _, t := range tokens[i*splitStep : min(len(tokens), (i+1)*splitStep)] {
			s.sums[i+1].add(t)
		}
	}
	if n > 0 {
		s.cut(0, n, s.entropy(0, n))
	}
	var out [][]match
	from := 0
	for _, e := range s.ends {
		to := min(len(tokens), e*splitStep)
		out = append(out, tokens[from:to])
		from = to
	}
	return out
}

// entropy returns the cost of a block from place a to place b.
func (s *splitter) entropy(a, b int) uint64 {
	var h histogram
	for i := range h.litLen {
		h.litLen[i] = s.sums[b].litLen[i] - s.sums[a].litLen[i]
	}
	for i := range h.dist {
		h.dist[i] = s.sums[b].dist[i] - s.sums[a].dist[i]
	}
	return h.entropy()
}

// cut finds the best place for a cut between a and b, which together cost
// whole, and goes on with both sides.
func (s *splitter) cut(a, b int, whole uint64) {
	best, at := whole, 0
	var left, right uint64
	for i := a + 1; i < b; i++ {
		l, r := s.entropy(a, i), s.entropy(i, b)
		if l+r+splitGain*costBit < best {
			best, at, left, right = l+r, i, l, r
		}
	}
	if at == 0 {
		s.ends = append(s.ends, b)
		return
	}
	s.cut(a, at, left)
	s.cut(at, b, right)
}
