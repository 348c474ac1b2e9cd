// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
)

// A machine has one thread, so atomic means here: whole, aligned, and with the
// results that RFC 9669, section 5.3 defines.

func (m *Machine) atomic(in *ins, r *[16]uint64) error {
	switch in.op {
	case opLoadAcquire:
		n := uint64(in.imm)
		b, err := m.aligned(r[in.src&15]+uint64(int64(in.off)), n, PermRead)
		if err != nil {
			return err
		}
		r[in.dst&15] = loadLE(b)
		return nil
	case opStoreRelease:
		n := uint64(in.imm)
		b, err := m.aligned(r[in.dst&15]+uint64(int64(in.off)), n, PermWrite)
		if err != nil {
			return err
		}
		storeLE(b, r[in.src&15])
		return nil
	}
	size, mask := uint64(8), ^uint64(0)
	if in.op == opAtomic32 {
		size, mask = 4, 1<<32-1
	}
	b, err := m.aligned(r[in.dst&15]+uint64(int64(in.off)), size, PermRead|PermWrite)
	if err != nil {
		return err
	}
	old, src := loadLE(b), r[in.src&15]&mask
	switch in.imm {
	case atomicXCHG:
		storeLE(b, src)
		r[in.src&15] = old
		return nil
	case atomicCMPXCHG:
		if old == r[0]&mask {
			storeLE(b, src)
		}
		r[0] = old
		return nil
	}
	switch in.imm &^ atomicFetch {
	case atomicADD:
		storeLE(b, old+src)
	case atomicOR:
		storeLE(b, old|src)
	case atomicAND:
		storeLE(b, old&src)
	case atomicXOR:
		storeLE(b, old^src)
	}
	if in.imm&atomicFetch != 0 {
		r[in.src&15] = old
	}
	return nil
}

// aligned returns n bytes at an address that must be a multiple of n.
func (m *Machine) aligned(addr, n uint64, perm Perm) ([]byte, error) {
	b := m.space.bytes(addr, n, perm)
	if b == nil {
		return nil, m.space.explain(addr, n, perm)
	}
	if addr&(n-1) != 0 {
		return nil, misaligned(m, addr, n)
	}
	return b, nil
}

func loadLE(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	default:
		return binary.LittleEndian.Uint64(b)
	}
}

func storeLE(b []byte, v uint64) {
	switch len(b) {
	case 1:
		b[0] = uint8(v)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	default:
		binary.LittleEndian.PutUint64(b, v)
	}
}
