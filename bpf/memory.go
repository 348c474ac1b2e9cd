// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
)

// Perm says what a program may do with a region.
type Perm uint8

const (
	// PermRead lets the program read.
	PermRead Perm = 1 << iota
	// PermWrite lets the program write.
	PermWrite
	// PermAligned demands accesses at multiples of their size.
	PermAligned
)

// An address is no host address:
//
//	bit  63      0
//	bits 52..62  generation of the slot, so that a freed region stays freed
//	bits 40..51  slot in the region table; slot 0 is never used
//	bits  0..39  offset in the region
//
// so an address below 1 TiB is never valid, and a small overrun of one region
// does not reach another.
const (
	offsetBits     = 40
	offsetMask     = 1<<offsetBits - 1
	slotBits       = 12
	slotMask       = 1<<slotBits - 1
	maxGeneration  = 1<<11 - 1
	maxRegionBytes = 1 << offsetBits
)

// A region is a run of host memory that programs see under an address.
type region struct {
	tag  uint64 // address >> offsetBits; 0 when the slot is free
	perm Perm
	data []byte
	// full is longer than data in a sparse region. What lies beyond data is
	// memory that nobody touched yet; extend makes it part of data.
	full []byte
}

// space is the table of regions of one machine.
type space struct {
	regions []region
	info    []slotInfo // same index as regions
	free    []uint16
	touched uint64 // bytes of maps and records that are real
	limit   uint64 // of touched
}

// extendBytes is the unit in which sparse regions become real.
const extendBytes = 64 << 10

type slotInfo struct {
	name       string
	generation uint64
}

func newSpace() space {
	return space{regions: make([]region, 1, 32), info: make([]slotInfo, 1, 32)}
}

// add makes a region and returns the address of its first byte.
func (s *space) add(name string, data []byte, perm Perm) (uint64, error) {
	if uint64(len(data)) >= maxRegionBytes {
		return 0, fmt.Errorf("region %s of %#x bytes: %w", name, len(data), ErrLimit)
	}
	var slot uint64
	if n := len(s.free); n > 0 {
		slot = uint64(s.free[n-1])
		s.free = s.free[:n-1]
		s.info[slot].generation++
	} else {
		if len(s.regions) > slotMask {
			return 0, fmt.Errorf("region %s: more than %d regions: %w", name, slotMask, ErrLimit)
		}
		slot = uint64(len(s.regions))
		s.regions = append(s.regions, region{})
		s.info = append(s.info, slotInfo{})
	}
	tag := s.info[slot].generation<<slotBits | slot
	s.info[slot].name = name
	s.regions[slot] = region{tag: tag, perm: perm, data: data}
	return tag << offsetBits, nil
}

// remove ends the region that begins at addr. Its slot is used again under
// other addresses only.
func (s *space) remove(addr uint64) bool {
	tag := addr >> offsetBits
	slot := tag & slotMask
	if slot >= uint64(len(s.regions)) || tag == 0 || s.regions[slot].tag != tag || addr&offsetMask != 0 {
		return false
	}
	s.regions[slot] = region{}
	if s.info[slot].generation < maxGeneration {
		s.free = append(s.free, uint16(slot))
	}
	return true
}

// extend makes a sparse region real up to n bytes from addr, if they lie within
// it and the limit permits.
func (s *space) extend(addr, n uint64) bool {
	tag := addr >> offsetBits
	slot := tag & slotMask
	if slot >= uint64(len(s.regions)) {
		return false
	}
	r := &s.regions[slot]
	off, real, size := addr&offsetMask, uint64(len(r.data)), uint64(len(r.full))
	if r.tag != tag || n > size || off > size-n || off+n <= real {
		return false
	}
	want := min(size, (off+n+extendBytes-1)/extendBytes*extendBytes)
	if want-real > s.limit-s.touched {
		return false
	}
	s.touched += want - real
	r.data = r.full[:want:want]
	return true
}

// bytes returns n bytes at addr, or nil if they do not lie in one region that
// grants perm. n must not be 0.
func (s *space) bytes(addr, n uint64, perm Perm) []byte {
	b := s.real(addr, n, perm)
	if b == nil && s.extend(addr, n) {
		b = s.real(addr, n, perm)
	}
	return b
}

// real is bytes without making anything real.
func (s *space) real(addr, n uint64, perm Perm) []byte {
	tag := addr >> offsetBits
	slot := tag & slotMask
	if slot >= uint64(len(s.regions)) {
		return nil
	}
	r := &s.regions[slot]
	off := addr & offsetMask
	if r.tag != tag || r.perm&perm != perm || n > uint64(len(r.data)) || off > uint64(len(r.data))-n {
		return nil
	}
	return r.data[off : off+n : off+n]
}

// explain says why bytes(addr, n, perm) is nil.
func (s *space) explain(addr, n uint64, perm Perm) error {
	verb := "read"
	if perm&PermWrite != 0 {
		verb = "write"
	}
	tag := addr >> offsetBits
	slot := tag & slotMask
	off := addr & offsetMask
	if tag == 0 || slot == 0 || slot >= uint64(len(s.regions)) {
		return fmt.Errorf("%s of %d bytes at %#x: %w", verb, n, addr, ErrAccess)
	}
	r, in := &s.regions[slot], &s.info[slot]
	switch {
	case r.tag != tag && tag>>slotBits <= in.generation:
		return fmt.Errorf("%s of %d bytes at %s+%#x: %w", verb, n, in.name, off, ErrFreed)
	case r.tag != tag:
		return fmt.Errorf("%s of %d bytes at %#x: %w", verb, n, addr, ErrAccess)
	case n <= uint64(len(r.full)) && off <= uint64(len(r.full))-n && off+n > uint64(len(r.data)):
		return fmt.Errorf("%s of %d bytes at %s+%#x, %#x of %#x bytes touched: %w", verb, n, in.name, off, s.touched, s.limit, ErrMemory)
	case n > uint64(len(r.data)) || off > uint64(len(r.data))-n:
		return fmt.Errorf("%s of %d bytes at %s+%#x, a region of %#x bytes: %w", verb, n, in.name, off, max(len(r.data), len(r.full)), ErrAccess)
	default:
		return fmt.Errorf("%s of %d bytes at %s+%#x: %w", verb, n, in.name, off, ErrPermission)
	}
}

// Map shows data to programs as a region of its own and returns the address
// of its first byte. The bytes are not copied and do not count against the
// budget; with PermWrite the program changes them in place.
//
// ErrLimit: more than 4095 regions at a time, or 1 TiB and more.
func (m *Machine) Map(name string, data []byte, perm Perm) (uint64, error) {
	return m.space.add(name, data, perm)
}

// Unmap ends a region that Map made. Later accesses to it fail with ErrFreed.
func (m *Machine) Unmap(addr uint64) error {
	if !m.space.remove(addr) {
		return fmt.Errorf("unmap %#x: %w", addr, ErrAccess)
	}
	return nil
}

// View returns n bytes that the program can read at addr, without copying.
// The program may change them later, so bytes that are both checked and used
// must be copied first. A View of 0 bytes is empty and never fails.
func (m *Machine) View(addr, n uint64) ([]byte, error) {
	return m.view(addr, n, PermRead)
}

// Check tells whether a program can read n bytes at addr, by the error that
// View would have. It makes no memory real.
func (m *Machine) Check(addr, n uint64) error {
	slot := addr >> offsetBits & slotMask
	if n == 0 || m.space.real(addr, n, PermRead) != nil {
		return nil
	}
	if slot < uint64(len(m.space.regions)) {
		r, off := &m.space.regions[slot], addr&offsetMask
		size := uint64(len(r.full))
		if r.tag == addr>>offsetBits && r.perm&PermRead != 0 && n <= size && off <= size-n {
			return nil
		}
	}
	return m.space.explain(addr, n, PermRead)
}

// Mutable returns n bytes that the program can write at addr.
func (m *Machine) Mutable(addr, n uint64) ([]byte, error) {
	return m.view(addr, n, PermRead|PermWrite)
}

func (m *Machine) view(addr, n uint64, perm Perm) ([]byte, error) {
	if n == 0 {
		return []byte{}, nil
	}
	if b := m.space.bytes(addr, n, perm); b != nil {
		return b, nil
	}
	return nil, m.space.explain(addr, n, perm)
}

// CString returns the bytes at addr up to a NUL that must follow within max
// bytes and within the region.
func (m *Machine) CString(addr, max uint64) (string, error) {
	b := m.tail(addr, max)
	if b == nil {
		return "", m.space.explain(addr, 1, PermRead)
	}
	if uint64(len(b)) > max {
		b = b[:max]
	}
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", fmt.Errorf("string at %s without NUL in %d bytes: %w", m.Describe(addr), len(b), ErrArgument)
	}
	return string(b[:i]), nil
}

// tail returns what can be read from addr to the end of its region, or nil.
// Of a sparse region it is at least max bytes, if there are as many.
func (m *Machine) tail(addr, max uint64) []byte {
	if m.space.bytes(addr, 1, PermRead) == nil {
		return nil
	}
	r := &m.space.regions[addr>>offsetBits&slotMask]
	if size, off := uint64(len(r.full)), addr&offsetMask; size > off {
		m.space.extend(addr, min(max, size-off))
	}
	return m.space.regions[addr>>offsetBits&slotMask].data[addr&offsetMask:]
}

// Describe names an address for people: "image+0x40", or the bare number if
// no region is there.
func (m *Machine) Describe(addr uint64) string {
	tag := addr >> offsetBits
	slot := tag & slotMask
	if tag == 0 || slot >= uint64(len(m.space.regions)) || m.space.regions[slot].tag != tag {
		return fmt.Sprintf("%#x", addr)
	}
	return fmt.Sprintf("%s+%#x", m.space.info[slot].name, addr&offsetMask)
}
