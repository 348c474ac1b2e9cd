// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Every kind of CO-RE relocation; the answers go to out[]. */
#include "bpf.h"

enum color { RED = 1, GREEN = 2, BLUE = 77 } ;
enum color___wide { WIDE_ONLY___old = 5 };

struct inner {
	int a;
	short list[4];
} core;

struct here {
	char first;
	unsigned int plain;
	int bits_a : 3;
	unsigned int bits_b : 9;
	unsigned long grown;
	unsigned int shrunk;
	struct inner in;
	struct {
		int anon_x;
		union {
			int anon_y;
			long anon_z;
		};
	};
	enum color tint;
	int gone;
	struct inner rows[3];
	char *pointer;
	char tail[];
} core;

/* A flavour of the same type: the suffix does not count. */
struct here___other {
	int gone;
	unsigned int plain;
} core;

/* Unknown to the host: a file format that the program lays out for itself. */
struct file_format {
	u16 magic;
	u32 size;
	u8 flag : 2;
} core;

struct not_there {
	int x;
} core;

char LICENSE[] SEC("license") = "GPL";
volatile u64 out[64];

#define info(expr, kind) __builtin_preserve_field_info(expr, kind)

SEC("syscall")
int offsets(struct here *h)
{
	out[0] = info(h->first, 0);
	out[1] = info(h->plain, 0);
	out[2] = info(h->grown, 0);
	out[3] = info(h->in.list[2], 0);
	out[4] = info(h->anon_x, 0);
	out[5] = info(h->anon_z, 0);
	out[6] = info(h->rows[2].list[1], 0);
	out[7] = info(h[1].plain, 0);
	out[8] = info(h->tail[5], 0);
	out[9] = info(h->bits_b, 0);
	out[10] = info(((struct here___other *)h)->plain, 0);
	out[11] = info(((struct file_format *)h)->size, 0);
	return 0;
}

SEC("syscall")
int sizes(struct here *h)
{
	out[0] = info(h->first, 1);
	out[1] = info(h->grown, 1);
	out[2] = info(h->shrunk, 1);
	out[3] = info(h->in, 1);
	out[4] = info(h->rows, 1);
	out[5] = info(h->bits_a, 1);
	out[6] = info(h->pointer, 1);
	out[7] = info(((struct file_format *)h)->magic, 1);
	return 0;
}

SEC("syscall")
int exists(struct here *h)
{
	out[0] = info(h->first, 2);
	out[1] = info(h->gone, 2);
	out[2] = info(h->anon_y, 2);
	out[3] = info(((struct here___other *)h)->gone, 2);
	out[4] = info(((struct not_there *)h)->x, 2);
	return 0;
}

SEC("syscall")
int bitfields(struct here *h)
{
	out[0] = info(h->bits_a, 3);
	out[1] = info(h->bits_b, 3);
	out[2] = info(h->plain, 3);
	out[3] = info(h->in.a, 3);
	out[4] = info(h->bits_a, 4);
	out[5] = info(h->bits_a, 5);
	out[6] = info(h->bits_b, 4);
	out[7] = info(h->bits_b, 5);
	out[8] = info(h->plain, 4);
	out[9] = info(h->plain, 5);
	out[10] = info(((struct file_format *)h)->flag, 4);
	out[11] = info(((struct file_format *)h)->flag, 5);
	return 0;
}

SEC("syscall")
int types(struct here *h)
{
	out[0] = __builtin_btf_type_id(*(struct here *)0, 0);
	out[1] = __builtin_btf_type_id(*(struct here *)0, 1);
	out[2] = __builtin_preserve_type_info(*(struct here *)0, 0);
	out[3] = __builtin_preserve_type_info(*(struct not_there *)0, 0);
	out[4] = __builtin_preserve_type_info(*(struct here *)0, 1);
	out[5] = __builtin_preserve_type_info(*(struct inner *)0, 2);
	out[6] = __builtin_preserve_type_info(*(struct here *)0, 2);
	out[7] = __builtin_preserve_type_info(*(struct not_there *)0, 1);
	out[8] = __builtin_btf_type_id(*(struct not_there *)0, 1);
	return 0;
}

SEC("syscall")
int enums(void *h)
{
	out[0] = __builtin_preserve_enum_value(*(enum color *)GREEN, 0);
	out[1] = __builtin_preserve_enum_value(*(enum color *)RED, 0);
	out[2] = __builtin_preserve_enum_value(*(enum color *)GREEN, 1);
	out[3] = __builtin_preserve_enum_value(*(enum color *)BLUE, 1);
	out[4] = __builtin_preserve_enum_value(*(enum color___wide *)WIDE_ONLY___old, 1);
	return 0;
}

SEC("syscall")
int loads(struct here *h)
{
	out[0] = h->plain;
	out[1] = h->grown;
	out[2] = h->shrunk;
	out[3] = h->in.a;
	out[4] = h->rows[1].a;
	return 0;
}

/* Reaches for a field that is gone, unless told otherwise. */
SEC("syscall")
int guarded(struct here *h)
{
	if (info(h->gone, 2))
		out[0] = h->gone;
	else
		out[0] = 1234;
	return 0;
}

SEC("syscall")
int poisoned(struct here *h)
{
	out[0] = h->gone;
	return 0;
}
