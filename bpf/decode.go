// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
)

const slotBytes = 8

// slot is one undecoded instruction (RFC 9669, section 3.1).
type slot struct {
	op       uint8
	dst, src uint8
	off      int16
	imm      int32
}

func slotAt(b []byte, i int) slot {
	b = b[i*slotBytes : i*slotBytes+slotBytes]
	return slot{
		op:  b[0],
		dst: b[1] & 15,
		src: b[1] >> 4,
		off: int16(binary.LittleEndian.Uint16(b[2:])),
		imm: int32(binary.LittleEndian.Uint32(b[4:])),
	}
}

func (s slot) put(b []byte, i int) {
	b = b[i*slotBytes : i*slotBytes+slotBytes]
	b[0] = s.op
	b[1] = s.dst&15 | s.src<<4
	binary.LittleEndian.PutUint16(b[2:], uint16(s.off))
	binary.LittleEndian.PutUint32(b[4:], uint32(s.imm))
}

// invalid makes an error that wraps ErrInvalid.
func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrInvalid)...)
}

// decode turns n slots into ins. It checks everything that can be seen from
// one instruction alone: opcode, registers, fields that must be zero, and that
// LD_IMM64 is whole. Jump targets are absolute but not yet checked.
//
// On error, the int is the slot at fault.
func decode(raw []byte) ([]ins, int, error) {
	n := len(raw) / slotBytes
	code := make([]ins, n)
	for i := 0; i < n; i++ {
		s := slotAt(raw, i)
		if s.dst > 10 || s.src > 10 {
			return nil, i, invalid("register beyond r10")
		}
		var err error
		switch s.op & 7 {
		case classALU, classALU64:
			code[i], err = decodeALU(s)
		case classJMP, classJMP32:
			code[i], err = decodeJump(s, i)
		case classLD:
			if s.op != opcodeLdImm64 {
				switch s.op & 0xe0 {
				case modeABS, modeIND:
					return nil, i, fmt.Errorf("legacy packet access LD_ABS/LD_IND: %w", ErrUnsupported)
				}
				return nil, i, invalid("unknown opcode %#02x", s.op)
			}
			if i+1 >= n {
				return nil, i, invalid("LD_IMM64 without its second half")
			}
			t := slotAt(raw, i+1)
			if t.op != 0 || t.dst != 0 || t.src != 0 || t.off != 0 {
				return nil, i, invalid("second half of LD_IMM64 is an instruction")
			}
			if s.off != 0 {
				return nil, i, invalid("LD_IMM64 with offset %d", s.off)
			}
			if s.dst == 10 {
				return nil, i, invalid("r10 is read only")
			}
			code[i] = ins{op: opLdImm64, dst: s.dst, src: s.src, imm: int64(uint64(uint32(s.imm)) | uint64(uint32(t.imm))<<32)}
			i++
		case classLDX, classST, classSTX:
			code[i], err = decodeMemory(s)
		}
		if err != nil {
			return nil, i, err
		}
	}
	return code, 0, nil
}

func decodeALU(s slot) (ins, error) {
	out := ins{dst: s.dst, src: s.src, imm: int64(s.imm)}
	wide := s.op&7 == classALU64
	reg := s.op&sourceX != 0
	if s.dst == 10 {
		return out, invalid("r10 is read only")
	}
	switch s.op & 0xf0 {
	case aluEND:
		return decodeEnd(s)
	case aluNEG:
		if reg || s.src != 0 || s.off != 0 || s.imm != 0 {
			return out, invalid("NEG with reserved fields set")
		}
		out.op = opNeg32
		if wide {
			out.op = opNeg64
		}
		return out, nil
	}
	base := aluBase[s.op>>4]
	if base == opInvalid {
		return out, invalid("unknown opcode %#02x", s.op)
	}
	if reg && s.imm != 0 {
		return out, invalid("register operand with immediate %d", s.imm)
	}
	if !reg && s.src != 0 {
		return out, invalid("immediate operand with source register r%d", s.src)
	}
	if s.off != 0 {
		switch {
		case s.off == 1 && s.op&0xf0 == aluDIV:
			base = opSdiv64K
		case s.off == 1 && s.op&0xf0 == aluMOD:
			base = opSmod64K
		case s.op&0xf0 == aluMOV && reg:
			switch {
			case s.off == 8 && wide:
				out.op = opMovsx8to64
			case s.off == 16 && wide:
				out.op = opMovsx16to64
			case s.off == 32 && wide:
				out.op = opMovsx32to64
			case s.off == 8:
				out.op = opMovsx8to32
			case s.off == 16:
				out.op = opMovsx16to32
			default:
				// 1 is the kernel's address-space cast, -1 its per-CPU move.
				return out, fmt.Errorf("MOV with offset %d: %w", s.off, ErrUnsupported)
			}
			return out, nil
		default:
			return out, invalid("arithmetic with offset %d", s.off)
		}
	}
	out.op = base
	if !wide {
		out.op += 2
	}
	if reg {
		out.op++
	}
	return out, nil
}

// decodeEnd decodes byte swaps (RFC 9669, section 4.2).
func decodeEnd(s slot) (ins, error) {
	out := ins{dst: s.dst}
	if s.src != 0 || s.off != 0 {
		return out, invalid("byte swap with reserved fields set")
	}
	swap := s.op&sourceX != 0 // to big endian
	if s.op&7 == classALU64 {
		if swap {
			return out, invalid("unknown opcode %#02x", s.op)
		}
		swap = true
	}
	switch {
	case s.imm == 16 && swap:
		out.op = opSwap16
	case s.imm == 32 && swap:
		out.op = opSwap32
	case s.imm == 64 && swap:
		out.op = opSwap64
	case s.imm == 16:
		out.op = opLe16
	case s.imm == 32:
		out.op = opLe32
	case s.imm == 64:
		out.op = opLe64
	default:
		return out, invalid("byte swap of %d bits", s.imm)
	}
	return out, nil
}

func decodeJump(s slot, i int) (ins, error) {
	narrow := s.op&7 == classJMP32
	reg := s.op&sourceX != 0
	out := ins{dst: s.dst, src: s.src, imm: int64(s.imm), off: int32(i + 1 + int(s.off))}
	switch s.op & 0xf0 {
	case jmpJA:
		if reg || s.dst != 0 || s.src != 0 {
			return out, invalid("JA with reserved fields set")
		}
		if narrow {
			if s.off != 0 {
				return out, invalid("long JA with offset %d", s.off)
			}
			t := int64(i) + 1 + int64(s.imm)
			if t < 0 || t > MaxInstructions {
				return out, invalid("jump to instruction %d", t)
			}
			out.off = int32(t)
		} else if s.imm != 0 {
			return out, invalid("JA with immediate %d", s.imm)
		}
		out.op = opJa
		return out, nil
	case jmpCALL:
		return decodeCall(s, i)
	case jmpEXIT:
		if narrow || reg || s.dst != 0 || s.src != 0 || s.off != 0 || s.imm != 0 {
			return out, invalid("EXIT with reserved fields set")
		}
		out.op = opExit
		return out, nil
	case jmpJCOND:
		// may_goto: the jump is taken once a loop ran too often.
		if narrow || reg || s.dst != 0 || s.src != 0 || s.imm != 0 {
			return out, invalid("unknown conditional jump %#02x", s.op)
		}
		out.op = opMayGoto
		return out, nil
	}
	base := jmpBase[s.op>>4]
	if base == opInvalid {
		return out, invalid("unknown opcode %#02x", s.op)
	}
	if reg && s.imm != 0 {
		return out, invalid("register operand with immediate %d", s.imm)
	}
	if !reg && s.src != 0 {
		return out, invalid("immediate operand with source register r%d", s.src)
	}
	out.op = base
	if narrow {
		out.op += 2
	}
	if reg {
		out.op++
	}
	return out, nil
}

func decodeCall(s slot, i int) (ins, error) {
	out := ins{src: s.src, dst: s.dst, imm: int64(s.imm)}
	if s.op&7 == classJMP32 {
		return out, invalid("unknown opcode %#02x", s.op)
	}
	if s.op == opcodeCallx {
		if s.src != 0 || s.off != 0 || s.imm != 0 || s.dst == 10 {
			return out, invalid("call through a register with reserved fields set")
		}
		out.op = opCallx
		return out, nil
	}
	if s.dst != 0 {
		return out, invalid("CALL with destination register r%d", s.dst)
	}
	switch s.src {
	case callHelper:
		if s.off != 0 {
			return out, invalid("CALL with offset %d", s.off)
		}
		out.op = opHelper
	case callLocal:
		if s.off != 0 {
			return out, invalid("CALL with offset %d", s.off)
		}
		t := int64(i) + 1 + int64(s.imm)
		if t < 0 || t >= MaxInstructions {
			return out, invalid("call of instruction %d", t)
		}
		out.op, out.off = opCall, int32(t)
	case callKfunc:
		out.op, out.off = opKfunc, int32(s.off)
	default:
		return out, invalid("CALL of kind %d", s.src)
	}
	return out, nil
}

func decodeMemory(s slot) (ins, error) {
	out := ins{dst: s.dst, src: s.src, off: int32(s.off), imm: int64(s.imm)}
	size := s.op & 0x18
	// Index of the size within a run of four opcodes: B, H, W, DW.
	step := [4]opcode{sizeW >> 3: 2, sizeH >> 3: 1, sizeB >> 3: 0, sizeDW >> 3: 3}[size>>3]
	switch class, mode := s.op&7, s.op&0xe0; {
	case class == classLDX && (mode == modeMEM || mode == modeMEMSX && size != sizeDW):
		if s.imm != 0 {
			return out, invalid("load with immediate %d", s.imm)
		}
		if s.dst == 10 {
			return out, invalid("r10 is read only")
		}
		out.op = opLdx8 + step
		if mode == modeMEMSX {
			out.op = opLdxs8 + step
		}
	case class == classST && mode == modeMEM:
		if s.src != 0 {
			return out, invalid("store of a constant with source register r%d", s.src)
		}
		out.op = opSt8 + step
	case class == classSTX && mode == modeMEM:
		if s.imm != 0 {
			return out, invalid("store with immediate %d", s.imm)
		}
		out.op = opStx8 + step
	case class == classSTX && mode == modeATOMIC:
		return decodeAtomic(out, size)
	default:
		return out, invalid("unknown opcode %#02x", s.op)
	}
	return out, nil
}

func decodeAtomic(out ins, size uint8) (ins, error) {
	switch out.imm {
	case atomicLoadAcquire, atomicStoreRelease:
		bytes := map[uint8]int64{sizeB: 1, sizeH: 2, sizeW: 4, sizeDW: 8}[size]
		if out.imm == atomicLoadAcquire {
			out.op = opLoadAcquire
			if out.dst == 10 {
				return out, invalid("r10 is read only")
			}
		} else {
			out.op = opStoreRelease
		}
		out.imm = bytes
		return out, nil
	case atomicXCHG, atomicCMPXCHG,
		atomicADD, atomicADD | atomicFetch, atomicOR, atomicOR | atomicFetch,
		atomicAND, atomicAND | atomicFetch, atomicXOR, atomicXOR | atomicFetch:
	default:
		return out, invalid("unknown atomic operation %#x", out.imm)
	}
	if out.imm&atomicFetch != 0 && out.imm != atomicCMPXCHG && out.src == 10 {
		return out, invalid("r10 is read only")
	}
	switch size {
	case sizeW:
		out.op = opAtomic32
	case sizeDW:
		out.op = opAtomic64
	default:
		return out, invalid("atomic operation on less than 32 bits")
	}
	return out, nil
}
