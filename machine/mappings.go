// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
)

// Mapping is a range of physical memory and the virtual address at which the
// running kernel has it.
type Mapping struct {
	Range
	Virt uint64 `json:"virt"` // of Range.Start
}

// Sizes in bytes and values of 64-bit ELF files (System V ABI, chapters 4, 5).
const (
	elfHeaderSize  = 64
	elfProgramSize = 56
	elfPhoff       = 32
	elfPhentsize   = 54
	elfPhnum       = 56
	elfTypeCore    = 4
	elfTypeLoad    = 1
)

// readMappings takes the program headers of /proc/kcore, which tell where the
// kernel has its memory; what is no physical memory has the physical address
// 2^64-1 there (fs/proc/kcore.c). The file is not remembered for a recording:
// whoever knows where a kernel lies is a step ahead in attacking it.
func readMappings(s *snapshot) Fact[[]Mapping] {
	const path = "proc/kcore"
	f := file{path: "/" + path, state: Known}
	var err error
	f.data, err = s.open(path, limitFile, elfHeaders)
	if err != nil {
		e := &file{path: f.path, why: plain(err)}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.why = whyAbsent
		case errors.Is(err, fs.ErrPermission):
			e.state = NotPermitted
		}
		return lost[[]Mapping](*e)
	}
	return parsed(f, parseMappings)
}

// elfHeaders returns the ELF header and the program headers, which follow it.
func elfHeaders(r io.Reader) ([]byte, error) {
	b := make([]byte, elfHeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%w: ELF header: %w", ErrMalformed, err)
	}
	n := int(binary.LittleEndian.Uint16(b[elfPhnum:]))
	b = append(b, make([]byte, n*elfProgramSize)...)
	if _, err := io.ReadFull(r, b[elfHeaderSize:]); err != nil {
		return nil, fmt.Errorf("%w: %d program headers: %w", ErrMalformed, n, err)
	}
	return b, nil
}

func parseMappings(b []byte) ([]Mapping, error) {
	le := binary.LittleEndian
	if len(b) < elfHeaderSize || string(b[:6]) != "\x7fELF\x02\x01" || le.Uint16(b[16:]) != elfTypeCore ||
		le.Uint64(b[elfPhoff:]) != elfHeaderSize || le.Uint16(b[elfPhentsize:]) != elfProgramSize {
		return nil, fmt.Errorf("%w: no 64-bit little-endian ELF core", ErrMalformed)
	}
	var out []Mapping
	for p := b[elfHeaderSize:]; len(p) >= elfProgramSize; p = p[elfProgramSize:] {
		virt, phys, size := le.Uint64(p[16:]), le.Uint64(p[24:]), le.Uint64(p[40:])
		if le.Uint32(p) != elfTypeLoad || phys == math.MaxUint64 || size == 0 {
			continue
		}
		if phys+(size-1) < phys || virt+(size-1) < virt {
			return nil, fmt.Errorf("%w: %#x bytes at %#x mapped at %#x", ErrMalformed, size, phys, virt)
		}
		out = append(out, Mapping{Range{phys, phys + (size - 1)}, virt})
	}
	return out, nil
}
