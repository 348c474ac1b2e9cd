// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Kernels that a boot protocol starts as they are. They end the chain. What
 * lies behind the certificate table of a signed one is dropped if it is zeros:
 * zboot pads the kernel to the size it takes in memory, and a signature does
 * not verify with bytes behind it.
 */
#include "peel_pe.h"

u64 zeros[512];

/* elf_kernel: an executable for 64 bits with program headers. */
GLOBAL int elf_kernel(void)
{
	struct {
		u32 magic;
		u8 class, data, version, pad[9];
		u16 type, machine;
		u32 version2;
		u64 entry, phoff, shoff;
		u32 flags;
		u16 ehsize, phentsize, phnum;
	} h;

	if (peel_read(&h, sizeof(h), 0, 0) || h.magic != 0x464c457f || h.class != 2 || h.data != 1)
		return 0;
	if ((h.type != 2 && h.type != 3) || h.phentsize != 56 || !h.phnum)
		return 0;
	if (h.machine != 62 && h.machine != 183 && h.machine != 243 && h.machine != 258 && h.machine != 21)
		return 0;
	return peel_inside(0, h.phoff, (u64)h.phnum * 56);
}

GLOBAL int image_kernel(void)
{
	u32 w[16];

	if (peel_read(w, sizeof(w), 0, 0))
		return 0;
	if (w[14] == 0x644d5241) /* arm64: "ARM\x64" at 56 */
		return 1;
	if (w[12] == 0x43534952 && w[14] == 0x05435352) /* riscv: "RISCV" at 48, "RSC\5" at 56 */
		return 1;
	/* loongarch: the Linux magic at 56, which zboot has too, so ask the
	 * PE header for the machine. */
	if ((w[0] & 0xffff) == 0x5a4d && w[1] != 0x676d697a && w[14] == 0x818223cd) {
		u32 pe_magic = 0;
		u16 machine = 0;
		if (!peel_read(&pe_magic, 4, 0, w[15]) && pe_magic == 0x4550 &&
		    !peel_read(&machine, 2, 0, (u64)w[15] + 4))
			return machine == 0x6264;
	}
	return 0;
}

/* bz_kernel: the x86 setup header, Documentation/arch/x86/boot.rst. */
GLOBAL int bz_kernel(void)
{
	u32 magic = 0;
	u16 flag = 0;

	return !peel_read(&flag, 2, 0, 0x1fe) && flag == 0xaa55 &&
	       !peel_read(&magic, 4, 0, 0x202) && magic == 0x53726448 && peel_inside(0, 0, 0x268);
}

GLOBAL int zero_block(u64 off, u64 len)
{
	u32 n = len > sizeof(zeros) ? sizeof(zeros) : len;

	for (u32 i = 0; i < 512; i++)
		*(volatile u64 *)&zeros[i] = 0;
	if (peel_read(zeros, n, 0, off))
		return 0;
	for (u32 i = 0; i < 512; i++)
		if (zeros[i])
			return 0;
	return 1;
}

/* kernel_size is the size without padding behind the certificates. */
GLOBAL u64 kernel_size(void)
{
	u64 size = peel.size[0], end;

	if (pe_open(0) || pe_check() || !pe.cert_size) {
		peel.refused = 0; /* a kernel need not be a PE image */
		return size;
	}
	end = pe.cert + pe.cert_size;
	for (u32 i = 0; i < 2048; i++) {
		u64 at = end + (u64)i * sizeof(zeros);
		if (at >= size)
			return end;
		if (!zero_block(at, size - at))
			return size;
	}
	return size;
}

GLOBAL int parse(void)
{
	if (!bz_kernel() && !image_kernel() && !elf_kernel())
		return -1;
	if (peel_verify(0, 0, peel.size[0]))
		return -1;
	return peel_copy(SUB_KERNEL, FLAG_FINAL, 0, 0, kernel_size());
}

PEEL_PARSER(parse_boot)
