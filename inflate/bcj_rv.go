// SPDX-License-Identifier: Apache-2.0

package inflate

import "encoding/binary"

// undoRISCV handles JAL with rd x1 or x5, and AUIPC with an instruction behind
// it that uses its result (the RISC-V filter of xz 5.6).
//
// The encoder stores the target of JAL big-endian, and turns a pair of AUIPC and
// a follower into: AUIPC with rd x2 (a mark no compiler makes), the top 20 bits
// of which hold the follower's opcode, rd and funct3 and the pair's register,
// then the target as a big-endian word. An AUIPC that had rd x0 or x2 to begin
// with, and would be mistaken for a marked one, was rewritten into a form that
// takes the first branch below.
func undoRISCV(b []byte, start uint32) {
	for i := 0; i+8 <= len(b); i += 2 {
		if b[i] == 0xEF {
			if b[i+1]&0x0D != 0 {
				continue
			}
			b1, b2, b3 := uint32(b[i+1]), uint32(b[i+2]), uint32(b[i+3])
			rel := (b1&0xF0)<<13 | b2<<9 | b3<<1
			rel -= start + uint32(i)
			b[i+1] = byte(b1&0x0F | rel>>8&0xF0)
			b[i+2] = byte(rel>>16&0x0F | rel>>7&0x10 | rel<<4&0xE0)
			b[i+3] = byte(rel>>4&0x7F | rel>>13&0x80)
			i += 4 - 2
			continue
		}
		if b[i]&0x7F != 0x17 {
			continue
		}
		first := binary.LittleEndian.Uint32(b[i:])
		var second uint32
		if first&0xE80 != 0 {
			// rd is neither x0 nor x2: an untouched AUIPC, or one of the
			// rewritten ones. The latter are followed by a word whose rs1 is
			// the AUIPC's rd and whose low bits say "32-bit instruction".
			follower := binary.LittleEndian.Uint32(b[i+4:])
			if (first<<8^(follower-3))&0xF8003 != 0 {
				i += 6 - 2
				continue
			}
			second = first&0xFFFFF000 + follower>>20
			first = 0x17 | 2<<7 | follower<<12
		} else {
			rs1 := first >> 27
			if (first-0x3117)<<18 >= rs1&0x1D {
				i += 4 - 2
				continue
			}
			target := binary.BigEndian.Uint32(b[i+4:]) - (start + uint32(i))
			second = first>>12 | target<<20
			first = 0x17 | rs1<<7 | (target+0x800)&0xFFFFF000
		}
		binary.LittleEndian.PutUint32(b[i:], first)
		binary.LittleEndian.PutUint32(b[i+4:], second)
		i += 8 - 2
	}
}
