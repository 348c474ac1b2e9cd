// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// huffmanCost returns the bits of an unlimited optimal code.
func huffmanCost(freq []uint32) uint64 {
	var nodes []uint64
	for _, n := range freq {
		if n > 0 {
			nodes = append(nodes, uint64(n))
		}
	}
	var cost uint64
	for len(nodes) > 1 {
		slices.Sort(nodes)
		sum := nodes[0] + nodes[1]
		cost += sum
		nodes = append(nodes[2:], sum)
	}
	return cost
}

func TestCodeLengths(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	fibonacci := []uint32{1, 1}
	for range 28 {
		fibonacci = append(fibonacci, fibonacci[len(fibonacci)-1]+fibonacci[len(fibonacci)-2])
	}
	cases := [][]uint32{{}, {0, 0}, {5}, {0, 1, 0, 1}, fibonacci, make([]uint32, 286)}
	for i := range cases[5] {
		cases[5][i] = 1
	}
	for range 50 {
		freq := make([]uint32, 2+r.IntN(285))
		for i := range freq {
			freq[i] = uint32(math.Exp(r.Float64()*10)) - 1
		}
		cases = append(cases, freq)
	}
	for i, freq := range cases {
		used := 0
		for _, n := range freq {
			if n > 0 {
				used++
			}
		}
		lengths := make([]uint8, len(freq))
		codeLengths(freq, 15, lengths)
		var kraft, longest int
		var cost uint64
		for s, n := range lengths {
			if (n > 0) != (freq[s] > 0) {
				t.Errorf("case %d: symbol %d has %d bits, frequency %d", i, s, n, freq[s])
			}
			if n > 0 {
				kraft += 1 << (15 - n)
			}
			longest = max(longest, int(n))
			cost += uint64(n) * uint64(freq[s])
		}
		if used > 1 && kraft != 1<<15 {
			t.Errorf("case %d: the code is not complete: sum 0x%x, want 0x%x", i, kraft, 1<<15)
		}
		if longest > 15 {
			t.Errorf("case %d: code of %d bits, want at most 15", i, longest)
		}
		if least := huffmanCost(freq); used > 1 && longest < 15 && cost != least {
			t.Errorf("case %d: cost %d, want %d", i, cost, least)
		}
	}
}

// TestCodeLengthsLimit compares with the best of all codes of four symbols.
func TestCodeLengthsLimit(t *testing.T) {
	lengths := make([]uint8, 4)
	codeLengths([]uint32{100, 10, 1, 1}, 2, lengths)
	if want := []uint8{2, 2, 2, 2}; !slices.Equal(lengths, want) {
		t.Errorf("codeLengths(limit 2) = %v, want %v", lengths, want)
	}
	codeLengths([]uint32{100, 10, 1, 1}, 3, lengths)
	if want := []uint8{1, 2, 3, 3}; !slices.Equal(lengths, want) {
		t.Errorf("codeLengths(limit 3) = %v, want %v", lengths, want)
	}
}

func TestLog2(t *testing.T) {
	for _, x := range []uint32{1, 2, 3, 5, 1000, 1 << 20, 1<<32 - 1} {
		got, want := float64(log2(x)), math.Log2(float64(x))*costBit
		if got > want || got < want-1 {
			t.Errorf("log2(%d) = %v, want %v rounded down", x, got, want)
		}
	}
}

// TestSymbols: symbol and extra bits give the number back by the tables of
// RFC 1951, 3.2.5.
func TestSymbols(t *testing.T) {
	lengthBase := []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra := []uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	for n := minMatch; n <= maxMatch; n++ {
		s, extra, v := lengthSymbol(n)
		if i := s - 257; lengthBase[i]+int(v) != n || lengthExtra[i] != extra {
			t.Errorf("lengthSymbol(%d) = %d, %d bits, %d", n, s, extra, v)
		}
	}
	base := 1
	for s := range numDist {
		extra := max(0, s/2-1)
		for _, d := range []int{base, base + 1<<extra - 1} {
			got, e, v := distanceSymbol(d)
			if got != s || int(e) != extra || int(v) != d-base {
				t.Errorf("distanceSymbol(%d) = %d, %d bits, %d, want %d, %d, %d", d, got, e, v, s, extra, d-base)
			}
		}
		base += 1 << extra
	}
}

// TestRuns: the symbols of a header spell the lengths, whatever the set.
func TestRuns(t *testing.T) {
	for n := range 400 {
		for _, v := range []uint8{0, 5} {
			lengths := append([]uint8{9}, slices.Repeat([]uint8{v}, n)...)
			for set := range 8 {
				var got []uint8
				for _, s := range runs(lengths, set&1 != 0, set&2 != 0, set&4 != 0) {
					switch s.sym {
					case repeatLast:
						got = append(got, slices.Repeat([]uint8{got[len(got)-1]}, int(s.value)+3)...)
					case zerosShort:
						got = append(got, make([]uint8, int(s.value)+3)...)
					case zerosLong:
						got = append(got, make([]uint8, int(s.value)+11)...)
					default:
						got = append(got, s.sym)
					}
				}
				if !slices.Equal(got, lengths) {
					t.Fatalf("runs(%d times %d, set %d) spells %v", n, v, set, got)
				}
			}
		}
	}
}
