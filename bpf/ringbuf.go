// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
)

// A ring is a ring buffer without the ring: each record is memory of its own
// and its space counts as consumed once the record is submitted or discarded.
//
// As in the kernel, memory that a new record gets is the memory that an older
// one had; it is zero only the first time.
type ring struct {
	size  uint64  // capacity in bytes
	used  uint64  // of live records, headers included
	spare backing // memory of the last record that ended
}

// ringHeader precedes each record (BPF_RINGBUF_HDR_SZ).
const ringHeader = 8

// record is a reserved piece of a ring buffer.
type record struct {
	m *mapState
	backing
	cost uint64
}

// ringCost is what a record of n bytes takes from the ring.
func ringCost(n uint64) uint64 { return (n + ringHeader + 7) &^ 7 }

// ringReserve is bpf_ringbuf_reserve(ringbuf, size, flags). NULL when there is
// no room.
func ringReserve(m *Machine, a [5]uint64) (uint64, error) {
	s, err := m.mapArg(a[0], MapRingbuf)
	if err != nil {
		return 0, err
	}
	n := a[1]
	if a[2] != 0 || n > 1<<30-1 || ringCost(n) > s.ring.size-s.ring.used {
		return 0, nil
	}
	if n == 0 {
		return 0, fmt.Errorf("ring buffer %s: record of 0 bytes: %w", s.spec.Name, ErrArgument)
	}
	r := record{m: s, cost: ringCost(n)}
	if uint64(len(s.ring.spare.bytes)) >= n {
		r.backing, s.ring.spare = s.ring.spare, backing{}
	} else {
		old := s.ring.spare
		s.ring.spare = backing{}
		if err := old.drop(m); err != nil {
			return 0, fmt.Errorf("ring buffer %s: %w", s.spec.Name, err)
		}
		// Zeroing costs time like copying does.
		if err := m.chargeBytes(n); err != nil {
			return 0, err
		}
		var err error
		if r.backing, err = m.newBacking(n); err != nil {
			return 0, fmt.Errorf("ring buffer %s: %w", s.spec.Name, err)
		}
	}
	real := min(n, r.real)
	addr, err := m.space.add("record of "+s.spec.Name, r.bytes[:real:real], PermRead|PermWrite)
	if err != nil {
		return 0, errors.Join(err, r.drop(m))
	}
	m.space.regions[addr>>offsetBits&slotMask].full = r.bytes[:n:n]
	s.ring.used += r.cost
	m.records[addr] = r
	m.acquire(addr)
	return addr, nil
}

// endRecord takes a record from the program and returns what it holds. The
// caller drops it.
func (m *Machine) endRecord(addr uint64) (record, []byte, error) {
	r, ok := m.records[addr]
	if !ok {
		return r, nil, fmt.Errorf("%s is not a reserved record: %w", m.Describe(addr), ErrReference)
	}
	if err := m.release(addr); err != nil {
		return r, nil, err
	}
	data := m.space.regions[addr>>offsetBits&slotMask].full
	return r, data, nil
}

// dropRecord ends a record. Its memory is kept for the next one of the ring if
// it is larger than what is kept already.
func (m *Machine) dropRecord(addr uint64, r record) error {
	r.real = max(r.real, uint64(len(m.space.regions[addr>>offsetBits&slotMask].data)))
	delete(m.records, addr)
	m.space.remove(addr)
	r.m.ring.used -= r.cost
	other := r.backing
	if len(r.bytes) > len(r.m.ring.spare.bytes) {
		other, r.m.ring.spare = r.m.ring.spare, r.backing
	}
	return other.drop(m)
}

// dropRecords ends what a program left behind when it failed.
func (m *Machine) dropRecords() error {
	var errs []error
	for addr, r := range m.records {
		errs = append(errs, m.dropRecord(addr, r))
	}
	return errors.Join(errs...)
}

// ringSubmit is bpf_ringbuf_submit(record, flags).
func ringSubmit(m *Machine, a [5]uint64) (uint64, error) {
	r, data, err := m.endRecord(a[0])
	if err != nil {
		return 0, err
	}
	if m.opts.Output != nil {
		m.opts.Output(r.m.spec.Name, data)
	}
	return 0, m.dropRecord(a[0], r)
}

// ringDiscard is bpf_ringbuf_discard(record, flags).
func ringDiscard(m *Machine, a [5]uint64) (uint64, error) {
	r, _, err := m.endRecord(a[0])
	if err != nil {
		return 0, err
	}
	return 0, m.dropRecord(a[0], r)
}

// ringOutput is bpf_ringbuf_output(ringbuf, data, size, flags).
func ringOutput(m *Machine, a [5]uint64) (uint64, error) {
	const noWakeup, forceWakeup = 1, 2
	s, err := m.mapArg(a[0], MapRingbuf)
	if err != nil {
		return 0, err
	}
	data, err := m.View(a[1], a[2])
	if err != nil {
		return 0, err
	}
	if a[3]&^(noWakeup|forceWakeup) != 0 {
		return errno(einval), nil
	}
	if a[2] > 1<<30-1 || ringCost(a[2]) > s.ring.size-s.ring.used {
		return errno(eagain), nil
	}
	if m.opts.Output != nil {
		m.opts.Output(s.spec.Name, data)
	}
	return 0, nil
}

// ringQuery is bpf_ringbuf_query(ringbuf, flags). Positions of producer and
// consumer are relative to the last record that was consumed.
func ringQuery(m *Machine, a [5]uint64) (uint64, error) {
	s, err := m.mapArg(a[0], MapRingbuf)
	if err != nil {
		return 0, err
	}
	switch a[1] {
	case 0, 3: // BPF_RB_AVAIL_DATA, BPF_RB_PROD_POS
		return s.ring.used, nil
	case 1: // BPF_RB_RING_SIZE
		return s.ring.size, nil
	default: // BPF_RB_CONS_POS, unknown
		return 0, nil
	}
}
