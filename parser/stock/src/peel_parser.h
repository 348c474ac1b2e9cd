/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a parser program needs: the ABI of the kexec parser host, and a plan
 * that is filled in by the parser and carried out by this header.
 *
 * A parser defines one function, `int parse(void)`. It looks at the image with
 * peel_read(), notes what it found with peel_copy() or peel_unpack(), or gives
 * up with peel_refuse(). PEEL_PARSER(name) makes the program out of it.
 *
 * The plan keeps finding apart from sending. Finding needs no pointers, so the
 * functions are global ones that the kernel's verifier checks one at a time;
 * sending needs the record and the context reference, and happens once.
 *
 * Where the host offers references (docs/parser-abi.md, "The peel extension")
 * no byte of the image is copied. Elsewhere payloads are copied through one
 * record of PEEL_RECORD bytes, which the series' ABI makes a constant.
 */
#ifndef PEEL_PARSER_H
#define PEEL_PARSER_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define GLOBAL __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))
/* State is in variables that are not static: the compiler takes static
 * structures apart, and their BTF is then refused by kernels. */

#ifdef PEEL_VERIFY
#define CORE
#define FIELD_EXISTS(field) (PEEL_VERIFY)
#define FIELD(field) (&(field))
#define ANCHOR SEC("syscall")
#else
#define CORE __attribute__((preserve_access_index))
#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define FIELD(field) __builtin_preserve_access_index(&(field))
#define ANCHOR SEC("fentry.s/kexec_image_parser_anchor")
#endif

/* One record must hold the largest single piece: kernel, or microcode with
 * initrd. The ring has to be the next power of two above it. */
#ifndef PEEL_RECORD
#define PEEL_RECORD (120u << 20)
#define PEEL_RING (128u << 20)
#endif
/* The part of the record that microcode may use when it has to be put in
 * front of the initrd by copying. */
#define PEEL_UCODE (16u << 20)
#define PEEL_SMALL 256u
#define PEEL_PAGE 65536u /* the largest page size a ring must be a multiple of */

/* Helpers, by their numbers in bpf(2). */
static long (*const bpf_trace_printk)(const char *fmt, u32 size, ...) = (void *)6;
static long (*const bpf_probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_discard)(void *record, u64 flags) = (void *)133;

#ifdef PEEL_VERIFY
/* For internal/vmtest/parser: functions that every kernel has stand in for those of the
 * host, so that its verifier can look at the rest. */
struct task_struct { int unused; };
extern struct task_struct *bpf_task_from_pid(int id) SEC(".ksyms");
extern void bpf_task_release(struct task_struct *task) SEC(".ksyms");
#define bpf_parser_context task_struct
#define bpf_get_parser_context bpf_task_from_pid
#define bpf_put_parser_context bpf_task_release
volatile u32 peel_sink;

__attribute__((noinline)) int peel_stand_in(char *buf, int size)
{
	if (!buf)
		return -1;
	peel_sink = buf[0];
	return peel_sink + size;
}
#define bpf_buffer_parser(buf, size, ctx) ((void)(ctx), peel_stand_in(buf, size))
#else
/* The three functions of the host. */
struct bpf_parser_context;
extern struct bpf_parser_context *bpf_get_parser_context(unsigned long id) SEC(".ksyms");
extern void bpf_put_parser_context(struct bpf_parser_context *ctx) SEC(".ksyms");
extern int bpf_buffer_parser(char *buf, int buf_sz, struct bpf_parser_context *ctx) SEC(".ksyms");
#endif

/* The fields of the host's context that are read here. They are found by name
 * when the program is loaded; the order and the offsets here mean nothing. */
struct kexec_context {
	char *parsing_buf[16];
	unsigned long parsing_buf_sz[16];
} CORE;

struct kexec_context___later {
	enum { PEEL_SIG_NONE, PEEL_SIG_PE, PEEL_SIG_IMA } sig_mode;
} CORE;

struct kexec_context___peel {
	u32 peel_abi;
	u32 peel_addons;
	u32 peel_profile;
	char *peel_profile_id;
	unsigned long peel_profile_id_sz;
	char *peel_hwids;
	unsigned long peel_hwids_sz;
	char *peel_compatible;
	unsigned long peel_compatible_sz;
} CORE;

struct cmd_hdr {
	u16 cmd;
	u8 subcmd;
	u8 pipeline_flag;
	u32 payload_len;
	u16 num_chunks;
} __attribute__((packed));

/* A reference: bytes of one of the buffers the host gave. */
struct peel_ref {
	u16 buffer;
	u16 zero;
	u32 zero2;
	u64 offset;
	u64 length;
};

enum {
	CMD_DONE = 1,
	CMD_DECOMPRESS = 2,
	CMD_COPY = 3,
	CMD_VERIFY_SIG = 4,
	CMD_REF = 0x8000, /* with one of the above: a reference, not the data */
	CMD_VERIFY_IMA = 0x8040,
	CMD_REFUSE = 0x8041,
	CMD_TAKE_ADDONS = 0x8042,
};

enum {
	SUB_KERNEL = 1,
	SUB_INITRD = 2,
	SUB_CMDLINE = 3,
	SUB_INITRD_ADD = 0x40,
	SUB_CMDLINE_ADD = 0x41,
	SUB_UCODE_ADD = 0x42,
	SUB_DTB = 0x43,
	SUB_OVERLAY_ADD = 0x44,
	SUB_ADDON = 0x45,
	SUB_UNAME = 0x46,
	SUB_OSREL = 0x47,
	SUB_PROFILE = 0x48,
	SUB_PCRSIG = 0x49,
	SUB_PCRPKEY = 0x4a,
	SUB_SBAT = 0x4b,
	SUB_SPLASH = 0x4c,
};

enum {
	FLAG_FILL = 0x01,
	FLAG_FINAL = 0x80, /* the kernel boots as it is: the chain ends here */
};

enum { REFUSE_FORMAT = 1, REFUSE_BROKEN = 2 };

/* Why a parser gives up; the texts are in the host's words below. */
enum peel_why {
	WHY_FORMAT,
	WHY_TRUNCATED,
	WHY_RANGE,
	WHY_DOUBLE,
	WHY_EMPTY,
	WHY_MACHINE,
	WHY_PROFILE,
	WHY_MANY,
	WHY_OVERLAP,
	WHY_NEEDS_PEEL,
	WHY_LARGE,
	WHY_ADDON,
	WHY_NAME,
	WHY_HEADER,
	WHY_UNAME,
	WHY_COUNT,
};
#define PEEL_TEXT 48
const char peel_texts[WHY_COUNT][PEEL_TEXT] = {
	[WHY_FORMAT] = "another format",
	[WHY_TRUNCATED] = "a header passes the end of the image",
	[WHY_RANGE] = "a section passes the end of the image",
	[WHY_DOUBLE] = "a section that may be there once is there twice",
	[WHY_EMPTY] = "the kernel is empty",
	[WHY_MACHINE] = "made for another machine type",
	[WHY_PROFILE] = "no such profile",
	[WHY_MANY] = "more sections than a parser looks at",
	[WHY_OVERLAP] = "two sections overlap",
	[WHY_NEEDS_PEEL] = "this host cannot hand on all of its parts",
	[WHY_LARGE] = "a part is larger than the record",
	[WHY_ADDON] = "not an addon",
	[WHY_NAME] = "a section name is not in the string table",
	[WHY_HEADER] = "a header contradicts itself",
	[WHY_UNAME] = "an addon for another kernel release",
};

#define __uint(name, val) int (*name)[val]
struct { __uint(type, 27); __uint(max_entries, PEEL_RING); } ringbuf_1 SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, PEEL_PAGE); } ringbuf_2 SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, PEEL_PAGE); } ringbuf_3 SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, PEEL_PAGE); } ringbuf_4 SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

/* The loaders of the series count eight maps, the rings and then .rodata, .data,
 * .rodata.str1.1 and .bss in this order. The order is that of the first use in
 * this file: the texts above, this variable, this function's string, the state
 * below. */
volatile u32 peel_data_section = 1;

GLOBAL int peel_no_context(void)
{
	bpf_trace_printk("no parser context\n", 19);
	return -1;
}

/* A plan entry: one command to send. */
struct peel_item {
	u16 cmd;
	u8 sub;
	u8 flags;
	u16 buf;
	u16 buf2;
	u64 off;
	u64 len;
	u64 off2;
	u64 len2;
};
#define PEEL_ITEMS 128

struct {
	u64 id;       /* of the host's context */
	u64 base[16]; /* the host's addresses: numbers to read from, never to follow */
	u64 size[16];
	u32 refs;     /* the host takes references */
	u32 addons;   /* buffers 1..addons are addons of the image in buffer 0 */
	u32 sig;      /* the host wants signatures asked for */
	u32 profile;
	u64 profile_id, profile_id_sz;
	u64 hwids, hwids_sz;
	u64 compatible, compatible_sz;
	u32 why;      /* WHY_… of the refusal */
	u32 refused;  /* REFUSE_… */
	u64 why_off, why_len;
	u64 at;       /* bytes of initrd in the record */
	u32 cmdlines; /* sent */
	u32 n;
	struct peel_item item[PEEL_ITEMS];
} peel;

/* peel_refuse gives up: broken tells that the format is this parser's own, so
 * that no other program need be asked. The first reason stays. */
GLOBAL int peel_refuse(u32 broken, u32 why, u64 off, u64 len)
{
	if (!peel.refused) {
		peel.refused = broken ? REFUSE_BROKEN : REFUSE_FORMAT;
		peel.why = why;
		peel.why_off = off;
		peel.why_len = len;
	}
	return -1;
}

/* peel_inside says whether [off, off+len) lies in the buffer. */
INLINE int peel_inside(u32 buf, u64 off, u64 len)
{
	u64 size = peel.size[buf & 15];

	return off <= size && len <= size - off;
}

/* peel_read copies n bytes at off of a buffer to dst. */
INLINE int peel_read(void *dst, u32 n, u32 buf, u64 off)
{
	if (!peel_inside(buf, off, n))
		return -1;
	return bpf_probe_read_kernel(dst, n, (const void *)(unsigned long)(peel.base[buf & 15] + off)) ? -1 : 0;
}

/* peel_plan adds one entry. A range outside of the buffer is refused here, so
 * no parser can forget it. */
GLOBAL int peel_plan(u32 cmd, u32 sub_flags, u32 buf, u64 off, u64 len)
{
	u32 n = peel.n;

	if (n >= PEEL_ITEMS)
		return peel_refuse(1, WHY_MANY, off, n);
	if (!peel_inside(buf, off, len))
		return peel_refuse(1, WHY_RANGE, off, len);
	struct peel_item *it = &peel.item[n & (PEEL_ITEMS - 1)];
	it->cmd = cmd;
	it->sub = sub_flags & 0xff;
	it->flags = sub_flags >> 8;
	it->buf = buf;
	it->buf2 = 0;
	it->off = off;
	it->len = len;
	it->off2 = 0;
	it->len2 = 0;
	peel.n = n + 1;
	return 0;
}

/* peel_copy hands on a part of the image as it is. */
INLINE int peel_copy(u32 sub, u32 flags, u32 buf, u64 off, u64 len)
{
	return peel_plan(CMD_COPY, sub | flags << 8, buf, off, len);
}

/* peel_unpack hands on a compressed kernel; the host picks the method. */
INLINE int peel_unpack(u32 buf, u64 off, u64 len)
{
	return peel_plan(CMD_DECOMPRESS, SUB_KERNEL | FLAG_FILL << 8, buf, off, len);
}

/* peel_verify asks the host to check the signature of a PE image, where the
 * host wants to be asked. It comes before anything is handed on. */
INLINE int peel_verify(u32 buf, u64 off, u64 len)
{
	if (!peel.sig)
		return 0;
	return peel_plan(CMD_VERIFY_SIG, 0, buf, off, len);
}

/* Records, as types, so that the verifier knows the size of what a function
 * is given. */
struct peel_small {
	char bytes[PEEL_SMALL];
};
struct peel_large {
	char bytes[PEEL_RECORD];
};

INLINE void peel_header(char *rec, u32 cmd, u32 sub, u32 flags, u32 len)
{
	struct cmd_hdr *h = (struct cmd_hdr *)rec;

	h->cmd = cmd;
	h->subcmd = sub;
	h->pipeline_flag = flags;
	h->payload_len = len;
	h->num_chunks = 0;
}

/* peel_send hands the record to the host. The reference is taken for each
 * command, since it cannot be passed to a function that is verified alone. */
INLINE int peel_send(char *rec, u32 len)
{
	struct bpf_parser_context *host = bpf_get_parser_context(peel.id);
	int ret;

	if (!host)
		return peel_no_context();
	ret = bpf_buffer_parser(rec, sizeof(struct cmd_hdr) + len, host);
	bpf_put_parser_context(host);
	return ret < 0 ? -1 : 0;
}

/* peel_send_ref sends entry i of the plan as a reference. */
GLOBAL int peel_send_ref(struct peel_small *rec, u32 i)
{
	struct peel_item *it = &peel.item[i & (PEEL_ITEMS - 1)];
	u32 cmd = it->cmd, len = sizeof(struct peel_ref);
	struct peel_ref *ref;

	if (!rec)
		return -1;
	if (cmd < CMD_REF)
		cmd |= CMD_REF;
	if (cmd == CMD_TAKE_ADDONS)
		len = 0;
	if (cmd == CMD_VERIFY_IMA)
		len = 2 * sizeof(*ref);
	peel_header(rec->bytes, cmd, it->sub, it->flags, len);
	ref = (struct peel_ref *)(rec->bytes + sizeof(struct cmd_hdr));
	ref[0].buffer = it->buf;
	ref[0].zero = 0;
	ref[0].zero2 = 0;
	ref[0].offset = it->off;
	ref[0].length = it->len;
	ref[1].buffer = it->buf2;
	ref[1].zero = 0;
	ref[1].zero2 = 0;
	ref[1].offset = it->off2;
	ref[1].length = it->len2;
	return peel_send(rec->bytes, len);
}

/* peel_send_refusal tells the host why there will be no DONE. */
GLOBAL int peel_send_refusal(struct peel_small *rec)
{
	u32 why = peel.why;
	struct peel_ref *num;

	if (!rec)
		return -1;
	if (why >= WHY_COUNT)
		why = WHY_FORMAT;
	peel_header(rec->bytes, CMD_REFUSE, peel.refused, 0, 16 + PEEL_TEXT);
	num = (struct peel_ref *)(rec->bytes + sizeof(struct cmd_hdr) - 8);
	num->offset = peel.why_off;
	num->length = peel.why_len;
	bpf_probe_read_kernel(rec->bytes + sizeof(struct cmd_hdr) + 16, PEEL_TEXT, peel_texts[why]);
	return peel_send(rec->bytes, 16 + PEEL_TEXT);
}

INLINE int peel_in_initrd(struct peel_item *it)
{
	return it->cmd == CMD_COPY && (it->sub == SUB_UCODE_ADD || it->sub == SUB_INITRD || it->sub == SUB_INITRD_ADD);
}

/* peel_gather appends entry i, if it is microcode or initrd, to what stands in
 * the record already: the series' ABI takes one initrd, and a second command
 * would replace the first. */
GLOBAL int peel_gather(struct peel_large *rec, u32 i)
{
	struct peel_item *it = &peel.item[i & (PEEL_ITEMS - 1)];
	u64 at = peel.at, len = it->len;
	u32 buf = it->buf & 15;

	if (!rec)
		return -1;
	if (!peel_in_initrd(it))
		return 0;
	if (at > PEEL_UCODE || len > PEEL_RECORD - PEEL_UCODE - 64)
		return -1;
	if (bpf_probe_read_kernel(rec->bytes + sizeof(struct cmd_hdr) + at, len,
				  (const void *)(unsigned long)(peel.base[buf] + it->off)))
		return -1;
	/* The kernel wants archives on boundaries of four bytes. */
	at += len;
	for (u32 pad = 0; pad < 3; pad++) {
		if (!(at & 3) || at > PEEL_RECORD - 64)
			break;
		rec->bytes[sizeof(struct cmd_hdr) + at] = 0;
		at++;
	}
	peel.at = at;
	return 0;
}

/* peel_send_copy sends entry i with its bytes, on a host that knows only the
 * series. What that ABI has no word for is refused: a part that is left out
 * would go unnoticed. */
GLOBAL int peel_send_copy(struct peel_large *rec, u32 i)
{
	struct peel_item *it = &peel.item[i & (PEEL_ITEMS - 1)];
	u32 sub = it->sub, cmd = it->cmd, buf = it->buf & 15;
	u64 len = it->len;

	if (!rec)
		return -1;
	if (cmd == CMD_TAKE_ADDONS || (cmd == CMD_COPY && sub >= SUB_UNAME))
		return 0; /* facts, which this host has no use for */
	if (peel_in_initrd(it))
		return 0; /* gathered before */
	if (cmd == CMD_COPY && (sub == SUB_CMDLINE || sub == SUB_CMDLINE_ADD)) {
		/* A second command line would replace the first one. */
		if (peel.cmdlines++)
			return -1;
		sub = SUB_CMDLINE;
	}
	if (cmd >= CMD_REF || sub > SUB_CMDLINE || len > PEEL_RECORD - 64)
		return -1;
	peel_header(rec->bytes, cmd, sub, it->flags & FLAG_FILL, len);
	if (bpf_probe_read_kernel(rec->bytes + sizeof(struct cmd_hdr), len,
				  (const void *)(unsigned long)(peel.base[buf] + it->off)))
		return -1;
	return peel_send(rec->bytes, len);
}

GLOBAL int peel_send_initrd(struct peel_large *rec)
{
	if (!rec)
		return -1;
	peel_header(rec->bytes, CMD_COPY, SUB_INITRD, 0, peel.at);
	return peel_send(rec->bytes, peel.at);
}

/* peel_by_ref carries out the plan on a host that takes references. */
INLINE void peel_by_ref(void)
{
	struct peel_small *rec = bpf_ringbuf_reserve(&ringbuf_2, sizeof(*rec), 0);

	if (!rec)
		return;
	if (peel.refused) {
		peel_send_refusal(rec);
		goto out;
	}
	for (u32 i = 0; i < PEEL_ITEMS; i++) {
		if (i >= peel.n)
			break;
		if (peel_send_ref(rec, i))
			goto out;
	}
	peel_header(rec->bytes, CMD_DONE, 0, 0, 0);
	peel_send(rec->bytes, 0);
out:
	bpf_ringbuf_discard(rec, 1);
}

/* peel_by_copy carries out the plan on a host that knows only the series. */
INLINE void peel_by_copy(void)
{
	struct peel_large *rec;

	if (peel.refused)
		return;
	rec = bpf_ringbuf_reserve(&ringbuf_1, sizeof(*rec), 0);
	if (!rec)
		return;
	/* VERIFY_SIG comes first in every plan, so it goes before the initrd. */
	for (u32 i = 0; i < PEEL_ITEMS; i++) {
		if (i >= peel.n)
			break;
		if (peel.item[i].cmd == CMD_VERIFY_SIG && peel_send_copy(rec, i))
			goto out;
	}
	for (u32 i = 0; i < PEEL_ITEMS; i++) {
		if (i >= peel.n)
			break;
		if (peel_gather(rec, i))
			goto out;
	}
	if (peel.at && peel_send_initrd(rec))
		goto out;
	for (u32 i = 0; i < PEEL_ITEMS; i++) {
		if (i >= peel.n)
			break;
		if (peel.item[i].cmd != CMD_VERIFY_SIG && peel_send_copy(rec, i))
			goto out;
	}
	peel_header(rec->bytes, CMD_DONE, 0, 0, 0);
	peel_send(rec->bytes, 0);
out:
	bpf_ringbuf_discard(rec, 1);
}

#define PEEL_FIELD(ptr, field) \
	bpf_probe_read_kernel(&v, sizeof((ptr)->field), FIELD((ptr)->field))

/* peel_begin learns what the host has to say. */
INLINE void peel_begin(const u64 *args)
{
	const struct kexec_context *ctx = (const void *)(unsigned long)args[0];
	const struct kexec_context___later *later = (const void *)ctx;
	const struct kexec_context___peel *ext = (const void *)ctx;
	u64 v = 0;

	peel.id = args[1];
	peel.n = 0;
	peel.refused = 0;
	peel.at = 0;
	peel.cmdlines = 0;
	peel.refs = 0;
	peel.addons = 0;
	peel.sig = 0;
	peel.profile = 0xffffffff;
	peel.profile_id_sz = peel.hwids_sz = peel.compatible_sz = 0;
	bpf_probe_read_kernel(peel.base, sizeof(peel.base), FIELD(ctx->parsing_buf));
	bpf_probe_read_kernel(peel.size, sizeof(peel.size), FIELD(ctx->parsing_buf_sz));
	if (FIELD_EXISTS(later->sig_mode)) {
		PEEL_FIELD(later, sig_mode);
		peel.sig = v;
	}
	if (FIELD_EXISTS(ext->peel_abi)) {
		v = 0;
		PEEL_FIELD(ext, peel_abi);
		peel.refs = v;
		v = 0;
		PEEL_FIELD(ext, peel_addons);
		peel.addons = v > 15 ? 15 : v;
		PEEL_FIELD(ext, peel_profile);
		peel.profile = v;
		v = 0;
		PEEL_FIELD(ext, peel_profile_id);
		peel.profile_id = v;
		PEEL_FIELD(ext, peel_profile_id_sz);
		peel.profile_id_sz = v;
		PEEL_FIELD(ext, peel_hwids);
		peel.hwids = v;
		PEEL_FIELD(ext, peel_hwids_sz);
		peel.hwids_sz = v;
		PEEL_FIELD(ext, peel_compatible);
		peel.compatible = v;
		PEEL_FIELD(ext, peel_compatible_sz);
		peel.compatible_sz = v;
	}
}

INLINE void peel_end(void)
{
	if (peel.refs)
		peel_by_ref();
	else
		peel_by_copy();
}

GLOBAL int parse(void);

/* PEEL_PARSER makes the program of a parser. */
#define PEEL_PARSER(name)                                                     \
	ANCHOR                                                                \
	int name(u64 *args)                                                   \
	{                                                                     \
		peel_begin(args);                                             \
		if (parse() < 0 && !peel.refused)                             \
			peel_refuse(0, WHY_FORMAT, 0, 0);                     \
		peel_end();                                                   \
		return 0;                                                     \
	}

#endif
