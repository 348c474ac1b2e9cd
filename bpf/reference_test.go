// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"math/big"
)

// A second evaluator of arithmetic and jumps, written from the prose of RFC
// 9669, sections 4.1 to 4.3, over integers without width: operands are reduced
// to what the instruction says they are, the result is computed exactly, and
// the low bits are kept. It shares nothing with the interpreter.

// num is the unsigned or signed value of the low bits of v.
func num(v uint64, bits uint, signed bool) *big.Int {
	n := new(big.Int).SetUint64(v)
	mod := new(big.Int).Lsh(big.NewInt(1), bits)
	n.Mod(n, mod)
	if signed && n.Bit(int(bits)-1) == 1 {
		n.Sub(n, mod)
	}
	return n
}

// low is n modulo 2^bits, zero extended to 64 bits.
func low(n *big.Int, bits uint) uint64 {
	mod := new(big.Int).Lsh(big.NewInt(1), bits)
	return new(big.Int).Mod(n, mod).Uint64()
}

// operand is the right-hand side: a register, or the constant sign extended.
func (s slot) operand(src uint64) uint64 {
	if s.op&sourceX != 0 {
		return src
	}
	return uint64(int64(s.imm))
}

// referenceALU computes dst after an arithmetic instruction.
func referenceALU(s slot, dst, src uint64) uint64 {
	bits := uint(64)
	if s.op&7 == classALU {
		bits = 32
	}
	if s.op&0xf0 == aluEND {
		n := uint(s.imm)
		swap := s.op&7 == classALU64 || s.op&sourceX != 0
		in := num(dst, n, false)
		out := new(big.Int)
		for i := uint(0); i < n/8; i++ {
			b := new(big.Int).Rsh(in, 8*i)
			b.And(b, big.NewInt(255))
			to := 8 * i
			if swap {
				to = n - 8 - 8*i
			}
			out.Or(out, b.Lsh(b, to))
		}
		return out.Uint64()
	}
	rhs := s.operand(src)
	a, b := num(dst, bits, false), num(rhs, bits, false)
	sa, sb := num(dst, bits, true), num(rhs, bits, true)
	shift := uint(new(big.Int).And(b, big.NewInt(int64(bits-1))).Uint64())
	r := new(big.Int)
	switch s.op & 0xf0 {
	case 0x00:
		r.Add(a, b)
	case 0x10:
		r.Sub(a, b)
	case 0x20:
		r.Mul(a, b)
	case 0x30:
		switch {
		case b.Sign() == 0:
		case s.off == 1:
			r.Quo(sa, sb) // truncates, as RFC 9669 wants
		default:
			r.Quo(a, b)
		}
	case 0x40:
		r.Or(a, b)
	case 0x50:
		r.And(a, b)
	case 0x60:
		r.Lsh(a, shift)
	case 0x70:
		r.Rsh(a, shift)
	case 0x80:
		r.Neg(a)
	case 0x90:
		switch {
		case b.Sign() == 0:
			r.Set(a)
		case s.off == 1:
			r.Rem(sa, sb)
		default:
			r.Rem(a, b)
		}
	case 0xa0:
		r.Xor(a, b)
	case 0xb0:
		r.Set(b)
		if s.off != 0 {
			r = num(rhs, uint(s.off), true)
		}
	case 0xc0:
		r.Rsh(sa, shift) // arithmetic: rounds down
	}
	return low(r, bits)
}

// referenceJump says whether a conditional jump is taken.
func referenceJump(s slot, dst, src uint64) bool {
	bits := uint(64)
	if s.op&7 == classJMP32 {
		bits = 32
	}
	rhs := s.operand(src)
	a, b := num(dst, bits, false), num(rhs, bits, false)
	sa, sb := num(dst, bits, true), num(rhs, bits, true)
	switch s.op & 0xf0 {
	case 0x10:
		return a.Cmp(b) == 0
	case 0x20:
		return a.Cmp(b) > 0
	case 0x30:
		return a.Cmp(b) >= 0
	case 0x40:
		return new(big.Int).And(a, b).Sign() != 0
	case 0x50:
		return a.Cmp(b) != 0
	case 0x60:
		return sa.Cmp(sb) > 0
	case 0x70:
		return sa.Cmp(sb) >= 0
	case 0xa0:
		return a.Cmp(b) < 0
	case 0xb0:
		return a.Cmp(b) <= 0
	case 0xc0:
		return sa.Cmp(sb) < 0
	case 0xd0:
		return sa.Cmp(sb) <= 0
	}
	panic("no such jump")
}
