// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"encoding/binary"

	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image"
)

// mark is a breakpoint where a kernel inside of its own EFI image begins. On
// arm64 an image that lies where the kernel may be runs in place: the stub's
// code and the kernel's are in the same executable pages, and the jump from
// one to the other is no fault.
type mark struct {
	at   uint64
	insn uint32
}

const brkMark = 0xd4200040 // brk #2

var le = binary.LittleEndian

// mark sets the breakpoints, after ExitBootServices: before, code must be
// what the image says.
func (g *guest) mark() {
	if g.arch != image.ArchARM64 {
		return
	}
	mem := g.p.Memory()
	for _, r := range g.programs() {
		b := mem[r.Start:r.End()]
		if len(b) < 64 || le.Uint32(b[0x38:]) != 0x644d5241 {
			continue
		}
		// The first or second word of the header is a branch to the kernel's
		// entry; the first can be an instruction that looks like "MZ".
		for off := uint64(0); off < 8; off += 4 {
			insn := le.Uint32(b[off:])
			if insn>>26 != 0b000101 {
				continue
			}
			delta := int64(int32(insn<<6)>>6) * 4
			to := r.Start + off + uint64(delta)
			if to%4 == 0 && to >= r.Start && to+4 <= r.End() {
				g.marks = append(g.marks, mark{to, le.Uint32(mem[to:])})
			}
		}
	}
	for _, m := range g.marks {
		le.PutUint32(mem[m.at:], brkMark)
	}
}

// programs returns where images of kernels may lie: those that were loaded by
// LoadImage, and what a program has loaded by itself into memory for code.
func (g *guest) programs() []firmware.Region {
	out := g.fw.Images()
	for _, r := range g.fw.Code() {
		for at := r.Start; at < r.End(); at += 4096 {
			if b := g.p.Memory()[at:]; b[0] == 'M' && b[1] == 'Z' {
				out = append(out, firmware.Region{Start: at, Size: r.End() - at})
			}
		}
	}
	return out
}

func (g *guest) marked(pc uint64) bool {
	for _, m := range g.marks {
		if m.at == pc {
			return true
		}
	}
	return false
}

// unmark puts the instructions back.
func (g *guest) unmark() {
	mem := g.p.Memory()
	for _, m := range g.marks {
		if le.Uint32(mem[m.at:]) == brkMark {
			le.PutUint32(mem[m.at:], m.insn)
		}
	}
	g.marks = nil
}
