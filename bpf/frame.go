// SPDX-License-Identifier: Apache-2.0

package bpf

import "fmt"

// mayGotoLimit is how often one frame may pass may_goto before it jumps
// (BPF_MAX_LOOPS of the kernel).
const mayGotoLimit = 8 << 20

// push enters a frame; its stack is zero.
func (m *Machine) push(ret int) error {
	if m.depth == maxFrames {
		return fmt.Errorf("more than %d frames: %w", maxFrames, ErrDepth)
	}
	f := &m.stack[m.depth]
	f.ret = ret
	f.loops = mayGotoLimit
	clear(f.stack)
	m.space.regions[f.addr>>offsetBits&slotMask].perm = m.stackPerm
	m.depth++
	return nil
}

// pop leaves a frame; its stack can no longer be reached.
func (m *Machine) pop() {
	m.depth--
	m.space.regions[m.stack[m.depth].addr>>offsetBits&slotMask].perm = 0
}

// settle takes used instructions from the budget and looks at the time when
// that is due.
func (m *Machine) settle(used uint64) error {
	m.fuel -= used
	if m.fuel == 0 {
		return ErrInstructions
	}
	if m.fuel <= m.nextCheck {
		return m.checkTime()
	}
	return nil
}

// grant says how many instructions may run before the next settling.
func (m *Machine) grant() uint64 { return m.fuel - m.nextCheck }
