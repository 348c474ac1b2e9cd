// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * EFI zboot (drivers/firmware/efi/libstub/zboot-header.S): a compressed Image
 * inside a PE image. The payload is as long as the header says; the method is
 * the host's business.
 */
#include "peel_parser.h"

struct zboot {
	u32 mz;
	u32 magic;
	u32 offset;
	u32 size;
	u32 zero[2];
	char method[32]; /* with its NUL */
	u32 linux_magic;
	u32 pe;
};

GLOBAL int parse(void)
{
	struct zboot z;
	u32 end = 0;

	if (peel_read(&z, sizeof(z), 0, 0))
		return -1;
	if ((z.mz & 0xffff) != 0x5a4d || z.magic != 0x676d697a)
		return -1;
	for (u32 i = 0; i < sizeof(z.method); i++) {
		char c = z.method[i];

		if (!c) {
			end = i;
			break;
		}
		if (c <= ' ' || c > '~')
			return peel_refuse(1, WHY_HEADER, 0x18 + i, 1);
	}
	if (!end)
		return peel_refuse(1, WHY_HEADER, 0x18, sizeof(z.method));
	/* 64-bit sums: offset and size are each 32 bits wide. */
	if (z.offset < sizeof(z) || !peel_inside(0, z.offset, z.size))
		return peel_refuse(1, WHY_RANGE, z.offset, z.size);
	if (!z.size)
		return peel_refuse(1, WHY_EMPTY, z.offset, 0);
	if (peel_verify(0, 0, peel.size[0]))
		return -1;
	return peel_unpack(0, z.offset, z.size);
}

PEEL_PARSER(parse_zboot)
