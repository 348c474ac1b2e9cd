// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"

	"github.com/peelboot/peel/internal/unix"
)

const (
	elfMachine  = 62 // EM_X86_64
	syscallSize = 2
	userCS      = 0x33 // 64-bit code segment of user mode
)

// stubAddress returns where the page of the child is: above all RAM.
func stubAddress(uint64) uint64 { return 0x7e0000000000 }

func stubCode() []byte {
	b := make([]byte, 0x20)
	copy(b, []byte{0x0f, 0x05, 0x0f, 0x0b})                         // syscall; ud2
	copy(b[stubCPUID-stubSyscall:], []byte{0x0f, 0xa2, 0x0f, 0x0b}) // cpuid; ud2
	return b
}

// registers is struct user_regs_struct (arch/x86/include/asm/user_64.h).
type registers [27]uint64

// Indices in registers.
const (
	r15 = iota
	r14
	r13
	r12
	rbp
	rbx
	r11
	r10
	r9
	r8
	rax
	rcx
	rdx
	rsi
	rdi
	origRAX
	rip
	cs
	eflags
	rsp
	ss
	fsBase
	gsBase
)

func (r *registers) pc() uint64     { return r[rip] }
func (r *registers) result() uint64 { return r[rax] }
func (r *registers) native() bool   { return r[cs] == userCS }

// clear leaves what the mode of the processor is and nothing else.
func (r *registers) clear() {
	for i := range r {
		if i != cs && i != ss {
			r[i] = 0
		}
	}
	r[eflags] = 0x202
	r[origRAX] = ^uint64(0)
}

func (r *registers) syscall(at uint64, nr int, args []uint64) {
	r[rip], r[rax], r[origRAX] = at, uint64(nr), ^uint64(0)
	for i, to := range []int{rdi, rsi, rdx, r10, r8, r9} {
		r[to] = 0
		if i < len(args) {
			r[to] = args[i]
		}
	}
}

// breakpoint returns the address of the int3 that stopped the process.
func breakpoint(s *Stop) (uint64, bool) { return s.PC - 1, s.Code == siKernel }

// CPU is the processor of a stopped process, with the calling convention of
// UEFI on x64 (UEFI specification, section 2.3.4).
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
func (c *CPU) PC() uint64 { return c.regs[rip] }

// SetPC makes the process go on at addr.
func (c *CPU) SetPC(addr uint64) {
	c.regs[rip] = addr
	c.regs[origRAX] = ^uint64(0)
}

// SP returns the stack pointer.
func (c *CPU) SP() uint64 { return c.regs[rsp] }

// Arg returns argument n of the function whose first instruction the process
// stopped at, counted from 0. ErrAddress means that the stack is nowhere.
func (c *CPU) Arg(n int) (uint64, error) {
	if n < 4 {
		return c.regs[[]int{rcx, rdx, r8, r9}[n]], nil
	}
	return c.word(c.regs[rsp] + 8 + 8*uint64(n))
}

func (c *CPU) word(addr uint64) (uint64, error) {
	if !c.p.within(addr, 8) {
		return 0, fmt.Errorf("stack at %#x: %w", addr, ErrAddress)
	}
	return le.Uint64(c.p.mem[addr:]), nil
}

// Return sets what the function returns; it goes on with the instruction
// after the breakpoint, which returns.
func (c *CPU) Return(v uint64) {
	c.regs[rax] = v
	c.regs[origRAX] = ^uint64(0)
}

// Result returns what a function returned.
func (c *CPU) Result() uint64 { return c.regs[rax] }

// HandOver returns what the kernel's entry is given: boot_params in RSI
// (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
func (c *CPU) HandOver() uint64 { return c.regs[rsi] }

// Enter calls the function at entry with a stack that ends at top, a multiple
// of 16; the function returns to ret. There are at most eight arguments.
func (c *CPU) Enter(entry, top, ret uint64, args ...uint64) error {
	sp := top - 72 // the return address, and room for eight arguments
	if top%16 != 0 || len(args) > 8 || !c.p.within(sp, 72) {
		return fmt.Errorf("stack at %#x: %w", top, ErrAddress)
	}
	le.PutUint64(c.p.mem[sp:], ret)
	c.regs = c.p.first
	c.regs[rip], c.regs[rsp] = entry, sp
	for i, v := range args {
		if i < 4 {
			c.regs[[]int{rcx, rdx, r8, r9}[i]] = v
			continue
		}
		le.PutUint64(c.p.mem[sp+8+8*uint64(i):], v)
	}
	return nil
}

// Save returns the state of the processor.
func (c *CPU) Save() (Saved, error) {
	f := make([]byte, 512)
	_, err := c.p.t.Regset(unix.RegsFloat, f)
	return Saved{c.regs, f}, err
}

// Restore sets the state of the processor.
func (c *CPU) Restore(s Saved) error {
	c.regs = s.regs
	c.regs[origRAX] = ^uint64(0)
	return c.p.t.SetRegset(unix.RegsFloat, s.float)
}

// Registers returns the registers for people.
func (c *CPU) Registers() []Register {
	var out []Register
	for i, n := range []string{"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "", "rip", "", "eflags", "rsp"} {
		if n != "" {
			out = append(out, Register{n, c.regs[i]})
		}
	}
	return out
}

// gpr returns general register n in the numbering of instructions.
func (c *CPU) gpr(n byte) *uint64 {
	return &c.regs[[16]int{rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15}[n&15]]
}

// cpuid does the CPUID instruction in the child.
func (p *Process) cpuid(leaf, sub uint32) (a, b, c, d uint32, err error) {
	r := p.first
	r[rip], r[rax], r[rcx] = p.base+stubCPUID, uint64(leaf), uint64(sub)
	if err := p.step(&r); err != nil {
		return 0, 0, 0, 0, fmt.Errorf("cpuid: %w", err)
	}
	return uint32(r[rax]), uint32(r[rbx]), uint32(r[rcx]), uint32(r[rdx]), nil
}
