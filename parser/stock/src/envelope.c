// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Data envelopes: ELF files whose sections are the parts of a boot.
 *
 *	.kernel .initrd .cmdline   a kernel image with what it needs
 *	.uki .addon ...            a unified kernel image and its addons
 *	.pe.1 .ima .pe.2 .ima ...  PE images; .ima signs the .pe before it
 *
 * The first PE of the last two is the next layer's image, the others are its
 * addons. Names may stand anywhere in the string table, its end included.
 */
#include "peel_parser.h"

struct elf {
	u32 magic;
	u8 class, data, version, pad[9];
	u16 type, machine;
	u32 version2;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct section {
	u32 name, type;
	u64 flags, addr, off, size;
	u32 link, info;
	u64 align, entsize;
};

enum { OTHER, KERNEL, INITRD, CMDLINE, UKI, ADDON, PE, IMA };
#define SECTIONS 64

struct {
	u64 shoff, names, names_size;
	u32 shnum;
	u32 have; /* kinds seen, as bits */
	u32 kind; /* of the section read last */
	u32 last_pe; /* its entry in the plan, plus one */
	u64 image_off, image_size;
	u64 kernel_off, kernel_size;
	struct section cur;
} env;

#define NAME(a, b, c, d, e, f, g, h)                                                \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | \
	 (u64)(f) << 40 | (u64)(g) << 48 | (u64)(h) << 56)

/* section_load reads header i and its name, of which nine bytes tell. */
GLOBAL int section_load(u32 i)
{
	u64 name = 0, at;
	u32 n = 0;

	env.kind = OTHER;
	if (peel_read(&env.cur, sizeof(env.cur), 0, env.shoff + (u64)i * sizeof(env.cur)))
		return peel_refuse(1, WHY_TRUNCATED, env.shoff, (u64)i * sizeof(env.cur));
	at = env.cur.name;
	for (n = 0; n < 9; n++) {
		u8 c = 0;
		if (at + n >= env.names_size || peel_read(&c, 1, 0, env.names + at + n))
			return peel_refuse(1, WHY_NAME, env.shoff + (u64)i * sizeof(env.cur), at);
		if (!c)
			break;
		if (n < 8)
			name |= (u64)c << (8 * n);
	}
	if (n > 8)
		return 0;
	switch (name) {
	case NAME('.', 'k', 'e', 'r', 'n', 'e', 'l', 0): env.kind = KERNEL; break;
	case NAME('.', 'i', 'n', 'i', 't', 'r', 'd', 0): env.kind = INITRD; break;
	case NAME('.', 'c', 'm', 'd', 'l', 'i', 'n', 'e'): env.kind = CMDLINE; break;
	case NAME('.', 'u', 'k', 'i', 0, 0, 0, 0): env.kind = UKI; break;
	case NAME('.', 'a', 'd', 'd', 'o', 'n', 0, 0): env.kind = ADDON; break;
	case NAME('.', 'i', 'm', 'a', 0, 0, 0, 0): env.kind = IMA; break;
	}
	if ((name & 0xffffffff) == NAME('.', 'p', 'e', '.', 0, 0, 0, 0) && n > 4) {
		env.kind = PE;
		for (u32 k = 4; k < 8; k++) {
			u8 c = name >> (8 * k);
			if (k < n && (c < '0' || c > '9'))
				env.kind = OTHER;
		}
	}
	if (env.kind != OTHER && env.cur.type == 8) /* SHT_NOBITS has no bytes */
		return peel_refuse(1, WHY_RANGE, env.cur.off, env.cur.size);
	return 0;
}

GLOBAL int survey(void)
{
	for (u32 i = 1; i < SECTIONS; i++) {
		if (i >= env.shnum)
			break;
		if (section_load(i))
			return -1;
		env.have |= 1u << (env.kind & 7);
	}
	return 0;
}

/* image hands on a PE: the first is the image, the others are its addons. */
GLOBAL int image(u32 addon)
{
	if (peel_verify(0, env.cur.off, env.cur.size))
		return -1;
	env.last_pe = peel.n;
	if (!addon && !env.image_size) {
		env.image_off = env.cur.off;
		env.image_size = env.cur.size;
		return env.image_size ? 0 : peel_refuse(1, WHY_EMPTY, env.cur.off, 0);
	}
	return peel_copy(SUB_ADDON, FLAG_FILL, 0, env.cur.off, env.cur.size);
}

GLOBAL int one(u32 i)
{
	u32 bit;

	if (section_load(i))
		return -1;
	if (env.kind == OTHER)
		return 0;
	if (!peel_inside(0, env.cur.off, env.cur.size))
		return peel_refuse(1, WHY_RANGE, env.cur.off, env.cur.size);
	/* All but addons, .pe.N and their signatures may be there once. */
	bit = 1u << (env.kind & 7);
	if (env.kind <= UKI) {
		if (env.have & bit)
			return peel_refuse(1, WHY_DOUBLE, env.cur.off, env.cur.size);
		env.have |= bit;
	}
	switch (env.kind) {
	case KERNEL:
		env.image_off = env.cur.off;
		env.image_size = env.cur.size;
		if (!env.cur.size)
			return peel_refuse(1, WHY_EMPTY, env.cur.off, 0);
		return peel_verify(0, env.cur.off, env.cur.size);
	case INITRD:
		return env.cur.size ? peel_copy(SUB_INITRD, 0, 0, env.cur.off, env.cur.size) : 0;
	case CMDLINE:
		return env.cur.size ? peel_copy(SUB_CMDLINE, 0, 0, env.cur.off, env.cur.size) : 0;
	case UKI:
		return image(0);
	case ADDON:
		return image(1);
	case PE:
		return image(0);
	case IMA:
		/* The signature of the .pe before it takes the place of the one
		 * inside that PE, where the host goes by such signatures. */
		if (peel.sig == PEEL_SIG_IMA && env.last_pe > 0) {
			struct peel_item *it = &peel.item[(env.last_pe - 1) & (PEEL_ITEMS - 1)];
			if (it->cmd != CMD_VERIFY_SIG)
				return 0;
			it->cmd = CMD_VERIFY_IMA;
			it->off2 = env.cur.off;
			it->len2 = env.cur.size;
		}
		return 0;
	}
	return 0;
}

GLOBAL int parse(void)
{
	struct section names;
	struct elf h;
	u32 forms;

	__builtin_memset(&env, 0, sizeof(env));
	if (peel_read(&h, sizeof(h), 0, 0) || h.magic != 0x464c457f || h.class != 2 || h.data != 1)
		return -1;
	if (h.phnum || h.shentsize != sizeof(struct section) || !h.shnum || h.shstrndx >= h.shnum)
		return -1;
	if (h.shnum > SECTIONS)
		return peel_refuse(1, WHY_MANY, 60, h.shnum);
	if (!peel_inside(0, h.shoff, (u64)h.shnum * sizeof(names)))
		return peel_refuse(1, WHY_TRUNCATED, h.shoff, (u64)h.shnum * sizeof(names));
	if (peel_read(&names, sizeof(names), 0, h.shoff + (u64)h.shstrndx * sizeof(names)) ||
	    !peel_inside(0, names.off, names.size))
		return peel_refuse(1, WHY_RANGE, h.shoff, h.shstrndx);
	env.shoff = h.shoff;
	env.shnum = h.shnum;
	env.names = names.off;
	env.names_size = names.size;
	if (survey())
		return -1;
	forms = !!(env.have & 1 << KERNEL) + !!(env.have & 1 << UKI) + !!(env.have & 1 << PE);
	if (!forms)
		return -1;
	if (forms > 1)
		return peel_refuse(1, WHY_DOUBLE, h.shoff, h.shnum);
	env.have = 0;
	for (u32 i = 1; i < SECTIONS; i++) {
		if (i >= env.shnum)
			break;
		if (one(i))
			return -1;
	}
	return peel_copy(SUB_KERNEL, FLAG_FILL, 0, env.image_off, env.image_size);
}

PEEL_PARSER(parse_envelope)
