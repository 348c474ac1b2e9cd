// SPDX-License-Identifier: Apache-2.0

package process

import "fmt"

// Bits of SCTLR_EL1 (Arm Architecture Reference Manual, D19.2), and what code
// reads of it: MMU, data and instruction cache on, and the bits that are one.
const (
	sctlrMMU   = 1 << 0
	sctlrCache = 1 << 2
	sctlrValue = 0x30d01805
)

// Emulate does a privileged instruction that a stub is known to use and that
// can be answered without a privilege, and goes on behind it; what it says is
// for the trace. With any other instruction ok is false and nothing changed;
// then what names the instruction.
//
//	mrs x, CurrentEL   EL1
//	mrs x, CLIDR_EL1   0, no cache levels: loops by set and way end at once
//	mrs x, SCTLR_EL1   MMU and caches on
//	msr SCTLR_EL1, x   nothing, when it turns MMU and data cache off: addresses
//	                   stay what they are, because virtual and physical ones
//	                   are the same. Stubs before Linux 6.3 do it just before
//	                   they jump to the kernel; kexec does it in truth
//	ic ialluis         nothing: what was written as data is executed only by
//	                   the kernel to be started, after kexec cleaned caches
//
// Identification registers do not come here: the running kernel answers them.
func (p *Process) Emulate() (what string, ok bool, err error) {
	c := &p.cpu
	pc := c.regs[pcReg]
	if !p.within(pc, 4) {
		return "nothing", false, nil
	}
	insn := le.Uint32(p.mem[pc:])
	set := func(name string, v uint64) (string, bool, error) {
		if rt := insn & 31; rt != 31 {
			c.regs[rt] = v
		}
		c.regs[pcReg] += 4
		return fmt.Sprintf("mrs x%d, %s -> %#x", insn&31, name, v), true, nil
	}
	reg := func() uint64 {
		if rt := insn & 31; rt != 31 {
			return c.regs[rt]
		}
		return 0
	}
	switch insn &^ 31 {
	case 0xd5381000:
		return set("SCTLR_EL1", sctlrValue)
	case 0xd5181000:
		if v := reg(); v&(sctlrMMU|sctlrCache) == 0 {
			c.regs[pcReg] += 4
			return fmt.Sprintf("msr SCTLR_EL1, %#x", v), true, nil
		}
		return fmt.Sprintf("msr SCTLR_EL1, %#x", reg()), false, nil
	case 0xd5384240:
		return set("CurrentEL", 1<<2)
	case 0xd5390020:
		return set("CLIDR_EL1", 0)
	}
	switch {
	case insn == 0xd508711f:
		c.regs[pcReg] += 4
		return "ic ialluis", true, nil
	case insn>>20 == 0xd53:
		return fmt.Sprintf("mrs %#08x", insn), false, nil
	case insn>>20 == 0xd51:
		return fmt.Sprintf("msr %#08x", insn), false, nil
	case insn>>20 == 0xd50:
		return fmt.Sprintf("system instruction %#08x", insn), false, nil
	case insn == 0xd4200000|1<<5:
		return "brk", false, nil
	}
	return fmt.Sprintf("%#08x", insn), false, nil
}

// AtHandOver is for the old stubs of x86.
func (p *Process) AtHandOver(Stop) (entry uint64, ok bool) { return 0, false }
