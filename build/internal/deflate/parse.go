// SPDX-License-Identifier: Apache-2.0

package deflate

// maxCached bounds the matches that are kept of one chunk. A chunk with more
// loses the later ones of each place, which are the longest: such data is made
// up.
const maxCached = 4 << 20

// parser divides a chunk into literals and matches.
type parser struct {
	buf   []byte // window, chunk, overread bytes
	from  int    // of the chunk in buf
	to    int
	cache []match
	first []int32  // index in cache of the first match of each place of the chunk
	cost  []uint32 // of the rest of the block, by place
	next  []match  // what to take at each place
}

// newParser finds the matches of all places of the chunk, which follows window
// bytes of earlier data in buf.
func newParser(buf []byte, window int) *parser {
	p := &parser{buf: make([]byte, len(buf)+overread), from: window, to: len(buf)}
	copy(p.buf, buf)
	n := p.to - p.from
	p.first = make([]int32, 0, n+1)
	p.cost = make([]uint32, n+1)
	p.next = make([]match, n)
	p.cache = make([]match, 0, 4*n)
	f := newFinder(p.buf)
	for i := range window {
		f.insert(i, p.to, nil, true)
	}
	skip := 0
	for i := p.from; i < p.to; i++ {
		p.first = append(p.first, int32(len(p.cache)))
		// Inside a match that could not be longer nothing better is to be
		// found, and there is a lot of it.
		quiet := skip > 0 || len(p.cache) > maxCached-maxMatch
		p.cache = f.insert(i, p.to, p.cache, quiet)
		if skip > 0 {
			skip--
		} else if k := len(p.cache); k > int(p.first[i-p.from]) && p.cache[k-1].length() == maxMatch {
			skip = maxMatch - 1
		}
	}
	p.first = append(p.first, int32(len(p.cache)))
	return p
}

// matches returns those of place i of the buffer.
func (p *parser) matches(i int) []match {
	i -= p.from
	return p.cache[p.first[i]:p.first[i+1]]
}

// greedy takes the longest match of each place.
func (p *parser) greedy(out []match) []match {
	for i := p.from; i < p.to; {
		ms := p.matches(i)
		if len(ms) == 0 {
			out = append(out, match(p.buf[i]))
			i++
			continue
		}
		m := ms[len(ms)-1]
		out = append(out, m)
		i += m.length()
	}
	return out
}

// cheapest appends to out the tokens for buf[from:to] that cost least. From
// the end on, each place gets the cheaper of a literal and every length of
// every match.
func (p *parser) cheapest(from, to int, c *costs, out []match) []match {
	cost := p.cost[:to-from+1]
	next := p.next[:to-from]
	cost[to-from] = 0
	for i := to - from - 1; i >= 0; i-- {
		lit := p.buf[from+i]
		best, take := cost[i+1]+c.literal[lit], match(lit)
		length := minMatch
		for _, m := range p.matches(from + i) {
			end := min(m.length(), to-from-i)
			sym, _, _ := distanceSymbol(m.distance())
			d := c.distance[sym]
			if length > end {
				continue
			}
			lens, rest := c.length[length:end+1], cost[i+length:i+end+1]
			for k, n := range lens {
				if v := rest[k] + n + d; v < best {
					best, take = v, match((length+k)<<16|m.distance())
				}
			}
			length = end + 1
		}
		cost[i], next[i] = best, take
	}
	for i := 0; i < to-from; i += max(1, next[i].length()) {
		out = append(out, next[i])
	}
	return out
}
