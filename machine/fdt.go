// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Tokens of the structure block (Devicetree Specification, section 5.4). All
// words are big endian.
const (
	fdtMagic     = 0xd00dfeed
	fdtBeginNode = 1
	fdtEndNode   = 2
	fdtProp      = 3
	fdtNop       = 4
	fdtEnd       = 9
	fdtMaxDepth  = 64
)

// eachProp calls do with each property of a flattened device tree: the path
// of its node ("" for the root, "/chosen"), its name and a view of its value.
// It stops when do returns false.
//
// This is no device tree library: it finds the few words of /chosen that a
// snapshot is about and wipes the seeds. Package image/fdt edits trees.
func eachProp(b []byte, do func(node, name string, value []byte) bool) error {
	if len(b) < 40 || binary.BigEndian.Uint32(b) != fdtMagic {
		return fmt.Errorf("%w: no device tree", ErrMalformed)
	}
	word := func(o uint64) uint64 { return uint64(binary.BigEndian.Uint32(b[o:])) }
	total := min(word(4), uint64(len(b)))
	pos, strs := word(8), word(12)
	end := pos + word(36) // off_dt_struct + size_dt_struct
	if word(20) < 17 || end > total {
		end = total
	}
	if strs > total {
		return fmt.Errorf("%w: device tree strings at %#x of %#x bytes", ErrMalformed, strs, total)
	}
	var path []string
	for pos%4 == 0 && pos+4 <= end {
		tok := word(pos)
		pos += 4
		switch tok {
		case fdtNop:
		case fdtEnd:
			return nil
		case fdtBeginNode:
			n := bytes.IndexByte(b[pos:end], 0)
			if n < 0 || len(path) == fdtMaxDepth {
				return fmt.Errorf("%w: device tree node at %#x", ErrMalformed, pos)
			}
			path = append(path, string(b[pos:pos+uint64(n)]))
			pos = (pos + uint64(n) + 4) &^ 3
		case fdtEndNode:
			if len(path) == 0 {
				return fmt.Errorf("%w: device tree ends a node too many at %#x", ErrMalformed, pos)
			}
			path = path[:len(path)-1]
		case fdtProp:
			if pos+8 > end {
				return fmt.Errorf("%w: device tree property at %#x", ErrMalformed, pos)
			}
			n, off := word(pos), strs+word(pos+4)
			pos += 8
			if pos+n > end || off >= total {
				return fmt.Errorf("%w: device tree property of %#x bytes at %#x", ErrMalformed, n, pos)
			}
			z := bytes.IndexByte(b[off:total], 0)
			if z < 0 {
				return fmt.Errorf("%w: device tree name at %#x", ErrMalformed, off)
			}
			name := string(b[off : off+uint64(z)])
			if !do(strings.Join(path, "/"), name, b[pos:pos+n]) {
				return nil
			}
			pos = (pos + n + 3) &^ 3
		default:
			return fmt.Errorf("%w: device tree token %#x at %#x", ErrMalformed, tok, pos-4)
		}
	}
	return fmt.Errorf("%w: device tree has no end", ErrMalformed)
}

// wipeSeeds zeroes the values of rng-seed and kaslr-seed. The kernel wipes
// them as well once it has used them.
func wipeSeeds(b []byte) error {
	return eachProp(b, func(_, name string, value []byte) bool {
		if name == "rng-seed" || name == "kaslr-seed" {
			clear(value)
		}
		return true
	})
}

func readFDT(s *snapshot) Fact[[]byte] {
	f := s.readFiltered("sys/firmware/fdt", limitFDT, func(r io.Reader) ([]byte, error) {
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		return b, wipeSeeds(b)
	})
	return parsed(f, func(b []byte) ([]byte, error) { return b, nil })
}

// chosen returns the value of a property of /chosen.
func chosen(fdt Fact[[]byte], want string) ([]byte, bool) {
	var got []byte
	found := false
	if !fdt.Known() {
		return nil, false
	}
	// The tree was walked whole when it was read.
	_ = eachProp(fdt.Value, func(node, name string, value []byte) bool {
		if node == "/chosen" && name == want {
			got, found = value, true
		}
		return !found
	})
	return got, found
}

// chosenNumber returns a property of one or two 32-bit cells.
func chosenNumber(fdt Fact[[]byte], want string) (uint64, bool) {
	switch v, _ := chosen(fdt, want); len(v) {
	case 4:
		return uint64(binary.BigEndian.Uint32(v)), true
	case 8:
		return binary.BigEndian.Uint64(v), true
	}
	return 0, false
}
