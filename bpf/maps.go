// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// maxMapBytes bounds one map, whatever the budget says, so that entry sizes
// times entries stay far from wrapping.
const maxMapBytes = 1 << 32

// mapState is a live map.
type mapState struct {
	spec *MapSpec
	addr uint64 // what LD_IMM64 of the map yields

	// Arrays: all values in one region.
	values uint64
	stride uint64

	// Ring buffers.
	ring ring
}

// addMap makes a map live.
func (m *Machine) addMap(spec *MapSpec) error {
	s := &mapState{spec: spec}
	switch spec.Type {
	case MapArray:
		if spec.KeySize != 4 || spec.ValueSize == 0 || spec.MaxEntries == 0 {
			return fmt.Errorf("array %s: key of %d, value of %d bytes, %d entries: %w",
				spec.Name, spec.KeySize, spec.ValueSize, spec.MaxEntries, ErrFormat)
		}
		s.stride = (uint64(spec.ValueSize) + 7) &^ 7
		total := s.stride * uint64(spec.MaxEntries) // 2^32 * 2^32 at most, checked below
		if s.stride > maxMapBytes || total/s.stride != uint64(spec.MaxEntries) || total > maxMapBytes {
			return fmt.Errorf("array %s: %#x entries of %#x bytes: %w", spec.Name, spec.MaxEntries, spec.ValueSize, ErrLimit)
		}
		if uint64(len(spec.Contents)) > uint64(spec.ValueSize) {
			return fmt.Errorf("array %s: contents of %#x bytes for values of %#x: %w", spec.Name, len(spec.Contents), spec.ValueSize, ErrFormat)
		}
		if total > math.MaxInt {
			return fmt.Errorf("array %s: %w", spec.Name, ErrLimit)
		}
		if err := m.reserve(total); err != nil {
			return fmt.Errorf("array %s: %w", spec.Name, err)
		}
		if err := m.touch(total); err != nil {
			return fmt.Errorf("array %s: %w", spec.Name, err)
		}
		data := make([]byte, total)
		copy(data, spec.Contents)
		perm := PermRead | PermWrite
		if spec.ReadOnly() {
			perm = PermRead
		}
		addr, err := m.space.add("map "+spec.Name, data, perm)
		if err != nil {
			return err
		}
		s.values = addr
	case MapRingbuf:
		// The kernel wants a power of two and whole pages; libbpf rounds up
		// to that, so rounding is all that an object needs.
		if spec.KeySize != 0 || spec.ValueSize != 0 || spec.MaxEntries > 1<<31 {
			return fmt.Errorf("ring buffer %s: key of %d, value of %d, size of %#x bytes: %w",
				spec.Name, spec.KeySize, spec.ValueSize, spec.MaxEntries, ErrFormat)
		}
		s.ring.size = 4096
		for s.ring.size < uint64(spec.MaxEntries) {
			s.ring.size *= 2
		}
	default:
		return fmt.Errorf("map %s of type %d: %w", spec.Name, spec.Type, ErrUnsupported)
	}
	addr, err := m.space.add("handle of map "+spec.Name, nil, 0)
	if err != nil {
		return err
	}
	s.addr = addr
	m.maps = append(m.maps, s)
	m.byAddr[addr] = s
	return nil
}

// Value returns entry 0 of an array map, such as a data section, by the map's
// name. It is the live memory.
func (m *Machine) Value(name string) ([]byte, error) {
	for _, s := range m.maps {
		if s.spec.Name == name && s.spec.Type == MapArray {
			return m.space.bytes(s.values, uint64(s.spec.ValueSize), PermRead), nil
		}
	}
	return nil, fmt.Errorf("no array map %q: %w", name, ErrFormat)
}

// mapArg resolves a map argument of a helper.
func (m *Machine) mapArg(addr uint64, want MapType) (*mapState, error) {
	s := m.byAddr[addr]
	if s == nil {
		return nil, fmt.Errorf("%s is not a map: %w", m.Describe(addr), ErrArgument)
	}
	if s.spec.Type != want {
		return nil, fmt.Errorf("map %s has type %d, not %d: %w", s.spec.Name, s.spec.Type, want, ErrArgument)
	}
	return s, nil
}

// entry reads a key and returns the address of that entry, or 0 beyond the end.
func (m *Machine) entry(s *mapState, key uint64) (uint64, error) {
	b, err := m.View(key, 4)
	if err != nil {
		return 0, err
	}
	i := binary.LittleEndian.Uint32(b)
	if i >= s.spec.MaxEntries {
		return 0, nil
	}
	return s.values + uint64(i)*s.stride, nil
}

// mapLookup is bpf_map_lookup_elem(map, key).
func mapLookup(m *Machine, a [5]uint64) (uint64, error) {
	s, err := m.mapArg(a[0], MapArray)
	if err != nil {
		return 0, err
	}
	return m.entry(s, a[1])
}

// mapUpdate is bpf_map_update_elem(map, key, value, flags).
func mapUpdate(m *Machine, a [5]uint64) (uint64, error) {
	const noExist, exist = 1, 2
	s, err := m.mapArg(a[0], MapArray)
	if err != nil {
		return 0, err
	}
	if s.spec.ReadOnly() {
		return 0, fmt.Errorf("map %s: %w", s.spec.Name, ErrPermission)
	}
	addr, err := m.entry(s, a[1])
	if err != nil {
		return 0, err
	}
	n := uint64(s.spec.ValueSize)
	value, err := m.View(a[2], n)
	if err != nil {
		return 0, err
	}
	switch {
	case a[3] > exist:
		return errno(einval), nil
	case addr == 0:
		return errno(e2big), nil
	case a[3] == noExist:
		return errno(eexist), nil
	}
	if err := m.chargeBytes(n); err != nil {
		return 0, err
	}
	dst, err := m.Mutable(addr, n)
	if err != nil {
		return 0, err
	}
	copy(dst, value)
	return 0, nil
}

// mapDelete is bpf_map_delete_elem(map, key); arrays refuse it.
func mapDelete(m *Machine, a [5]uint64) (uint64, error) {
	if _, err := m.mapArg(a[0], MapArray); err != nil {
		return 0, err
	}
	if _, err := m.View(a[1], 4); err != nil {
		return 0, err
	}
	return errno(einval), nil
}
