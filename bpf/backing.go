// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"

	"github.com/peelboot/peel/internal/sealed"
)

// sparseBytes is the size from which on a record is sparse: parsers of the
// kernel series reserve records for the largest image, and use what theirs needs.
const sparseBytes = 1 << 20

// backing is the memory of a ring-buffer record.
type backing struct {
	buf   *sealed.Buffer // nil for small ones, which are on the heap
	bytes []byte
	real  uint64 // bytes counted as touched
}

// newBacking counts n bytes, all zero, against the budget of memory; those of a
// small record, which are real at once, as touched too.
func (m *Machine) newBacking(n uint64) (backing, error) {
	if err := m.reserve(n); err != nil {
		return backing{}, err
	}
	if n < sparseBytes {
		if err := m.touch(n); err != nil {
			m.memory -= n
			return backing{}, err
		}
		return backing{bytes: make([]byte, n), real: n}, nil
	}
	buf, err := sealed.NewBuffer("record", int64(n))
	if err != nil {
		m.memory -= n
		return backing{}, fmt.Errorf("%w: %w", ErrMemory, err)
	}
	return backing{buf: buf, bytes: buf.Bytes()}, nil
}

// touch counts n bytes that become real.
func (m *Machine) touch(n uint64) error {
	if n > m.space.limit-m.space.touched {
		return fmt.Errorf("%#x bytes, %#x of %#x touched: %w", n, m.space.touched, m.space.limit, ErrMemory)
	}
	m.space.touched += n
	return nil
}

// drop gives the memory back.
func (b backing) drop(m *Machine) error {
	m.memory -= uint64(len(b.bytes))
	m.space.touched -= b.real
	if b.buf == nil {
		return nil
	}
	return b.buf.Close()
}
