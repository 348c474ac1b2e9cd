// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"fmt"
)

// OpenRaw makes an object of bare instruction bytes: one program with the name
// raw, without maps and types. They are checked by Link.
func OpenRaw(program []byte) *Object {
	return &Object{Programs: []*Program{{Name: "raw", insns: program}}}
}

// RunRaw runs instruction bytes over a memory buffer, as conformance suites
// do: R1 is the address of memory, R2 its length in bytes, the result is R0.
//
// memory is read and written in place. Where the instruction set permits what
// the load-time check or a kernel forbids, so does RunRaw: unaligned access to
// the stack and calls through a register. There are no maps and no kernel
// functions.
func RunRaw(ctx context.Context, program, memory []byte, budget Budget) (uint64, error) {
	o := OpenRaw(program)
	m, err := newMachine(o, nil, Options{Budget: budget})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	m.stackPerm = PermRead | PermWrite
	m.callx = true
	c, err := m.load(o.Programs[0])
	if err != nil {
		return 0, err
	}
	var addr uint64
	if len(memory) > 0 {
		if addr, err = m.Map("memory", memory, PermRead|PermWrite); err != nil {
			return 0, fmt.Errorf("raw program: %w", err)
		}
	}
	return m.run(ctx, c, []uint64{addr, uint64(len(memory))})
}
