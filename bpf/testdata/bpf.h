/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The least that the test programs need of a BPF helper header. */
#ifndef TEST_BPF_H
#define TEST_BPF_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define noinline __attribute__((noinline))
#define weak_ksym __attribute__((weak)) __attribute__((section(".ksyms")))
#define ksym __attribute__((section(".ksyms")))
#define core __attribute__((preserve_access_index))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*probe_read)(void *dst, u32 size, const void *src) = (void *)4;
static long (*trace_printk)(const char *fmt, u32 size, ...) = (void *)6;
static long (*probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static long (*probe_read_str)(void *dst, u32 size, const void *src) = (void *)115;
static void *(*ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*ringbuf_submit)(void *data, u64 flags) = (void *)132;
static void (*ringbuf_discard)(void *data, u64 flags) = (void *)133;
static long (*loop)(u32 n, void *fn, void *ctx, u64 flags) = (void *)181;

#endif
