// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"

	"github.com/peelboot/peel/internal/unix"
)

const (
	elfMachine  = 183 // EM_AARCH64
	syscallSize = 4
)

// stubAddress returns where the page of the child is: above all RAM, and
// within 39 bits of virtual addresses where RAM allows that.
func stubAddress(top uint64) uint64 {
	if top <= 0x7000000000 {
		return 0x7e00000000
	}
	return 0x7e0000000000
}

func stubCode() []byte {
	var b []byte
	b = le.AppendUint32(b, 0xd4000001) // svc #0
	return le.AppendUint32(b, 0)       // udf #0
}

// registers is struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h):
// x0 to x30, sp, pc, pstate.
type registers [34]uint64

const (
	lr     = 30
	sp     = 31
	pcReg  = 32
	pstate = 33
)

func (r *registers) pc() uint64     { return r[pcReg] }
func (r *registers) result() uint64 { return r[0] }
func (r *registers) native() bool   { return r[pstate]&0x10 == 0 }
func (r *registers) clear()         { *r = registers{} }

func (r *registers) syscall(at uint64, nr int, args []uint64) {
	r[pcReg], r[8] = at, uint64(nr)
	for i := range 6 {
		r[i] = 0
		if i < len(args) {
			r[i] = args[i]
		}
	}
}

// breakpoint returns the address of the brk that stopped the process.
func breakpoint(s *Stop) (uint64, bool) { return s.PC, s.Code == 1 }

// CPU is the processor of a stopped process, with the calling convention of
// UEFI on AArch64 (UEFI specification, section 2.3.6).
type CPU struct {
	p    *Process
	regs registers
}

// Saved is a state of the processor.
type Saved struct {
	regs  registers
	float []byte
}

// PC returns the address of the next instruction.
func (c *CPU) PC() uint64 { return c.regs[pcReg] }

// SetPC makes the process go on at addr.
func (c *CPU) SetPC(addr uint64) { c.regs[pcReg] = addr }

// SP returns the stack pointer.
func (c *CPU) SP() uint64 { return c.regs[sp] }

// Arg returns argument n of the function whose first instruction the process
// stopped at, counted from 0. ErrAddress means that the stack is nowhere.
func (c *CPU) Arg(n int) (uint64, error) {
	if n < 8 {
		return c.regs[n], nil
	}
	addr := c.regs[sp] + 8*uint64(n-8)
	if !c.p.within(addr, 8) {
		return 0, fmt.Errorf("stack at %#x: %w", addr, ErrAddress)
	}
	return le.Uint64(c.p.mem[addr:]), nil
}

// Return sets what the function returns; it goes on with the instruction
// after the breakpoint, which returns.
func (c *CPU) Return(v uint64) {
	c.regs[0] = v
	c.regs[pcReg] += 4
}

// Result returns what a function returned.
func (c *CPU) Result() uint64 { return c.regs[0] }

// HandOver returns what the kernel's entry is given: the device tree in x0
// (Documentation/arch/arm64/booting.rst, "Call the kernel image").
func (c *CPU) HandOver() uint64 { return c.regs[0] }

// Enter calls the function at entry with a stack that ends at top, a multiple
// of 16; the function returns to ret. There are at most eight arguments.
func (c *CPU) Enter(entry, top, ret uint64, args ...uint64) error {
	if top%16 != 0 || len(args) > 8 || !c.p.within(top-16, 16) {
		return fmt.Errorf("stack at %#x: %w", top, ErrAddress)
	}
	c.regs = c.p.first
	copy(c.regs[:8], args)
	c.regs[pcReg], c.regs[sp], c.regs[lr] = entry, top, ret
	return nil
}

// Save returns the state of the processor.
func (c *CPU) Save() (Saved, error) {
	f := make([]byte, 528)
	n, err := c.p.t.Regset(unix.RegsFloat, f)
	return Saved{c.regs, f[:n]}, err
}

// Restore sets the state of the processor.
func (c *CPU) Restore(s Saved) error {
	c.regs = s.regs
	return c.p.t.SetRegset(unix.RegsFloat, s.float)
}

// Registers returns the registers for people.
func (c *CPU) Registers() []Register {
	var out []Register
	for i := range 31 {
		out = append(out, Register{fmt.Sprintf("x%d", i), c.regs[i]})
	}
	return append(out, Register{"sp", c.regs[sp]}, Register{"pc", c.regs[pcReg]})
}
