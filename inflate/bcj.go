// SPDX-License-Identifier: Apache-2.0

package inflate

import "encoding/binary"

// The branch filters ("BCJ") of the .xz format turn the relative targets of
// calls and jumps into absolute ones, so that calls of one function look alike.
// The functions here turn them back. Each takes a whole block and the position
// that its first byte had; positions wrap at 32 bits. Instructions that would
// reach past the end of the block were left alone by the encoder.

// undoDelta adds to each byte the one dist bytes before it.
func undoDelta(b []byte, dist int) {
	for i := dist; i < len(b); i++ {
		b[i] += b[i-dist]
	}
}

// undoX86 handles CALL (E8) and JMP (E9) with 32-bit displacements that look
// plausible: their top byte is 00 or FF. The bytes E8 and E9 also occur inside
// operands, so the filter remembers in a three-bit history which of the bytes
// just before an opcode were such values as well, and passes over those that
// would be changed twice.
func undoX86(b []byte, start uint32) {
	if len(b) < 5 {
		return
	}
	var (
		last    = len(b) - 4 // opcodes begin before this
		history uint32       // bit n: an opcode byte n+1 bytes ago was not converted
		prev    = -5         // position of the byte that history counts from
	)
	for i := 0; i < last; i++ {
		if b[i]&0xFE != 0xE8 {
			continue
		}
		if gap := i - prev; gap > 3 {
			history = 0
		} else {
			history = history << (gap - 1) & 7
		}
		prev = i
		// Byte of the displacement, counted from its top, which the newest
		// doubtful opcode byte before this one decides about.
		var doubt uint32
		switch history {
		case 0:
		case 1:
			doubt = 1
		case 2:
			doubt = 2
		case 4:
			doubt = 3
		default:
			history = history<<1 | 1
			continue
		}
		if history != 0 && x86Sign(b[i+4-int(doubt)]) || !x86Sign(b[i+4]) {
			history = history<<1 | 1
			continue
		}
		target := binary.LittleEndian.Uint32(b[i+1:])
		pc := start + uint32(i) + 5
		var rel uint32
		for {
			rel = target - pc
			if history == 0 || !x86Sign(byte(rel>>(24-8*doubt))) {
				break
			}
			target = rel ^ (1<<(32-8*doubt) - 1)
		}
		// The top byte carries the sign of the 25-bit result.
		rel = uint32(int32(rel<<7) >> 7)
		binary.LittleEndian.PutUint32(b[i+1:], rel)
		i += 4
	}
}

func x86Sign(c byte) bool { return c == 0x00 || c == 0xFF }

// undoARM handles BL with the condition "always" (EB in the top byte).
func undoARM(b []byte, start uint32) {
	for i := 0; i+4 <= len(b); i += 4 {
		if b[i+3] != 0xEB {
			continue
		}
		v := binary.LittleEndian.Uint32(b[i:])
		rel := (v<<2 - (start + uint32(i) + 8)) >> 2
		binary.LittleEndian.PutUint32(b[i:], v&0xFF000000|rel&0x00FFFFFF)
	}
}

// undoARMThumb handles the pairs of half words that make a BL: 11110 and 11111
// in the top bits, eleven bits of the target in each.
func undoARMThumb(b []byte, start uint32) {
	for i := 0; i+4 <= len(b); i += 2 {
		hi, lo := uint32(binary.LittleEndian.Uint16(b[i:])), uint32(binary.LittleEndian.Uint16(b[i+2:]))
		if hi>>11 != 0x1E || lo>>11 != 0x1F {
			continue
		}
		target := (hi&0x7FF<<11 | lo&0x7FF) << 1
		rel := (target - (start + uint32(i) + 4)) >> 1
		binary.LittleEndian.PutUint16(b[i:], uint16(0xF000|rel>>11&0x7FF))
		binary.LittleEndian.PutUint16(b[i+2:], uint16(0xF800|rel&0x7FF))
		i += 2
	}
}

// undoPowerPC handles big-endian BL with a relative target (AA 0, LK 1).
func undoPowerPC(b []byte, start uint32) {
	for i := 0; i+4 <= len(b); i += 4 {
		v := binary.BigEndian.Uint32(b[i:])
		if v&0xFC000003 != 0x48000001 {
			continue
		}
		rel := v - (start + uint32(i))
		binary.BigEndian.PutUint32(b[i:], 0x48000001|rel&0x03FFFFFC)
	}
}

// undoSPARC handles CALL whose 30-bit displacement is a sign-extended 22-bit one.
func undoSPARC(b []byte, start uint32) {
	for i := 0; i+4 <= len(b); i += 4 {
		v := binary.BigEndian.Uint32(b[i:])
		if top := v >> 22; top != 0x100 && top != 0x1FF {
			continue
		}
		rel := (v<<2 - (start + uint32(i))) >> 2
		sign := -(rel >> 22 & 1) << 22 & 0x3FFFFFFF
		binary.BigEndian.PutUint32(b[i:], 0x40000000|sign|rel&0x3FFFFF)
	}
}

// undoIA64 handles the IP-relative br.call and its like in the slots of a
// 16-byte bundle; the template in the low five bits says which slots can hold
// branches.
func undoIA64(b []byte, start uint32) {
	// Bit n: slot n of the template (row) holds a branch unit.
	branches := [32]byte{
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		4, 4, 6, 6, 0, 0, 7, 7, 4, 4, 0, 0, 4, 4, 0, 0,
	}
	for i := 0; i+16 <= len(b); i += 16 {
		slots := branches[b[i]&0x1F]
		for slot := 0; slot < 3; slot++ {
			if slots>>slot&1 == 0 {
				continue
			}
			bit := 5 + 41*slot
			at, shift := i+bit/8, bit%8
			var word uint64
			for k := 5; k >= 0; k-- {
				word = word<<8 | uint64(b[at+k])
			}
			inst := word >> shift
			if inst>>37&0xF != 0x5 || inst>>9&0x7 != 0 {
				continue
			}
			target := uint32(inst>>13&0xFFFFF) | uint32(inst>>36&1)<<20
			rel := (target<<4 - (start + uint32(i))) >> 4
			inst &^= 0x8FFFFF << 13
			inst |= uint64(rel&0xFFFFF)<<13 | uint64(rel>>20&1)<<36
			word = word&(1<<shift-1) | inst<<shift
			for k := 0; k < 6; k++ {
				b[at+k] = byte(word >> (8 * k))
			}
		}
	}
}

// undoARM64 handles BL with its 26-bit target, and ADRP whose page number fits
// 18 bits with sign: ADRP of greater reach was left alone.
func undoARM64(b []byte, start uint32) {
	for i := 0; i+4 <= len(b); i += 4 {
		v := binary.LittleEndian.Uint32(b[i:])
		pc := start + uint32(i)
		switch {
		case v>>26 == 0x25:
			v = 0x94000000 | (v-pc>>2)&0x03FFFFFF
		case v&0x9F000000 == 0x90000000:
			page := v>>29&3 | v>>3&0x1FFFFC
			if (page+0x20000)&0x1C0000 != 0 {
				continue
			}
			rel := page - pc>>12
			v = v&0x9000001F | rel&3<<29 | rel&0x3FFFC<<3 | -(rel&0x20000)&0xE00000
		default:
			continue
		}
		binary.LittleEndian.PutUint32(b[i:], v)
	}
}
