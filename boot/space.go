// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"slices"
)

// Range is a range of physical addresses in bytes. End is the address after
// the last byte, so the last byte of all cannot be in a Range.
type Range struct {
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
}

// Size returns the number of bytes, 0 for a range that ends before it starts.
func (r Range) Size() uint64 {
	if r.End <= r.Start {
		return 0
	}
	return r.End - r.Start
}

// Contains tells whether all of o is in r.
func (r Range) Contains(o Range) bool { return r.Start <= o.Start && o.End <= r.End }

// Overlaps tells whether r and o have a byte in common.
func (r Range) Overlaps(o Range) bool {
	return r.Size() != 0 && o.Size() != 0 && r.Start < o.End && o.Start < r.End
}

// String returns the first and the last address, as /proc/iomem does.
func (r Range) String() string {
	if r.Size() == 0 {
		return fmt.Sprintf("%#x (empty)", r.Start)
	}
	return fmt.Sprintf("%#x-%#x", r.Start, r.End-1)
}

// normal returns the ranges sorted, joined where they touch or overlap, and
// without empty ones.
func normal(in []Range) []Range {
	out := make([]Range, 0, len(in))
	for _, r := range in {
		if r.Size() != 0 {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Range) int {
		if a.Start < b.Start {
			return -1
		} else if a.Start > b.Start {
			return 1
		}
		return 0
	})
	n := 0
	for _, r := range out {
		if n > 0 && r.Start <= out[n-1].End {
			out[n-1].End = max(out[n-1].End, r.End)
			continue
		}
		out[n] = r
		n++
	}
	return out[:n]
}

// subtract returns what of the sorted, disjoint ranges is not in hole.
func subtract(in []Range, hole Range) []Range {
	if hole.Size() == 0 {
		return in
	}
	var out []Range
	for _, r := range in {
		if !r.Overlaps(hole) {
			out = append(out, r)
			continue
		}
		if r.Start < hole.Start {
			out = append(out, Range{r.Start, hole.Start})
		}
		if hole.End < r.End {
			out = append(out, Range{hole.End, r.End})
		}
	}
	return out
}

// Space is memory in which segments can be placed. It is a value of the
// planning, not of the machine: taking from it reserves nothing.
type Space struct {
	free []Range // sorted, disjoint, none empty
}

// NewSpace returns the space made of the given ranges, in any order.
func NewSpace(ranges []Range) *Space { return &Space{normal(ranges)} }

// Free returns what has not been taken, sorted.
func (s *Space) Free() []Range { return slices.Clone(s.free) }

// Remove takes a range out of the space, whether or not it is in it.
func (s *Space) Remove(r Range) { s.free = subtract(s.free, r) }

// Want says where a piece of memory may be.
type Want struct {
	Size uint64 // bytes, not 0
	// Align is a power of two of which the address is a multiple; 0 is 1.
	Align uint64
	// Min is the lowest address, Max the address that the piece must not go
	// beyond; Max 0 is no limit.
	Min, Max uint64
	// TopDown takes the highest place that fits instead of the lowest.
	TopDown bool
}

// Take finds a place, takes it out of the space and returns its address. When
// there is none it returns ErrNoRoom and the space is unchanged.
func (s *Space) Take(w Want) (uint64, error) {
	at, ok := s.find(w)
	if !ok {
		limit := "any address"
		if w.Max != 0 {
			limit = fmt.Sprintf("below %#x", w.Max)
		}
		return 0, fmt.Errorf("%#x bytes aligned to %#x, from %#x, %s: %w", w.Size, max(w.Align, 1), w.Min, limit, ErrNoRoom)
	}
	s.Remove(Range{at, at + w.Size})
	return at, nil
}

// TakeAt takes exactly the range r, all of which must be free.
func (s *Space) TakeAt(r Range) error {
	for _, f := range s.free {
		if r.Size() != 0 && f.Contains(r) {
			s.Remove(r)
			return nil
		}
	}
	return fmt.Errorf("%v is not free memory: %w", r, ErrNoRoom)
}

func (s *Space) find(w Want) (uint64, bool) {
	align := max(w.Align, 1)
	if w.Size == 0 || align&(align-1) != 0 {
		return 0, false
	}
	place := func(f Range) (uint64, bool) {
		lo, hi := max(f.Start, w.Min), f.End
		if w.Max != 0 {
			hi = min(hi, w.Max)
		}
		if hi < lo || hi-lo < w.Size {
			return 0, false
		}
		last := hi - w.Size // greatest address by size alone
		if w.TopDown {
			at := last &^ (align - 1)
			return at, at >= lo
		}
		at, ok := roundUp(lo, align)
		return at, ok && at <= last
	}
	if w.TopDown {
		for _, f := range slices.Backward(s.free) {
			if at, ok := place(f); ok {
				return at, true
			}
		}
		return 0, false
	}
	for _, f := range s.free {
		if at, ok := place(f); ok {
			return at, true
		}
	}
	return 0, false
}

// roundUp returns n rounded up to a multiple of align, a power of two; ok is
// false when that wraps.
func roundUp(n, align uint64) (v uint64, ok bool) {
	v = (n + align - 1) &^ (align - 1)
	return v, v >= n
}
