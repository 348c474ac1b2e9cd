// SPDX-License-Identifier: Apache-2.0

package bpf

import "math/bits"

// uncommon does the arithmetic that programs seldom do: division, sign
// extension, byte order. It is false if in is none of it.
func uncommon(in *ins, r *[16]uint64) bool {
	switch in.op {
	case opDiv64K:
		r[in.dst&15] = div64(r[in.dst&15], uint64(in.imm))
	case opDiv64X:
		r[in.dst&15] = div64(r[in.dst&15], r[in.src&15])
	case opDiv32K:
		r[in.dst&15] = uint64(div32(uint32(r[in.dst&15]), uint32(in.imm)))
	case opDiv32X:
		r[in.dst&15] = uint64(div32(uint32(r[in.dst&15]), uint32(r[in.src&15])))
	case opMod64K:
		r[in.dst&15] = mod64(r[in.dst&15], uint64(in.imm))
	case opMod64X:
		r[in.dst&15] = mod64(r[in.dst&15], r[in.src&15])
	case opMod32K:
		r[in.dst&15] = uint64(mod32(uint32(r[in.dst&15]), uint32(in.imm)))
	case opMod32X:
		r[in.dst&15] = uint64(mod32(uint32(r[in.dst&15]), uint32(r[in.src&15])))
	case opSdiv64K:
		r[in.dst&15] = sdiv64(r[in.dst&15], uint64(in.imm))
	case opSdiv64X:
		r[in.dst&15] = sdiv64(r[in.dst&15], r[in.src&15])
	case opSdiv32K:
		r[in.dst&15] = uint64(sdiv32(uint32(r[in.dst&15]), uint32(in.imm)))
	case opSdiv32X:
		r[in.dst&15] = uint64(sdiv32(uint32(r[in.dst&15]), uint32(r[in.src&15])))
	case opSmod64K:
		r[in.dst&15] = smod64(r[in.dst&15], uint64(in.imm))
	case opSmod64X:
		r[in.dst&15] = smod64(r[in.dst&15], r[in.src&15])
	case opSmod32K:
		r[in.dst&15] = uint64(smod32(uint32(r[in.dst&15]), uint32(in.imm)))
	case opSmod32X:
		r[in.dst&15] = uint64(smod32(uint32(r[in.dst&15]), uint32(r[in.src&15])))
	case opNeg64:
		r[in.dst&15] = -r[in.dst&15]
	case opNeg32:
		r[in.dst&15] = uint64(-uint32(r[in.dst&15]))
	case opMovsx8to64:
		r[in.dst&15] = uint64(int64(int8(r[in.src&15])))
	case opMovsx16to64:
		r[in.dst&15] = uint64(int64(int16(r[in.src&15])))
	case opMovsx32to64:
		r[in.dst&15] = uint64(int64(int32(r[in.src&15])))
	case opMovsx8to32:
		r[in.dst&15] = uint64(uint32(int32(int8(r[in.src&15]))))
	case opMovsx16to32:
		r[in.dst&15] = uint64(uint32(int32(int16(r[in.src&15]))))
	case opLe16:
		r[in.dst&15] = uint64(uint16(r[in.dst&15]))
	case opLe32:
		r[in.dst&15] = uint64(uint32(r[in.dst&15]))
	case opLe64:
	case opSwap16:
		r[in.dst&15] = uint64(bits.ReverseBytes16(uint16(r[in.dst&15])))
	case opSwap32:
		r[in.dst&15] = uint64(bits.ReverseBytes32(uint32(r[in.dst&15])))
	case opSwap64:
		r[in.dst&15] = bits.ReverseBytes64(r[in.dst&15])
	default:
		return false
	}
	return true
}

func div64(a, b uint64) uint64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func div32(a, b uint32) uint32 {
	if b == 0 {
		return 0
	}
	return a / b
}

func mod64(a, b uint64) uint64 {
	if b == 0 {
		return a
	}
	return a % b
}

func mod32(a, b uint32) uint32 {
	if b == 0 {
		return a
	}
	return a % b
}

// Go defines MinInt / -1 as MinInt and MinInt % -1 as 0, as RFC 9669 does.

func sdiv64(a, b uint64) uint64 {
	if b == 0 {
		return 0
	}
	return uint64(int64(a) / int64(b))
}

func sdiv32(a, b uint32) uint32 {
	if b == 0 {
		return 0
	}
	return uint32(int32(a) / int32(b))
}

func smod64(a, b uint64) uint64 {
	if b == 0 {
		return a
	}
	return uint64(int64(a) % int64(b))
}

func smod32(a, b uint32) uint32 {
	if b == 0 {
		return a
	}
	return uint32(int32(a) % int32(b))
}
