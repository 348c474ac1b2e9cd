// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Arithmetic that needs cpu v4: built for BPF and for the machine that runs
 * the test, both must agree.
 */
#ifdef NATIVE
#include <stdio.h>
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
#define SEC(name)
#define noinline __attribute__((noinline))
#else
#include "bpf.h"
#endif

static noinline s64 divide(s64 a, s64 b)
{
	if (!b || b == -1)
		return a;
	return a / b + a % b;
}

static noinline s32 divide32(s32 a, s32 b)
{
	if (!b || b == -1)
		return a;
	return a / b - a % b;
}

static noinline u64 widen(volatile u8 *p)
{
	s8 a = *(volatile s8 *)p;
	s16 b = *(volatile s16 *)(p + 2);
	s32 c = *(volatile s32 *)(p + 4);

	return (u64)(s64)a + (u64)(s64)b * 3 + (u64)(s64)c * 5;
}

static noinline u64 swap(u64 v)
{
	return __builtin_bswap64(v) ^ __builtin_bswap32((u32)v) ^ __builtin_bswap16((u16)v);
}

static noinline u64 pick(u64 v)
{
	switch (v & 7) {
	case 0: return (u64)(s64)(s8)v;
	case 1: return (u64)(s64)(s16)v;
	case 2: return (u64)(s64)(s32)v;
	case 3: return (u32)(s32)(s8)v;
	case 4: return (u32)(s32)(s16)v;
	case 5: return v >> (v & 63);
	case 6: return (u64)((s64)v >> (v & 63));
	default: return (u32)((s32)v >> (v & 31));
	}
}

SEC("syscall")
u64 hash(void *unused)
{
	u64 h = 1, x = 88172645463325252ull;
	volatile u64 cell;

	for (int i = 0; i < 5000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		cell = x;
		h = h * 31 + (u64)divide((s64)x, (s64)(s16)(x >> 40));
		h = h * 31 + (u64)(s64)divide32((s32)x, (s32)(s8)(x >> 33));
		h = h * 31 + widen((volatile u8 *)&cell);
		h = h * 31 + swap(x);
		h = h * 31 + pick(x);
		if ((s64)x < (s64)h)
			h += 7;
		if ((s32)x >= (s32)h)
			h ^= 11;
	}
	return h;
}

#ifdef NATIVE
int main(void)
{
	printf("%llx\n", hash(0));
	return 0;
}
#else
char LICENSE[] SEC("license") = "GPL";
#endif
