// SPDX-License-Identifier: Apache-2.0

package bpf

// An ins is a decoded instruction. There is one for each 8-byte slot; the
// second slot of LD_IMM64 is opInvalid and never reached.
type ins struct {
	op       opcode
	dst, src uint8
	// off is a memory offset, or the slot that a jump or call leads to.
	off int32
	// imm is sign extended, or the whole constant of LD_IMM64.
	imm int64
}

// opcode is the interpreter's own numbering: dense, so that the dispatch is
// one table jump, and with operand kinds and widths told apart.
type opcode uint16

// Arithmetic comes in fours: 64-bit with constant, 64-bit with register,
// 32-bit with constant, 32-bit with register.
const (
	opInvalid opcode = iota

	opAdd64K
	opAdd64X
	opAdd32K
	opAdd32X
	opSub64K
	opSub64X
	opSub32K
	opSub32X
	opMul64K
	opMul64X
	opMul32K
	opMul32X
	opDiv64K
	opDiv64X
	opDiv32K
	opDiv32X
	opOr64K
	opOr64X
	opOr32K
	opOr32X
	opAnd64K
	opAnd64X
	opAnd32K
	opAnd32X
	opLsh64K
	opLsh64X
	opLsh32K
	opLsh32X
	opRsh64K
	opRsh64X
	opRsh32K
	opRsh32X
	opMod64K
	opMod64X
	opMod32K
	opMod32X
	opXor64K
	opXor64X
	opXor32K
	opXor32X
	opMov64K
	opMov64X
	opMov32K
	opMov32X
	opArsh64K
	opArsh64X
	opArsh32K
	opArsh32X
	opSdiv64K
	opSdiv64X
	opSdiv32K
	opSdiv32X
	opSmod64K
	opSmod64X
	opSmod32K
	opSmod32X

	opNeg64
	opNeg32
	opMovsx8to64
	opMovsx16to64
	opMovsx32to64
	opMovsx8to32
	opMovsx16to32
	opLe16
	opLe32
	opLe64
	opSwap16
	opSwap32
	opSwap64

	// Jumps come in the same fours.
	opJeq64K
	opJeq64X
	opJeq32K
	opJeq32X
	opJgt64K
	opJgt64X
	opJgt32K
	opJgt32X
	opJge64K
	opJge64X
	opJge32K
	opJge32X
	opJset64K
	opJset64X
	opJset32K
	opJset32X
	opJne64K
	opJne64X
	opJne32K
	opJne32X
	opJsgt64K
	opJsgt64X
	opJsgt32K
	opJsgt32X
	opJsge64K
	opJsge64X
	opJsge32K
	opJsge32X
	opJlt64K
	opJlt64X
	opJlt32K
	opJlt32X
	opJle64K
	opJle64X
	opJle32K
	opJle32X
	opJslt64K
	opJslt64X
	opJslt32K
	opJslt32X
	opJsle64K
	opJsle64X
	opJsle32K
	opJsle32X
	opJa
	opMayGoto

	opLdImm64
	opLdx8
	opLdx16
	opLdx32
	opLdx64
	opLdxs8
	opLdxs16
	opLdxs32
	opSt8
	opSt16
	opSt32
	opSt64
	opStx8
	opStx16
	opStx32
	opStx64
	opAtomic32
	opAtomic64
	opLoadAcquire
	opStoreRelease

	opCall
	opHelper
	opKfunc
	opCallx
	opExit
	opPoison
)

// Encodings of RFC 9669, section 3 and 4 (instruction classes and operations).
const (
	classLD    = 0
	classLDX   = 1
	classST    = 2
	classSTX   = 3
	classALU   = 4
	classJMP   = 5
	classJMP32 = 6
	classALU64 = 7

	modeIMM    = 0x00
	modeABS    = 0x20
	modeIND    = 0x40
	modeMEM    = 0x60
	modeMEMSX  = 0x80
	modeATOMIC = 0xc0

	sizeW  = 0x00
	sizeH  = 0x08
	sizeB  = 0x10
	sizeDW = 0x18

	sourceX = 0x08

	aluDIV  = 0x30
	aluNEG  = 0x80
	aluMOD  = 0x90
	aluMOV  = 0xb0
	aluARSH = 0xc0
	aluEND  = 0xd0

	jmpJA    = 0x00
	jmpCALL  = 0x80
	jmpEXIT  = 0x90
	jmpJSLE  = 0xd0
	jmpJCOND = 0xe0

	// Immediate of an atomic instruction; fetch asks for the old value.
	atomicADD     = 0x00
	atomicOR      = 0x40
	atomicAND     = 0x50
	atomicXOR     = 0xa0
	atomicXCHG    = 0xe1
	atomicCMPXCHG = 0xf1
	atomicFetch   = 0x01
	// Kernel instruction-set document, "Atomic operations", since 6.15.
	atomicLoadAcquire  = 0x100
	atomicStoreRelease = 0x110

	// Source register of LD_IMM64 (RFC 9669, section 5.4).
	pseudoMapFD    = 1
	pseudoMapValue = 2
	pseudoVarAddr  = 3
	pseudoFunc     = 4
	pseudoMapIdx   = 5
	pseudoMapIdxV  = 6

	// Source register of CALL (RFC 9669, section 4.3).
	callHelper = 0
	callLocal  = 1
	callKfunc  = 2

	opcodeLdImm64 = classLD | modeIMM | sizeDW
	opcodeCall    = classJMP | jmpCALL
	opcodeCallx   = classJMP | jmpCALL | sourceX
	opcodeExit    = classJMP | jmpEXIT
)

// aluBase maps the operation nibble of an ALU opcode to the first of its four.
var aluBase = [16]opcode{
	0x0: opAdd64K, 0x1: opSub64K, 0x2: opMul64K, 0x3: opDiv64K, 0x4: opOr64K, 0x5: opAnd64K,
	0x6: opLsh64K, 0x7: opRsh64K, 0x9: opMod64K, 0xa: opXor64K, 0xb: opMov64K, 0xc: opArsh64K,
}

// jmpBase is the same for conditional jumps.
var jmpBase = [16]opcode{
	0x1: opJeq64K, 0x2: opJgt64K, 0x3: opJge64K, 0x4: opJset64K, 0x5: opJne64K, 0x6: opJsgt64K,
	0x7: opJsge64K, 0xa: opJlt64K, 0xb: opJle64K, 0xc: opJslt64K, 0xd: opJsle64K,
}
