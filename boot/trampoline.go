// SPDX-License-Identifier: Apache-2.0

package boot

// The running kernel enters what kexec_load was given in a state of its own
// making; a few instructions turn that into what the kernel to be started
// expects. They are written here byte by byte, with the source in the
// comments, and a test disassembles them.
//
// There is no check of digests before the jump. kexec_load's pages are copied
// to their place while nothing else runs, a crash region is unmapped after
// loading (arch_kexec_protect_crashkres), and a mismatch could only end in a
// loop without a word. On arm64 the code would run with caches off, where
// such checks have been seen to take minutes.
//
// riscv64 needs no trampoline: its kernel finds the device tree among the
// segments and passes it together with the hart id
// (arch/riscv/kernel/machine_kexec.c).

const trampolineStack = 0x100 // offset of the end of the stack

// TrampolineX86 returns code and data of the jump into an x86-64 kernel, to
// be loaded at the physical address at, a multiple of 16; the code starts at
// its first byte, and it uses 256 bytes of memory. It sets up what boot.rst
// ("64-bit Boot Protocol") asks for: flat segments 0x10 and 0x18, interrupts
// off, boot_params in %rsi. kexec enters in long mode, identity mapped, with
// all registers zero and no GDT (arch/x86/kernel/relocate_kernel_64.S).
func TrampolineX86(at, bootParams, entry uint64) []byte {
	const (
		far  = 0x2e // offset of the code after the far return
		gdt  = 0x48 // offset of the segment descriptors
		gdtr = 0x68 // offset of their limit and address
	)
	b := make([]byte, 0, gdtr+10)
	rel := func(to int) { b = le.AppendUint32(b, uint32(to-(len(b)+4))) }

	b = append(b, 0xfa)       // cli
	b = append(b, 0xfc)       // cld
	b = append(b, 0x48, 0xbc) // movabs rsp, at+trampolineStack
	b = le.AppendUint64(b, at+trampolineStack)
	b = append(b, 0x0f, 0x01, 0x15) // lgdt [rip+gdtr]
	rel(gdtr)
	b = append(b, 0xb8, 0x18, 0, 0, 0) // mov eax, 0x18
	b = append(b, 0x8e, 0xd8)          // mov ds, eax
	b = append(b, 0x8e, 0xc0)          // mov es, eax
	b = append(b, 0x8e, 0xd0)          // mov ss, eax
	b = append(b, 0x8e, 0xe0)          // mov fs, eax
	b = append(b, 0x8e, 0xe8)          // mov gs, eax
	b = append(b, 0x6a, 0x10)          // push 0x10
	b = append(b, 0x48, 0x8d, 0x05)    // lea rax, [rip+far]
	rel(far)
	b = append(b, 0x50)       // push rax
	b = append(b, 0x48, 0xcb) // retfq to 0x10:far
	b = append(b, 0x48, 0xbe) // movabs rsi, bootParams
	b = le.AppendUint64(b, bootParams)
	b = append(b, 0x48, 0xb8) // movabs rax, entry
	b = le.AppendUint64(b, entry)
	b = append(b, 0xff, 0xe0) // jmp rax

	b = append(b, make([]byte, gdt-len(b)+16)...) // two empty descriptors
	b = le.AppendUint64(b, 0x00af9a000000ffff)    // 0x10: 64-bit code, execute and read
	b = le.AppendUint64(b, 0x00cf92000000ffff)    // 0x18: data, read and write, 4 GiB
	b = le.AppendUint16(b, 4*8-1)
	return le.AppendUint64(b, at+gdt)
}

// TrampolineARM64 returns code and data of the jump into an arm64 kernel, to
// be loaded on a multiple of 8; the code starts at its first byte and does
// not depend on its address. It sets up what booting.rst ("Call the kernel
// image") asks for: the device tree in x0, zero in x1 to x3. kexec enters
// with the MMU and interrupts off. The literals are aligned: with the MMU off
// memory is of Device type, where unaligned access faults.
func TrampolineARM64(dtb, entry uint64) []byte {
	b := make([]byte, 0, 40)
	for _, insn := range [...]uint32{
		0x580000c0, // ldr x0, . + 24
		0x580000e4, // ldr x4, . + 28
		0xaa1f03e1, // mov x1, xzr
		0xaa1f03e2, // mov x2, xzr
		0xaa1f03e3, // mov x3, xzr
		0xd61f0080, // br x4
	} {
		b = le.AppendUint32(b, insn)
	}
	b = le.AppendUint64(b, dtb)
	return le.AppendUint64(b, entry)
}
