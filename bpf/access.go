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

// loadSigned is a load that extends the sign (RFC 9669, section 5.2).
func (m *Machine) loadSigned(in *ins, r *[16]uint64) error {
	addr := r[in.src&15] + uint64(int64(in.off))
	var v uint64
	var ok bool
	switch in.op {
	case opLdxs8:
		v, ok = m.space.load8(addr)
		v = uint64(int64(int8(v)))
	case opLdxs16:
		v, ok = m.space.load16(addr)
		v = uint64(int64(int16(v)))
	default:
		v, ok = m.space.load32(addr)
		v = uint64(int64(int32(v)))
	}
	if !ok {
		if m.space.extend(addr, accessBytes(in.op)) {
			return m.loadSigned(in, r)
		}
		return m.space.refuse(addr, accessBytes(in.op), PermRead)
	}
	r[in.dst&15] = v
	return nil
}

// accessBytes is the width of a load or store.
func accessBytes(op opcode) uint64 {
	switch op {
	case opLdx8, opLdxs8, opSt8, opStx8:
		return 1
	case opLdx16, opLdxs16, opSt16, opStx16:
		return 2
	case opLdx32, opLdxs32, opSt32, opStx32:
		return 4
	}
	return 8
}

// accessPerm is what a load or store needs.
func accessPerm(op opcode) Perm {
	switch op {
	case opLdx8, opLdx16, opLdx32, opLdx64, opLdxs8, opLdxs16, opLdxs32:
		return PermRead
	}
	return PermWrite
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
