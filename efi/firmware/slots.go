// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"fmt"

	"github.com/peelboot/peel/image"
)

// The guest calls a service at a slot: a breakpoint, at which the guest stops
// and the service is done, and a return. Services that only work on memory
// of the guest are code of the guest; they can do what any of its code can.
const (
	slotSize  = 16
	maxSlots  = pageSize / slotSize
	slotPages = 2 // one of traps, one of native code
)

// native is a service in machine code.
type native struct {
	name string
	code []byte
}

// writeSlots fills the pages of code and returns the offsets of the native
// services by name.
func writeSlots(b []byte, arch image.Arch, n int) (map[string]uint64, error) {
	var trap []byte
	var natives []native
	switch arch {
	case image.ArchX86_64:
		trap = []byte{0xcc, 0xc3} // int3; ret
		natives = nativeX86()
	case image.ArchARM64:
		trap = words(0xd4200020, 0xd65f03c0) // brk #1; ret
		natives = nativeARM64()
	default:
		return nil, fmt.Errorf("architecture %q: %w", arch, ErrImage)
	}
	for i := range n {
		copy(b[i*slotSize:], trap)
	}
	offsets := map[string]uint64{}
	at := uint64(pageSize)
	for _, f := range natives {
		copy(b[at:], f.code)
		offsets[f.name] = at
		at += uint64(len(f.code)+15) &^ 15
	}
	return offsets, nil
}

// nativeX86 follows the calling convention of UEFI: arguments in RCX, RDX,
// R8; RSI and RDI belong to the caller; the direction flag is clear.
func nativeX86() []native {
	return []native{
		{"CopyMem", []byte{
			0x56, 0x57, // push rsi; push rdi
			0x48, 0x89, 0xcf, // mov rdi, rcx
			0x48, 0x89, 0xd6, // mov rsi, rdx
			0x4c, 0x89, 0xc1, // mov rcx, r8
			0x48, 0x89, 0xf8, // mov rax, rdi
			0x48, 0x29, 0xf0, // sub rax, rsi
			0x48, 0x39, 0xc8, // cmp rax, rcx
			0x72, 0x05, // jb 1f: the destination begins inside of the source
			0xf3, 0xa4, // rep movsb
			0x5f, 0x5e, 0xc3, // pop rdi; pop rsi; ret
			0xfd,                         // 1: std
			0x48, 0x8d, 0x74, 0x0e, 0xff, // lea rsi, [rsi+rcx-1]
			0x48, 0x8d, 0x7c, 0x0f, 0xff, // lea rdi, [rdi+rcx-1]
			0xf3, 0xa4, // rep movsb
			0xfc,             // cld
			0x5f, 0x5e, 0xc3, // pop rdi; pop rsi; ret
		}},
		{"SetMem", []byte{
			0x57,             // push rdi
			0x48, 0x89, 0xcf, // mov rdi, rcx
			0x48, 0x89, 0xd1, // mov rcx, rdx
			0x44, 0x89, 0xc0, // mov eax, r8d
			0xf3, 0xaa, // rep stosb
			0x5f, 0xc3, // pop rdi; ret
		}},
		{"CalculateCrc32", crcX86()},
		{"RaiseTPL", []byte{0xb8, 4, 0, 0, 0, 0xc3}}, // mov eax, TPL_APPLICATION; ret
		{"RestoreTPL", []byte{0xc3}},
	}
}

func words(w ...uint32) []byte {
	var b []byte
	for _, v := range w {
		b = le.AppendUint32(b, v)
	}
	return b
}

func nativeARM64() []native {
	return []native{
		{"CopyMem", words(
			0xb40001e2, // cbz x2, 9f
			0xcb010003, // sub x3, x0, x1
			0xeb02007f, // cmp x3, x2
			0x540001a3, // b.lo 5f: the destination begins inside of the source
			0xf100405f, // 1: cmp x2, #16
			0x540000a3, // b.lo 2f
			0xa8c11424, // ldp x4, x5, [x1], #16
			0xa8811404, // stp x4, x5, [x0], #16
			0xd1004042, // sub x2, x2, #16
			0x17fffffb, // b 1b
			0xb40000a2, // 2: cbz x2, 9f
			0x38401424, // 3: ldrb w4, [x1], #1
			0x38001404, // strb w4, [x0], #1
			0xf1000442, // subs x2, x2, #1
			0x54ffffa1, // b.ne 3b
			0xd65f03c0, // 9: ret
			0xd1000442, // 5: sub x2, x2, #1
			0x38626824, // ldrb w4, [x1, x2]
			0x38226804, // strb w4, [x0, x2]
			0xb5ffffa2, // cbnz x2, 5b
			0xd65f03c0, // ret
		)},
		{"SetMem", words(
			0xb4000081, // cbz x1, 2f
			0x38001402, // 1: strb w2, [x0], #1
			0xf1000421, // subs x1, x1, #1
			0x54ffffc1, // b.ne 1b
			0xd65f03c0, // 2: ret
		)},
		{"CalculateCrc32", crcARM64()},
		{"RaiseTPL", words(0xd2800080, 0xd65f03c0)}, // mov x0, TPL_APPLICATION; ret
		{"RestoreTPL", words(0xd65f03c0)},
	}
}
