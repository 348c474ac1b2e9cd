// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"math"
)

// relocate applies the CO-RE records of a program to c.raw. It returns the
// slots of instructions that have no meaning on this host; reaching one is a
// fault.
func (m *Machine) relocate(p *Program, c *code) ([]int, error) {
	var poisoned []int
	var host []*Type
	if m.host != nil {
		host = m.host.Types
	}
	n := len(c.raw) / slotBytes
	for _, r := range p.relos {
		if r.index < 0 || r.index >= n {
			return nil, fmt.Errorf("program %s: CO-RE record for instruction %d of %d: %w", p.Name, r.index, n, ErrRelocation)
		}
		a, err := r.resolve(m.object.BTF, host)
		if err == nil && !a.poison {
			err = patch(c.raw, r.index, a)
		}
		if err != nil {
			return nil, c.fault(r.index, fmt.Errorf("CO-RE kind %d, type %d, access %q: %w: %w", r.kind, r.typeID, r.access, ErrRelocation, err))
		}
		if a.poison {
			poisoned = append(poisoned, r.index)
		}
	}
	return poisoned, nil
}

// patch puts an answer into the instruction in slot i.
func patch(raw []byte, i int, a coreAnswer) error {
	s := slotAt(raw, i)
	switch s.op & 7 {
	case classALU, classALU64:
		if s.op&sourceX != 0 || s.op&0xf0 == aluEND {
			return fmt.Errorf("instruction takes no constant: %w", ErrFormat)
		}
		if a.check && uint32(s.imm) != uint32(a.local) {
			return fmt.Errorf("instruction has constant %#x, its record says %#x: %w", uint32(s.imm), a.local, ErrFormat)
		}
		if a.host > math.MaxUint32 && int64(a.host) < math.MinInt32 {
			return fmt.Errorf("value %#x does not fit: %w", a.host, ErrLimit)
		}
		s.imm = int32(uint32(a.host))
	case classLDX, classST, classSTX:
		if a.check && int64(s.off) != int64(a.local) {
			return fmt.Errorf("instruction has offset %#x, its record says %#x: %w", s.off, a.local, ErrFormat)
		}
		if a.host > math.MaxInt16 {
			return fmt.Errorf("offset %#x does not fit: %w", a.host, ErrLimit)
		}
		s.off = int16(a.host)
		if a.localSize != a.hostSize && a.localSize == loadBytes(s.op) {
			size, ok := map[uint64]uint8{1: sizeB, 2: sizeH, 4: sizeW, 8: sizeDW}[a.hostSize]
			if !a.resize || !ok {
				return fmt.Errorf("field of %d bytes here, of %d in the program, cannot be accessed in place: %w", a.hostSize, a.localSize, ErrUnsupported)
			}
			s.op = s.op&^0x18 | size
		}
	case classLD:
		if s.op != opcodeLdImm64 || s.src != 0 || (i+2)*slotBytes > len(raw) {
			return fmt.Errorf("not a 64-bit constant: %w", ErrFormat)
		}
		t := slotAt(raw, i+1)
		have := uint64(uint32(s.imm)) | uint64(uint32(t.imm))<<32
		if a.check && have != a.local {
			return fmt.Errorf("instruction has constant %#x, its record says %#x: %w", have, a.local, ErrFormat)
		}
		s.imm, t.imm = int32(uint32(a.host)), int32(uint32(a.host>>32))
		t.put(raw, i+1)
	default:
		return fmt.Errorf("instruction of class %d: %w", s.op&7, ErrFormat)
	}
	s.put(raw, i)
	return nil
}

// loadBytes is how many bytes a load or store moves.
func loadBytes(op uint8) uint64 {
	switch op & 0x18 {
	case sizeB:
		return 1
	case sizeH:
		return 2
	case sizeW:
		return 4
	}
	return 8
}
