// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestTake(t *testing.T) {
	const g = 1 << 30
	free := []Range{{0x1000, 0x9f000}, {0x100000, g}, {4 * g, 6 * g}}
	for _, c := range []struct {
		name string
		w    Want
		want uint64
		ok   bool
	}{
		{"lowest", Want{Size: 0x1000}, 0x1000, true},
		{"highest", Want{Size: 0x1000, TopDown: true}, 6*g - 0x1000, true},
		{"lowest aligned", Want{Size: 0x1000, Align: 0x100000}, 0x100000, true},
		{"highest aligned", Want{Size: 0x1000, Align: g, TopDown: true}, 5 * g, true},
		{"aligned and minimum", Want{Size: 0x1000, Align: 0x200000, Min: 0x200001}, 0x400000, true},
		{"below a limit", Want{Size: 0x1000, TopDown: true, Max: 4*g + 0x800}, g - 0x1000, true},
		{"limit cuts", Want{Size: 0x1000, TopDown: true, Max: 4*g + 0x1000}, 4 * g, true},
		{"fills a range", Want{Size: 2 * g}, 4 * g, true},
		{"too big", Want{Size: 2*g + 1}, 0, false},
		{"aligned too big", Want{Size: 2*g - 1, Align: g, Min: 4*g + 1}, 0, false},
		{"nothing", Want{}, 0, false},
		{"no power of two", Want{Size: 1, Align: 3}, 0, false},
		{"huge", Want{Size: 1<<64 - 1, Align: 1 << 63, TopDown: true}, 0, false},
		{"minimum above all", Want{Size: 1, Min: 1<<64 - 1}, 0, false},
	} {
		s := NewSpace(free)
		got, err := s.Take(c.w)
		if (err == nil) != c.ok || got != c.want || err != nil && !errors.Is(err, ErrNoRoom) {
			t.Errorf("%s: Take(%+v) = %#x, %v, want %#x, %v", c.name, c.w, got, err, c.want, c.ok)
		}
		if err != nil && !slices.Equal(s.Free(), free) {
			t.Errorf("%s: Take failed and changed the space", c.name)
		}
	}
}

func TestTakeAt(t *testing.T) {
	s := NewSpace([]Range{{0x1000, 0x5000}, {0x5000, 0x8000}, {0x7000, 0x9000}})
	if err := s.TakeAt(Range{0x4000, 0x6000}); err != nil {
		t.Errorf("TakeAt over joined ranges = %v, want nil", err)
	}
	for _, r := range []Range{{0x3000, 0x5000}, {0x5000, 0x7000}, {0x8000, 0x9001}, {0x2000, 0x2000}, {0x3000, 0x2000}} {
		if err := s.TakeAt(r); !errors.Is(err, ErrNoRoom) {
			t.Errorf("TakeAt(%v) = %v, want %v", r, err, ErrNoRoom)
		}
	}
	if got, want := s.Free(), []Range{{0x1000, 0x4000}, {0x6000, 0x9000}}; !slices.Equal(got, want) {
		t.Errorf("Free() = %v, want %v", got, want)
	}
}

// reference is find by trying all addresses of a small memory.
func reference(free []Range, w Want) (uint64, bool) {
	fits := func(a uint64) bool {
		if a < w.Min || w.Max != 0 && a+w.Size > w.Max || a%max(w.Align, 1) != 0 {
			return false
		}
		for _, f := range normal(free) {
			if f.Contains(Range{a, a + w.Size}) {
				return true
			}
		}
		return false
	}
	const end = 256
	for i := range uint64(end) {
		a := i
		if w.TopDown {
			a = end - 1 - i
		}
		if fits(a) {
			return a, true
		}
	}
	return 0, false
}

// The allocator finds exactly what trying all addresses finds.
func TestTakeEqualsReference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		var free []Range
		for range rnd.IntN(5) {
			a := rnd.Uint64N(200)
			free = append(free, Range{a, a + rnd.Uint64N(56)})
		}
		w := Want{Size: 1 + rnd.Uint64N(40), Align: 1 << rnd.IntN(6), TopDown: rnd.IntN(2) == 0}
		if rnd.IntN(2) == 0 {
			w.Min = rnd.Uint64N(256)
		}
		if rnd.IntN(2) == 0 {
			w.Max = rnd.Uint64N(256)
		}
		s := NewSpace(free)
		got, err := s.Take(w)
		want, ok := reference(free, w)
		if (err == nil) != ok || got != want {
			t.Fatalf("Take(%+v) from %v = %#x, %v, want %#x, %v", w, free, got, err, want, ok)
		}
	}
}

// FuzzPlacement takes pieces from any memory: each fits its wish, lies in what
// was free, and is gone afterwards.
func FuzzPlacement(f *testing.F) {
	f.Add([]byte{}, []byte{})
	le := binary.LittleEndian
	f.Add(le.AppendUint64(le.AppendUint64(nil, 0x100000), 0x40000000), le.AppendUint64(le.AppendUint64(nil, 0x1000), 0x0c0c))
	f.Add(le.AppendUint64(le.AppendUint64(nil, 1<<63), 1<<64-1), le.AppendUint64(le.AppendUint64(nil, 1<<63-1), 0x3f01))
	f.Fuzz(func(t *testing.T, memory, wants []byte) {
		var free []Range
		for ; len(memory) >= 16 && len(free) < 64; memory = memory[16:] {
			free = append(free, Range{le.Uint64(memory), le.Uint64(memory[8:])})
		}
		s := NewSpace(free)
		var before uint64
		for _, r := range s.Free() {
			before += r.Size()
		}
		for ; len(wants) >= 16; wants = wants[16:] {
			v := le.Uint64(wants[8:])
			w := Want{Size: le.Uint64(wants), Align: 1 << (v & 63), TopDown: v>>6&1 != 0, Min: v >> 8 & 0xff << 24, Max: v >> 16 & 0xff << 28}
			was := s.Free()
			a, err := s.Take(w)
			if err != nil {
				if !slices.Equal(was, s.Free()) {
					t.Fatal("Take failed and changed the space")
				}
				continue
			}
			got := Range{a, a + w.Size}
			if got.End < a || a < w.Min || w.Max != 0 && got.End > w.Max || a&(w.Align-1) != 0 {
				t.Fatalf("Take(%+v) = %#x", w, a)
			}
			if !slices.ContainsFunc(was, func(r Range) bool { return r.Contains(got) }) {
				t.Fatalf("Take(%+v) = %v, free were %v", w, got, was)
			}
			before -= w.Size
		}
		var after uint64
		for i, r := range s.Free() {
			after += r.Size()
			if r.Size() == 0 || i > 0 && s.free[i-1].End > r.Start {
				t.Fatalf("Free() = %v", s.Free())
			}
		}
		if before != after {
			t.Fatalf("%#x bytes are free, want %#x", after, before)
		}
	})
}
