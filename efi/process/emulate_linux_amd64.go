// SPDX-License-Identifier: Apache-2.0

package process

import "fmt"

// What code reads of the processor's control registers. The kernel that is
// started later finds the real ones.
const (
	// cr0Value has protected mode, the FPU and paging on: PG, WP, NE, ET, MP,
	// PE. Stubs look at EM and TS before they use the FPU.
	cr0Value = 0x80010033
	// cr4Value has PAE, PGE, OSFXSR and OSXMMEXCPT on.
	cr4Value = 0x6a0
	cr4LA57  = 1 << 12
	// eferValue has long mode and no-execute on (LME, LMA, NXE).
	eferValue = 0xd00
	msrEFER   = 0xc0000080
)

// Emulate does a privileged instruction that a stub is known to use and that
// can be answered without a privilege, and goes on behind it; what it says is
// for the trace. With any other instruction ok is false and nothing changed;
// then what names the instruction.
//
//	mov r, cr0   constant: a machine in 64-bit mode with its FPU on
//	mov r, cr2   0
//	mov r, cr3   0: the page tables are not there to be looked at
//	mov r, cr4   constant, with LA57 exactly when CPUID offers it: a stub that
//	             finds the two different switches the paging mode, which no
//	             process can; the kernel to be started reads the real CR4
//	rdmsr EFER   constant
//	wbinvd       nothing: caches are coherent for a process
//
// Each write of a control register, port access, and table load is refused:
// the answer would have to be a lie that code acts on.
func (p *Process) Emulate() (what string, ok bool, err error) {
	c := &p.cpu
	pc := c.regs[rip]
	var b [15]byte
	for i := range b {
		if !p.within(pc+uint64(i), 1) {
			break
		}
		b[i] = p.mem[pc+uint64(i)]
	}
	i, rex := 0, byte(0)
	for ; i < 4 && (b[i] == 0x66 || b[i] == 0xf2 || b[i] == 0xf3 || b[i] == 0x2e || b[i] == 0x3e); i++ {
	}
	if b[i]&0xf0 == 0x40 {
		rex = b[i]
		i++
	}
	done := func(n int, text string) (string, bool, error) {
		c.SetPC(pc + uint64(i+n))
		return text, true, nil
	}
	op, modrm := b[i], b[i+2]
	switch op {
	case 0xfa:
		return "cli", false, nil
	case 0xfb:
		return "sti", false, nil
	case 0xf4:
		return "hlt", false, nil
	case 0xe4, 0xe5, 0xec, 0xed, 0x6c, 0x6d:
		return "in from a port", false, nil
	case 0xe6, 0xe7, 0xee, 0xef, 0x6e, 0x6f:
		return "out to a port", false, nil
	case 0xcd:
		return fmt.Sprintf("int %#x", b[i+1]), false, nil
	case 0x0f:
	default:
		return fmt.Sprintf("% x", b[:8]), false, nil
	}
	cr := modrm>>3&7 | rex&4<<1
	reg := c.gpr(modrm&7 | rex&1<<3)
	switch b[i+1] {
	case 0x20:
		text := fmt.Sprintf("mov r%d, cr%d", modrm&7|rex&1<<3, cr)
		var v uint64
		switch cr {
		case 0:
			v = cr0Value
		case 2, 3:
		case 4:
			v = cr4Value
			_, _, ecx, _, err := p.cpuid(7, 0)
			if err != nil {
				return text, false, err
			}
			if ecx&(1<<16) != 0 {
				v |= cr4LA57
			}
		default:
			return text, false, nil
		}
		*reg = v
		return done(3, fmt.Sprintf("%s -> %#x", text, v))
	case 0x22:
		return fmt.Sprintf("mov cr%d, %#x", cr, *reg), false, nil
	case 0x21, 0x23:
		return "mov of a debug register", false, nil
	case 0x09:
		return done(2, "wbinvd")
	case 0x30:
		return fmt.Sprintf("wrmsr %#x", uint32(c.regs[rcx])), false, nil
	case 0x32:
		text := fmt.Sprintf("rdmsr %#x", uint32(c.regs[rcx]))
		if uint32(c.regs[rcx]) != msrEFER {
			return text, false, nil
		}
		c.regs[rax], c.regs[rdx] = eferValue, 0
		return done(2, text)
	case 0x01:
		return fmt.Sprintf("system instruction 0f 01 %02x", modrm), false, nil
	case 0x0b:
		return "ud2", false, nil
	}
	return fmt.Sprintf("% x", b[:8]), false, nil
}

// AtHandOver tells whether the process stopped at the first instruction that
// a kernel entered by an old stub cannot do as a process: startup_64 of
// arch/x86/boot/compressed/head_64.S begins with cld and cli. It returns the
// address of that entry.
func (p *Process) AtHandOver(s Stop) (entry uint64, ok bool) {
	at := s.PC - 1
	if s.Kind != Illegal || !p.within(at, 2) || p.mem[at] != 0xfc || p.mem[s.PC] != 0xfa {
		return 0, false
	}
	return at, true
}
