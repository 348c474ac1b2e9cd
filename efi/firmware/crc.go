// SPDX-License-Identifier: Apache-2.0

package firmware

import "hash/crc32"

// CalculateCrc32 (UEFI, section 7.5) in machine code: data, size, where the
// result goes. Each is followed by its table, which it finds relative to
// itself.

func crcX86() []byte {
	return append([]byte{
		0x48, 0x85, 0xc9, // test rcx, rcx
		0x74, 0x36, // je 9f
		0x48, 0x85, 0xd2, // test rdx, rdx
		0x74, 0x31, // je 9f
		0x4d, 0x85, 0xc0, // test r8, r8
		0x74, 0x2c, // je 9f
		0x83, 0xc8, 0xff, // or eax, -1
		0x4c, 0x8d, 0x15, 0x2b, 0x00, 0x00, 0x00, // lea r10, [rip+0x2b]: the table
		0x44, 0x0f, 0xb6, 0x09, // 1: movzx r9d, byte [rcx]
		0x41, 0x30, 0xc1, // xor r9b, al
		0x45, 0x0f, 0xb6, 0xc9, // movzx r9d, r9b
		0xc1, 0xe8, 0x08, // shr eax, 8
		0x43, 0x33, 0x04, 0x8a, // xor eax, [r10+r9*4]
		0x48, 0xff, 0xc1, // inc rcx
		0x48, 0xff, 0xca, // dec rdx
		0x75, 0xe6, // jne 1b
		0xf7, 0xd0, // not eax
		0x41, 0x89, 0x00, // mov [r8], eax
		0x31, 0xc0, // xor eax, eax
		0xc3,       // ret
		0x6a, 0x02, // 9: push 2
		0x58,                         // pop rax
		0x48, 0x0f, 0xba, 0xe8, 0x3f, // bts rax, 63: EFI_INVALID_PARAMETER
		0xc3, // ret
	}, crcTable()...)
}

func crcARM64() []byte {
	return append(words(
		0xb4000200, // cbz x0, 9f
		0xb40001e1, // cbz x1, 9f
		0xb40001c2, // cbz x2, 9f
		0x12800003, // mov w3, #-1
		0x100001e4, // adr x4, table
		0x38401405, // 1: ldrb w5, [x0], #1
		0x4a0300a5, // eor w5, w5, w3
		0x12001ca5, // and w5, w5, #0xff
		0xb8655885, // ldr w5, [x4, w5, uxtw #2]
		0x4a4320a3, // eor w3, w5, w3, lsr #8
		0xf1000421, // subs x1, x1, #1
		0x54ffff41, // b.ne 1b
		0x2a2303e3, // mvn w3, w3
		0xb9000043, // str w3, [x2]
		0xd2800000, // mov x0, #0
		0xd65f03c0, // ret
		0xd2800040, // 9: mov x0, #2
		0xb2410000, // orr x0, x0, #1<<63: EFI_INVALID_PARAMETER
		0xd65f03c0, // ret
	), crcTable()...)
}

func crcTable() []byte {
	b := make([]byte, 0, 1024)
	for _, v := range crc32.IEEETable {
		b = le.AppendUint32(b, v)
	}
	return b
}
