/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Reading the headers of a PE image (PE/COFF specification). pe_open() finds
 * the section table, pe_load() reads one header, pe_check() demands what
 * firmware and image/pe demand of the whole table.
 */
#ifndef PEEL_PE_H
#define PEEL_PE_H

#include "peel_parser.h"

#define PE_SECTIONS 4096 /* in blocks of 64, so that no loop is longer */

struct pe_header {
	u32 magic;
	u16 machine, sections;
	u32 time, symbols, symbol_count;
	u16 optional_size, characteristics;
};

struct pe_section {
	u64 name;
	u32 vsize, va, rsize, roff;
	u32 rest[3];
	u32 characteristics;
};

struct {
	u32 buf, machine, count, magic;
	u64 table;
	u32 image_size, header_size, subsystem;
	u32 optional_size;
	u64 optional;
	u64 cert, cert_size;
	u64 raw_end; /* of the last byte that a section has in the file */
	u32 sorted;
	struct pe_section cur; /* the section pe_load() read last */
	u32 cur_len;           /* its contents, in bytes */
	struct pe_section other;
} pe;

/* pe_name packs a section name the way it lies in memory. */
#define PE_NAME(a, b, c, d, e, f, g, h)                                             \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | \
	 (u64)(f) << 40 | (u64)(g) << 48 | (u64)(h) << 56)

/* name_clean drops what follows the first NUL: names end there, and a name of
 * all eight bytes has none. */
INLINE u64 name_clean(u64 n)
{
	u64 keep = 0;

#pragma unroll
	for (int i = 0; i < 8; i++) {
		u64 byte = n & (0xffull << (8 * i));
		if (!byte)
			break;
		keep |= byte;
	}
	return keep;
}

/* pe_open reads the fixed headers of a buffer. What is no PE image at all is
 * another format; what ends inside its own headers is broken. */
GLOBAL int pe_open(u32 buf)
{
	struct pe_header h;
	u32 at = 0, n = 0;
	u16 mz = 0;

	buf &= 15;
	pe.buf = buf;
	pe.count = 0;
	pe.cert = pe.cert_size = pe.raw_end = 0;
	if (peel_read(&mz, 2, buf, 0) || mz != 0x5a4d)
		return peel_refuse(0, WHY_FORMAT, 0, 0);
	if (peel_read(&at, 4, buf, 0x3c) || peel_read(&n, 4, buf, at) || n != 0x4550)
		return peel_refuse(0, WHY_FORMAT, at, 4);
	if (at < 64)
		return peel_refuse(1, WHY_TRUNCATED, at, sizeof(h));
	if (peel_read(&h, sizeof(h), buf, at))
		return peel_refuse(1, WHY_TRUNCATED, at, sizeof(h));
	pe.machine = h.machine;
	pe.optional = (u64)at + sizeof(h);
	pe.optional_size = h.optional_size;
	pe.table = pe.optional + h.optional_size;
	if (h.sections > PE_SECTIONS)
		return peel_refuse(1, WHY_MANY, at + 6, h.sections);
	if (!peel_inside(buf, pe.table, (u64)h.sections * sizeof(struct pe_section)))
		return peel_refuse(1, WHY_TRUNCATED, pe.table, (u64)h.sections * sizeof(struct pe_section));
	pe.count = h.sections;
	return 0;
}

/* pe_optional reads what is needed of the optional header. */
GLOBAL int pe_optional(void)
{
	u32 fixed, dirs = 0, soh = 0, soi = 0, buf = pe.buf;
	u32 cert[2] = {};
	u16 magic = 0, subsystem = 0;
	u64 at = pe.optional, end;

	if (pe.optional_size < 2 || peel_read(&magic, 2, buf, at))
		return peel_refuse(1, WHY_TRUNCATED, at, pe.optional_size);
	if (magic != 0x10b && magic != 0x20b)
		return peel_refuse(1, WHY_HEADER, at, magic);
	fixed = magic == 0x20b ? 112 : 96;
	if (pe.optional_size < fixed)
		return peel_refuse(1, WHY_TRUNCATED, at, pe.optional_size);
	if (peel_read(&soi, 4, buf, at + 56) || peel_read(&soh, 4, buf, at + 60) ||
	    peel_read(&subsystem, 2, buf, at + 68) || peel_read(&dirs, 4, buf, at + fixed - 4))
		return peel_refuse(1, WHY_TRUNCATED, at, fixed);
	if (dirs > 16 || dirs * 8 > pe.optional_size - fixed)
		return peel_refuse(1, WHY_HEADER, at + fixed - 4, dirs);
	end = pe.table + (u64)pe.count * sizeof(struct pe_section);
	if (soh < end || soh > peel.size[buf & 15])
		return peel_refuse(1, WHY_HEADER, at + 60, soh);
	if (dirs > 4 && peel_read(cert, 8, buf, at + fixed + 4 * 8))
		return peel_refuse(1, WHY_TRUNCATED, at + fixed, 40);
	pe.header_size = soh;
	pe.image_size = soi;
	pe.subsystem = subsystem;
	if (cert[1]) {
		pe.cert = cert[0];
		pe.cert_size = cert[1];
		if (!peel_inside(buf, pe.cert, pe.cert_size) || (pe.cert & 7) || pe.cert < soh)
			return peel_refuse(1, WHY_RANGE, pe.cert, pe.cert_size);
	}
	return 0;
}

/* pe_load reads section header i into pe.cur. */
GLOBAL int pe_load(u32 i)
{
	u64 at = pe.table + (u64)i * sizeof(struct pe_section);

	if (i >= pe.count || peel_read(&pe.cur, sizeof(pe.cur), pe.buf, at))
		return peel_refuse(1, WHY_TRUNCATED, at, sizeof(struct pe_section));
	pe.cur.name = name_clean(pe.cur.name);
	pe.cur_len = pe.cur.vsize < pe.cur.rsize ? pe.cur.vsize : pe.cur.rsize;
	return 0;
}

/* The end of the last section seen, in the file and in memory. */
u64 pe_last_raw, pe_last_va;

/* pe_check_one checks section i by itself, and that it follows the ones
 * before it; sections in another order are compared pair by pair later. */
INLINE int pe_check_one(u32 i)
{
	u64 start, end;

	if (pe_load(i))
		return -1;
	if (pe.cur.rsize) {
		start = pe.cur.roff;
		end = start + pe.cur.rsize;
		if (!peel_inside(pe.buf, start, pe.cur.rsize))
			return peel_refuse(1, WHY_RANGE, start, pe.cur.rsize);
		if (start < pe.header_size)
			return peel_refuse(1, WHY_OVERLAP, start, pe.cur.rsize);
		if (start < pe_last_raw)
			pe.sorted = 0;
		if (end > pe_last_raw)
			pe_last_raw = end;
	}
	if (pe.cur.vsize) {
		start = pe.cur.va;
		end = start + pe.cur.vsize;
		if (end > pe.image_size)
			return peel_refuse(1, WHY_RANGE, start, pe.cur.vsize);
		if (start < pe.header_size)
			return peel_refuse(1, WHY_OVERLAP, start, pe.cur.vsize);
		if (start < pe_last_va)
			pe.sorted = 0;
		if (end > pe_last_va)
			pe_last_va = end;
	}
	return 0;
}

GLOBAL int pe_check_block(u32 first)
{
	for (u32 i = 0; i < 64; i++) {
		if (first + i >= pe.count)
			break;
		if (pe_check_one(first + i))
			return -1;
	}
	return 0;
}

INLINE int pe_apart(u64 a, u64 alen, u64 b, u64 blen)
{
	return !alen || !blen || a + alen <= b || b + blen <= a;
}

/* pe_check_pairs compares section i with those after it. */
GLOBAL int pe_check_pairs(u32 i)
{
	u64 at = pe.table + (u64)i * sizeof(struct pe_section);

	if (peel_read(&pe.other, sizeof(pe.other), pe.buf, at))
		return peel_refuse(1, WHY_TRUNCATED, at, sizeof(struct pe_section));
	for (u32 k = 1; k < 256; k++) {
		if (i + k >= pe.count)
			break;
		if (pe_load(i + k))
			return -1;
		if (!pe_apart(pe.cur.roff, pe.cur.rsize, pe.other.roff, pe.other.rsize))
			return peel_refuse(1, WHY_OVERLAP, pe.cur.roff, pe.cur.rsize);
		if (!pe_apart(pe.cur.va, pe.cur.vsize, pe.other.va, pe.other.vsize))
			return peel_refuse(1, WHY_OVERLAP, pe.cur.va, pe.cur.vsize);
	}
	return 0;
}

/* pe_check demands that the sections lie in the file and in the image, and
 * that no two of them share a byte of either. */
GLOBAL int pe_check(void)
{
	if (pe_optional())
		return -1;
	pe.sorted = 1;
	pe_last_raw = pe_last_va = 0;
	for (u32 i = 0; i < PE_SECTIONS / 64; i++) {
		if (i * 64 >= pe.count)
			break;
		if (pe_check_block(i * 64))
			return -1;
	}
	if (!pe.sorted) {
		if (pe.count > 256)
			return peel_refuse(1, WHY_OVERLAP, pe.table, pe.count);
		for (u32 i = 0; i < 256; i++) {
			if (i >= pe.count)
				break;
			if (pe_check_pairs(i))
				return -1;
		}
	}
	pe.raw_end = pe_last_raw;
	if (pe.cert_size && pe.cert < pe.raw_end)
		return peel_refuse(1, WHY_OVERLAP, pe.cert, pe.cert_size);
	return 0;
}

#endif
