// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const memmapDir = "sys/firmware/memmap"

// ParseMemmapEntry reads the three files of one directory of
// /sys/firmware/memmap: first and last address in hexadecimal and the type in
// words (kernel: drivers/firmware/memmap.c).
func ParseMemmapEntry(start, end, typ []byte) (MemoryRange, error) {
	a, err := parseHex(start)
	if err != nil {
		return MemoryRange{}, fmt.Errorf("start: %w", err)
	}
	z, err := parseHex(end)
	if err != nil {
		return MemoryRange{}, fmt.Errorf("end: %w", err)
	}
	if z < a {
		return MemoryRange{}, fmt.Errorf("%w: end %#x lies before start %#x", ErrMalformed, z, a)
	}
	t, _ := memoryType(strings.TrimSpace(string(typ)))
	return MemoryRange{Range{a, z}, t}, nil
}

// parseHex reads a number such as "0x9fbff\n".
func parseHex(b []byte) (uint64, error) {
	s := strings.TrimSpace(string(b))
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return 0, fmt.Errorf("%w: %.40q is no hexadecimal number", ErrMalformed, s)
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q is no hexadecimal number", ErrMalformed, s)
	}
	return n, nil
}

// parseNumber reads a decimal or 0x hexadecimal number, with a sign.
func parseNumber(b []byte) (int64, error) {
	s := strings.TrimSpace(string(b))
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q is no number", ErrMalformed, s)
	}
	return n, nil
}

// numbered returns those names that are numbers, in numerical order.
func numbered(names []string) []string {
	var out []string
	for _, n := range names {
		if _, err := strconv.ParseUint(n, 10, 32); err == nil {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		x, _ := strconv.ParseUint(a, 10, 32)
		y, _ := strconv.ParseUint(b, 10, 32)
		return int(int64(x) - int64(y))
	})
	return out
}

func readMemmap(s *snapshot) Fact[[]MemoryRange] {
	names, f := s.list(memmapDir)
	if f.state != Known {
		return lost[[]MemoryRange](f)
	}
	var out []MemoryRange
	for _, n := range numbered(names) {
		dir := memmapDir + "/" + n
		s.mark(dir, true)
		var parts [3][]byte
		for i, name := range []string{"start", "end", "type"} {
			f := s.read(dir+"/"+name, 4096)
			if f.state != Known {
				return lost[[]MemoryRange](f)
			}
			parts[i] = f.data
		}
		r, err := ParseMemmapEntry(parts[0], parts[1], parts[2])
		if err != nil {
			return unknownFact[[]MemoryRange]("/"+dir, "%v", err)
		}
		out = append(out, r)
	}
	return KnownFact(out, "/"+memmapDir)
}

// ParseE820 reads packed entries of 20 bytes, little endian: address, size in
// bytes, type. Entries of no size are left out; an entry that wraps around
// the address space is an error.
func ParseE820(b []byte) ([]MemoryRange, error) {
	const size = 20
	if len(b)%size != 0 {
		return nil, fmt.Errorf("%w: e820 table of %d bytes is no multiple of %d", ErrMalformed, len(b), size)
	}
	var out []MemoryRange
	for o := 0; o < len(b); o += size {
		addr := binary.LittleEndian.Uint64(b[o:])
		n := binary.LittleEndian.Uint64(b[o+8:])
		typ := binary.LittleEndian.Uint32(b[o+16:])
		if n == 0 {
			continue
		}
		last := addr + (n - 1)
		if last < addr {
			return nil, fmt.Errorf("%w: e820 entry at %#x: %#x+%#x wraps", ErrMalformed, o, addr, n)
		}
		t, ok := e820Numbers[typ]
		if !ok {
			t = UnknownMemory
		}
		out = append(out, MemoryRange{Range{addr, last}, t})
	}
	return out, nil
}
