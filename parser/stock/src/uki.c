// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Unified kernel images (UAPI.5) and their addons.
 *
 * Buffer 0 holds the UKI, the buffers after it the addons, if there are any.
 * Sections before the first .profile are the base; those of the chosen profile
 * replace them one by one. Everything that boots is handed on, in the order in
 * which systemd-stub composes it; a section that cannot be read whole makes
 * the image refused, never thinner.
 */
#include "peel_pe.h"

enum kind {
	LINUX, CMDLINE, INITRD, UCODE, DTB, DTBAUTO, UNAME, OSREL,
	PCRSIG, PCRPKEY, SBAT, SPLASH, HWIDS, PROFILE, KINDS,
};
#define KIND(k) ((k) & 15)
#define BASE 0
#define CHOSEN 1
#define NONE (~0u)

/* One image's sections; the scopes lie 16 apart, so that an index needs no
 * more than a mask. */
struct found {
	u64 off[32];
	u32 len[32];
	u8 have[32];
};

struct {
	int profile;     /* the one the walk is in, -1 before the first */
	u32 wanted;
	u32 linuxes, profiles;
	u32 seen;          /* kinds in this scope, as bits */
	u64 twice;         /* offset of the header of a section that is there twice */
	u32 machine;
	u32 addon;         /* the walk is in an addon */
	u64 fit, fit_max;  /* the compatible text that .hwids names for this machine */
	struct found f;
} uki;

/* What each addon brings, by buffer number. */
struct found addon[16];

/* Texts that are compared. */
char left[512], right[512];

GLOBAL u32 kind_of(u64 name)
{
	switch (name) {
	case PE_NAME('.', 'l', 'i', 'n', 'u', 'x', 0, 0): return LINUX;
	case PE_NAME('.', 'c', 'm', 'd', 'l', 'i', 'n', 'e'): return CMDLINE;
	case PE_NAME('.', 'i', 'n', 'i', 't', 'r', 'd', 0): return INITRD;
	case PE_NAME('.', 'u', 'c', 'o', 'd', 'e', 0, 0): return UCODE;
	case PE_NAME('.', 'd', 't', 'b', 0, 0, 0, 0): return DTB;
	case PE_NAME('.', 'd', 't', 'b', 'a', 'u', 't', 'o'): return DTBAUTO;
	case PE_NAME('.', 'u', 'n', 'a', 'm', 'e', 0, 0): return UNAME;
	case PE_NAME('.', 'o', 's', 'r', 'e', 'l', 0, 0): return OSREL;
	case PE_NAME('.', 'p', 'c', 'r', 's', 'i', 'g', 0): return PCRSIG;
	case PE_NAME('.', 'p', 'c', 'r', 'p', 'k', 'e', 'y'): return PCRPKEY;
	case PE_NAME('.', 's', 'b', 'a', 't', 0, 0, 0): return SBAT;
	case PE_NAME('.', 's', 'p', 'l', 'a', 's', 'h', 0): return SPLASH;
	case PE_NAME('.', 'h', 'w', 'i', 'd', 's', 0, 0): return HWIDS;
	case PE_NAME('.', 'p', 'r', 'o', 'f', 'i', 'l', 'e'): return PROFILE;
	}
	return KINDS;
}

/* text_read copies a text of at most 511 bytes from a host address. */
INLINE void text_read(char *dst, u64 addr, u64 len)
{
	u32 n = len > 511 ? 511 : len;

	__builtin_memset(dst, 0, 512);
	if (n)
		bpf_probe_read_kernel(dst, n, (const void *)(unsigned long)addr);
}

/* text_equal compares left and right up to the first NUL of each. */
GLOBAL int text_equal(u32 max)
{
	for (u32 i = 0; i < 512; i++) {
		char a = i < max ? left[i] : 0, b = i < max ? right[i] : 0;
		if (a != b)
			return 0;
		if (!a)
			return 1;
	}
	return 1;
}

/* The walk through the text of a .profile. */
struct {
	u32 state; /* 0..2: characters of "ID=" seen at a line's start; 3: in the value; 4: in another line */
	u32 at;    /* characters of the value seen */
	u32 quote; /* that the value began with */
	u32 same;  /* the last ID= was the name in right */
} walk;

/* profile_char takes character i of left; 1 ends the text. */
GLOBAL int profile_char(u32 i)
{
	char c = left[i & 511], want = right[walk.at & 511];

	if (walk.state == 3) {
		int end = !c || c == '\n' || c == '\r' || (walk.quote && (u32)c == walk.quote);

		if (!walk.at && !walk.quote && (c == '"' || c == '\'')) {
			walk.quote = c;
			return 0;
		}
		if (end || !want || want != c || walk.at > 510) {
			walk.same = end && walk.at && !want;
			walk.state = c == '\n' ? 0 : 4;
			walk.at = walk.quote = 0;
			return !c;
		}
		walk.at++;
		return 0;
	}
	if (!c)
		return 1;
	if (c == '\n')
		walk.state = 0;
	else if (walk.state == 0 && c == 'I')
		walk.state = 1;
	else if (walk.state == 1 && c == 'D')
		walk.state = 2;
	else if (walk.state == 2 && c == '=')
		walk.state = 3;
	else
		walk.state = 4;
	return 0;
}

/* profile_named says whether the ID= line of the .profile text in left is the
 * name in right. Values may stand in quotes, as in os-release(5); of several
 * lines the last one counts. */
GLOBAL int profile_named(void)
{
	walk.state = walk.at = walk.quote = walk.same = 0;
	for (u32 i = 0; i < 512; i++)
		if (profile_char(i))
			break;
	return walk.same;
}

/* survey_one counts kernels and profiles, finds the profile of a name, and a
 * section that is there twice in the base or in any profile. */
INLINE int survey_one(u32 i)
{
	u32 kind;

	if (pe_load(i))
		return -1;
	kind = kind_of(pe.cur.name);
	if (kind >= KINDS)
		return 0;
	if (kind == PROFILE)
		uki.seen = 0;
	else if (kind != DTBAUTO && (uki.seen & 1u << kind) && !uki.twice)
		uki.twice = pe.table + (u64)i * sizeof(struct pe_section);
	uki.seen |= 1u << kind;
	if (kind == LINUX)
		uki.linuxes++;
	if (kind != PROFILE)
		return 0;
	if (peel.profile_id_sz && uki.wanted == NONE && peel_inside(pe.buf, pe.cur.roff, pe.cur_len)) {
		text_read(left, peel.base[pe.buf & 15] + pe.cur.roff, pe.cur_len);
		text_read(right, peel.profile_id, peel.profile_id_sz);
		if (profile_named())
			uki.wanted = uki.profiles;
	}
	uki.profiles++;
	return 0;
}

GLOBAL int survey_block(u32 first)
{
	for (u32 i = 0; i < 64; i++) {
		if (first + i >= pe.count)
			break;
		if (survey_one(first + i))
			return -1;
	}
	return 0;
}

/* survey looks at all names of the image in buffer buf. */
GLOBAL int survey(u32 buf)
{
	uki.linuxes = uki.profiles = uki.seen = 0;
	uki.twice = 0;
	if (pe_open(buf))
		return -1;
	for (u32 i = 0; i < PE_SECTIONS / 64; i++) {
		if (i * 64 >= pe.count)
			break;
		if (survey_block(i * 64))
			return -1;
	}
	return 0;
}

/* be32 reads a big endian word of the device tree in the current section. */
INLINE u32 be32(u64 off, int *bad)
{
	u32 v = 0;

	if (peel_read(&v, 4, pe.buf, off))
		*bad = 1;
	return __builtin_bswap32(v);
}

/* The walk through the structure of a device tree. */
struct {
	u64 at, strings, end;
	u32 inside; /* the root node */
} fdt;

/* tree_token takes the next token: 1 found the property, -1 ends the walk. */
GLOBAL int tree_token(void)
{
	u32 token, size, name[3] = {};
	u64 at = fdt.at;
	int bad = 0;

	if (at > fdt.end)
		return -1;
	token = be32(at, &bad);
	fdt.at = at + 4;
	if (bad)
		return -1;
	if (token == 4) /* FDT_NOP */
		return 0;
	if (token == 1 && !fdt.inside) { /* FDT_BEGIN_NODE; the root's name is empty */
		fdt.inside = 1;
		fdt.at = at + 8;
		return be32(at + 4, &bad) || bad ? -1 : 0;
	}
	if (token != 3 || !fdt.inside) /* FDT_PROP */
		return -1;
	size = be32(at + 4, &bad);
	at += 12;
	if (bad || at > fdt.end || size > fdt.end - at)
		return -1;
	fdt.at = at + (((u64)size + 3) & ~3ull);
	if (peel_read(name, 11, pe.buf, fdt.strings + be32(at - 4, &bad)) || bad)
		return 0;
	if (name[0] != 0x706d6f63 /* comp */ || name[1] != 0x62697461 /* atib */ || name[2] != 0x656c /* le */)
		return 0;
	text_read(left, peel.base[pe.buf & 15] + at, size);
	return 1;
}

/* tree_compatible reads the first text of the root node's "compatible" into
 * left. It returns 0 when there is none: an overlay has no such property. */
GLOBAL int tree_compatible(u64 off, u64 len)
{
	int bad = 0;

	left[0] = 0;
	if (!peel_inside(pe.buf, off, len) || len < 40 || be32(off, &bad) != 0xd00dfeed)
		return 0;
	fdt.at = off + be32(off + 8, &bad);
	fdt.strings = off + be32(off + 12, &bad);
	fdt.end = off + len;
	fdt.inside = 0;
	for (u32 i = 0; i < 256; i++) {
		int r = bad ? -1 : tree_token();

		if (r)
			return r > 0 && left[0];
	}
	return 0;
}

/* tree_fits says whether a device tree is made for this machine: by what the
 * firmware's own tree says, or by what .hwids says of the hardware ids. */
GLOBAL int tree_fits(u64 off, u64 len)
{
	if (!tree_compatible(off, len))
		return 0;
	if (peel.compatible_sz) {
		text_read(right, peel.compatible, peel.compatible_sz);
		if (right[0] && text_equal(511))
			return 1;
	}
	if (uki.fit_max) {
		text_read(right, uki.fit, uki.fit_max);
		if (right[0] && text_equal(511))
			return 1;
	}
	return 0;
}

/* A device of .hwids: a type and size, a hardware id, and offsets in the
 * section of its name and its compatible text (systemd, chid.h). */
struct device {
	u32 descriptor;
	u64 id[2];
	u32 name, compatible;
} __attribute__((packed));

/* The walk through .hwids. */
struct {
	u64 off, len, at;
	u64 id[2];
} hw;

/* hwids_step takes one device: 1 ends the walk, 2 found the id. */
GLOBAL int hwids_step(void)
{
	u64 at = hw.at, off = hw.off + hw.at, len = hw.len;
	struct device d = {};
	u32 size, type;

	if (at + 4 > len || peel_read(&d.descriptor, 4, pe.buf, off))
		return peel_refuse(1, WHY_TRUNCATED, off, len);
	if (!d.descriptor)
		return 1;
	type = d.descriptor >> 28;
	size = d.descriptor & 0x0fffffff;
	if (size < 4 || size > len - at || (type <= 2 && size != sizeof(d)))
		return peel_refuse(1, WHY_HEADER, off, d.descriptor);
	hw.at = at + size;
	if (type != 1)
		return 0;
	if (peel_read(&d, sizeof(d), pe.buf, off))
		return peel_refuse(1, WHY_TRUNCATED, off, len);
	if (d.id[0] != hw.id[0] || d.id[1] != hw.id[1])
		return 0;
	if (!d.compatible || d.compatible >= len)
		return peel_refuse(1, WHY_RANGE, off, d.compatible);
	uki.fit = peel.base[pe.buf & 15] + hw.off + d.compatible;
	uki.fit_max = len - d.compatible;
	return 2;
}

/* hwids_find looks for one hardware id among the devices of .hwids. */
GLOBAL int hwids_find(u32 which)
{
	u32 at = uki.f.have[HWIDS + 16] ? HWIDS + 16 : HWIDS;

	hw.off = uki.f.off[at];
	hw.len = uki.f.len[at];
	hw.at = 0;
	if (bpf_probe_read_kernel(hw.id, 16, (const void *)(unsigned long)(peel.hwids + (u64)which * 16)))
		return 0;
	for (u32 i = 0; i < 1024; i++) {
		int r = hwids_step();

		if (r)
			return r < 0 ? -1 : r == 2;
	}
	return peel_refuse(1, WHY_MANY, hw.off, hw.len);
}

GLOBAL int hwids_match(void)
{
	uki.fit_max = 0;
	if (!uki.f.have[HWIDS] && !uki.f.have[HWIDS + 16])
		return 0;
	for (u32 i = 0; i < 32; i++) {
		if ((u64)(i + 1) * 16 > peel.hwids_sz)
			break;
		int r = hwids_find(i);
		if (r)
			return r < 0 ? -1 : 0;
	}
	return 0;
}

/* sound refuses what would leave open which section boots. */
INLINE int sound(void)
{
	if (uki.twice)
		return peel_refuse(1, WHY_DOUBLE, uki.twice, sizeof(struct pe_section));
	if (uki.profiles > 256)
		return peel_refuse(1, WHY_MANY, 0, uki.profiles);
	return pe_check();
}

/* collect_one notes one section. pass 0 takes everything but .dtbauto, whose
 * choice needs .hwids; pass 1 takes that. */
INLINE int collect_one(u32 i, u32 pass)
{
	struct found *f = &uki.f;
	u32 kind, scope = 0, at;

	if (pe_load(i))
		return -1;
	kind = kind_of(pe.cur.name);
	if (kind >= KINDS)
		return 0;
	if (kind == PROFILE)
		uki.profile++;
	if (uki.profile >= 0) {
		if ((u32)uki.profile != uki.wanted)
			return 0;
		scope = 16;
	}
	if ((kind == DTBAUTO) != pass)
		return 0;
	at = (scope + KIND(kind)) & 31;
	if (kind == DTBAUTO) {
		if (f->have[at] || !tree_fits(pe.cur.roff, pe.cur_len))
			return 0;
	}
	f->have[at] = 1;
	f->off[at] = pe.cur.roff;
	f->len[at] = pe.cur_len;
	return 0;
}

GLOBAL int collect_block(u32 first, u32 pass)
{
	for (u32 i = 0; i < 64; i++) {
		if (first + i >= pe.count)
			break;
		if (collect_one(first + i, pass))
			return -1;
	}
	return 0;
}

GLOBAL int collect(u32 pass)
{
	uki.profile = -1;
	for (u32 i = 0; i < PE_SECTIONS / 64; i++) {
		if (i * 64 >= pe.count)
			break;
		if (collect_block(i * 64, pass))
			return -1;
	}
	return 0;
}

/* hand plans one kind of the UKI: the profile's, else the base's. */
GLOBAL int hand(u32 kind, u32 sub, u32 flags)
{
	u32 at = KIND(kind);

	if (uki.f.have[at + 16])
		at += 16;
	if (!uki.f.have[at] || !uki.f.len[at])
		return 0;
	return peel_copy(sub, flags, 0, uki.f.off[at], uki.f.len[at]);
}

/* hand_addon plans one kind of the addon in buffer buf. */
GLOBAL int hand_addon(u32 buf, u32 kind, u32 sub)
{
	u32 at = KIND(kind);

	buf &= 15;
	if (!addon[buf].have[at] || !addon[buf].len[at])
		return 0;
	return peel_copy(sub, 0, buf, addon[buf].off[at], addon[buf].len[at]);
}

/* same_uname compares an addon's .uname with that of the UKI. */
GLOBAL int same_uname(u32 buf)
{
	u32 at = uki.f.have[UNAME + 16] ? UNAME + 16 : UNAME;

	buf &= 15;
	if (!addon[buf].have[UNAME] || !uki.f.have[at])
		return 1;
	text_read(left, peel.base[0] + uki.f.off[at], uki.f.len[at]);
	text_read(right, peel.base[buf] + addon[buf].off[UNAME], addon[buf].len[UNAME]);
	return text_equal(511);
}

struct found spare;

/* read_addon checks and notes the addon in buffer buf. */
GLOBAL int read_addon(u32 buf)
{
	buf &= 15;
	if (survey(buf) || uki.linuxes || uki.profiles) {
		peel.refused = 0; /* whatever it is, it is no addon */
		return peel_refuse(1, WHY_ADDON, 0, buf);
	}
	if (sound())
		return -1;
	if (pe.subsystem != 10) /* an EFI application */
		return peel_refuse(1, WHY_ADDON, 0, buf);
	if (pe.machine != uki.machine)
		return peel_refuse(1, WHY_MACHINE, buf, pe.machine);
	spare = uki.f;
	__builtin_memset(&uki.f, 0, sizeof(uki.f));
	int bad = collect(0) || collect(1);
	addon[buf] = uki.f;
	uki.f = spare;
	if (bad)
		return -1;
	if (!addon[buf].have[CMDLINE] && !addon[buf].have[DTB] && !addon[buf].have[DTBAUTO] &&
	    !addon[buf].have[UCODE] && !addon[buf].have[INITRD])
		return peel_refuse(1, WHY_ADDON, 0, buf);
	if (!same_uname(buf))
		return peel_refuse(1, WHY_UNAME, addon[buf].off[UNAME], addon[buf].len[UNAME]);
	return 0;
}

/* hand_tree plans an addon's device tree: a whole tree replaces the one before
 * it, an overlay is applied to it. */
GLOBAL int hand_tree(u32 buf)
{
	u32 at = addon[buf & 15].have[DTBAUTO] ? DTBAUTO : DTB;

	pe.buf = buf & 15;
	if (!addon[buf & 15].have[at])
		return 0;
	if (tree_compatible(addon[buf & 15].off[at], addon[buf & 15].len[at]))
		return hand_addon(buf, at, SUB_DTB);
	return hand_addon(buf, at, SUB_OVERLAY_ADD);
}

INLINE int parse_addons(void)
{
	for (u32 b = 1; b < 16; b++) {
		if (b > peel.addons)
			break;
		if (peel_verify(b, 0, peel.size[b & 15]) || read_addon(b))
			return -1;
	}
	return peel_plan(CMD_TAKE_ADDONS, 0, 0, 0, 0);
}

GLOBAL int plan_ram(void)
{
	/* Microcode that comes later has to win, so addons go backwards. */
	for (u32 b = 15; b > 0; b--)
		if (b <= peel.addons && hand_addon(b, UCODE, SUB_UCODE_ADD))
			return -1;
	if (hand(UCODE, SUB_UCODE_ADD, 0) || hand(INITRD, SUB_INITRD, 0))
		return -1;
	for (u32 b = 1; b < 16; b++)
		if (b <= peel.addons && hand_addon(b, INITRD, SUB_INITRD_ADD))
			return -1;
	return 0;
}

GLOBAL int plan_rest(void)
{
	u32 auto_ = uki.f.have[DTBAUTO] || uki.f.have[DTBAUTO + 16];

	if (hand(CMDLINE, SUB_CMDLINE, 0))
		return -1;
	for (u32 b = 1; b < 16; b++)
		if (b <= peel.addons && hand_addon(b, CMDLINE, SUB_CMDLINE_ADD))
			return -1;
	if (hand(auto_ ? DTBAUTO : DTB, SUB_DTB, 0))
		return -1;
	for (u32 b = 1; b < 16; b++)
		if (b <= peel.addons && hand_tree(b))
			return -1;
	return hand(UNAME, SUB_UNAME, 0) || hand(OSREL, SUB_OSREL, 0) || hand(PROFILE, SUB_PROFILE, 0) ||
	       hand(PCRSIG, SUB_PCRSIG, 0) || hand(PCRPKEY, SUB_PCRPKEY, 0) || hand(SBAT, SUB_SBAT, 0) ||
	       hand(SPLASH, SUB_SPLASH, 0) ? -1 : 0;
}

GLOBAL int parse(void)
{
	u32 at;

	__builtin_memset(&uki, 0, sizeof(uki));
	uki.wanted = peel.profile;
	if (survey(0))
		return -1;
	if (!uki.linuxes)
		return -1;
	if (sound() || peel_verify(0, 0, peel.size[0]))
		return -1;
	if (uki.wanted == NONE && !peel.profile_id_sz)
		uki.wanted = 0;
	if ((uki.wanted || peel.profile_id_sz) && uki.wanted >= uki.profiles)
		return peel_refuse(1, WHY_PROFILE, uki.wanted, uki.profiles);
	if (collect(0) || hwids_match() || collect(1))
		return -1;
	at = uki.f.have[LINUX + 16] ? LINUX + 16 : LINUX;
	if (!uki.f.have[at] || !uki.f.len[at])
		return peel_refuse(1, WHY_EMPTY, uki.f.off[at], 0);
	uki.machine = pe.machine;
	if (peel.addons && parse_addons())
		return -1;
	if (plan_ram() || plan_rest())
		return -1;
	return hand(LINUX, SUB_KERNEL, FLAG_FILL);
}

PEEL_PARSER(parse_uki)
