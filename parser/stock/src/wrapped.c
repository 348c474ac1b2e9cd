// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * A kernel that is compressed as a whole: Image.gz, vmlinux.zst and their
 * kind. The magic numbers are those of the kernel's lib/decompress.c, all the
 * bytes that each format fixes.
 */
#include "peel_parser.h"

GLOBAL int parse(void)
{
	u64 head = 0;

	if (peel_read(&head, 8, 0, 0))
		return -1;
	if ((head & 0xffffff) == 0x088b1f ||              /* gzip, deflate */
	    (head & 0xffffffffffff) == 0x005a587a37fd ||  /* xz */
	    (head & 0xffffffff) == 0xfd2fb528 ||          /* zstd */
	    (head & 0xffffffff) == 0x184c2102 ||          /* lz4, legacy frame */
	    (head & 0xffffff) == 0x685a42 ||              /* bzip2 */
	    (head & 0xffffff) == 0x00005d ||              /* lzma alone */
	    head == 0x0a1a0d004f5a4c89ull)                /* lzo, lzop container */
		return peel_unpack(0, 0, peel.size[0]);
	return -1;
}

PEEL_PARSER(parse_wrapped)
