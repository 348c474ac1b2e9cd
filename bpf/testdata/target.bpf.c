// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The types of core.bpf.c as a host has them. */
#include "bpf.h"

enum color { WIDE_ONLY = 6, BLUE = 78, GREEN = 3000000000u };

struct inner {
	long before;
	int a;
	short list[6];
};

struct here {
	long prefix;
	unsigned int plain;
	char first;
	unsigned int shrunk_before;
	unsigned short shrunk;
	int bits_a : 5;
	unsigned int : 4;
	unsigned int bits_b : 12;
	unsigned int grown;
	struct inner in;
	union {
		struct {
			long pad;
			int anon_x;
		};
		long anon_z;
		int anon_y;
	};
	enum color tint;
	struct inner rows[5];
	char *pointer;
	char tail[];
};

struct here here;
SEC("syscall") void *use(void *p)
{
	return &here;
}
char LICENSE[] SEC("license") = "GPL";
