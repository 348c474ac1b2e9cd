// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
)

// Loads and stores of instructions, one function for each width: results in
// registers, no slice made, no error built unless the access fails.

// at returns the region of an address if it grants perm, else an empty one.
func (s *space) at(addr uint64, perm Perm) *region {
	tag := addr >> offsetBits
	if slot := tag & slotMask; slot < uint64(len(s.regions)) {
		if r := &s.regions[slot]; r.tag == tag && r.perm&perm != 0 {
			return r
		}
	}
	return &s.regions[0] // never has any bytes
}

func (s *space) load8(addr uint64) (uint64, bool) {
	r, off := s.at(addr, PermRead), addr&offsetMask
	if off >= uint64(len(r.data)) {
		return 0, false
	}
	return uint64(r.data[off]), true
}

func (s *space) store8(addr uint64, v uint8) bool {
	r, off := s.at(addr, PermWrite), addr&offsetMask
	if off >= uint64(len(r.data)) {
		return false
	}
	r.data[off] = v
	return true
}

func (s *space) load16(addr uint64) (uint64, bool) {
	r, off := s.at(addr, PermRead), addr&offsetMask
	if off >= uint64(len(r.data)) || uint64(len(r.data))-off < 2 || off&1 != 0 && r.perm&PermAligned != 0 {
		return 0, false
	}
	return uint64(binary.LittleEndian.Uint16(r.data[off:])), true
}

func (s *space) store16(addr uint64, v uint16) bool {
	r, off := s.at(addr, PermWrite), addr&offsetMask
	if off >= uint64(len(r.data)) || uint64(len(r.data))-off < 2 || off&1 != 0 && r.perm&PermAligned != 0 {
		return false
	}
	binary.LittleEndian.PutUint16(r.data[off:], v)
	return true
}

func (s *space) load32(addr uint64) (uint64, bool) {
	r, off := s.at(addr, PermRead), addr&offsetMask
	if off >= uint64(len(r.data)) || uint64(len(r.data))-off < 4 || off&3 != 0 && r.perm&PermAligned != 0 {
		return 0, false
	}
	return uint64(binary.LittleEndian.Uint32(r.data[off:])), true
}

func (s *space) store32(addr uint64, v uint32) bool {
	r, off := s.at(addr, PermWrite), addr&offsetMask
	if off >= uint64(len(r.data)) || uint64(len(r.data))-off < 4 || off&3 != 0 && r.perm&PermAligned != 0 {
		return false
	}
	binary.LittleEndian.PutUint32(r.data[off:], v)
	return true
}

func (s *space) load64(addr uint64) (uint64, bool) {
	r, off := s.at(addr, PermRead), addr&offsetMask
	if off >= uint64(len(r.data)) || uint64(len(r.data))-off < 8 || off&7 != 0 && r.perm&PermAligned != 0 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(r.data[off:]), true
}

func (s *space) store64(addr uint64, v uint64) bool {
	r, off := s.at(addr, PermWrite), addr&offsetMask
	if off >= uint64(len(r.data)) || uint64(len(r.data))-off < 8 || off&7 != 0 && r.perm&PermAligned != 0 {
		return false
	}
	binary.LittleEndian.PutUint64(r.data[off:], v)
	return true
}

// refuse says why a load or store of n bytes failed.
func (s *space) refuse(addr, n uint64, perm Perm) error {
	if s.bytes(addr, n, perm) != nil {
		slot := addr >> offsetBits & slotMask
		return fmt.Errorf("access of %d bytes at %s+%#x: %w", n, s.info[slot].name, addr&offsetMask, ErrAlignment)
	}
	return s.explain(addr, n, perm)
}

func misaligned(m *Machine, addr, n uint64) error {
	return fmt.Errorf("atomic access of %d bytes at %s: %w", n, m.Describe(addr), ErrAlignment)
}
