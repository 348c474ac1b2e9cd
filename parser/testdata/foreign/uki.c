// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* A UKI parser in the manner of the series: sixteen sections, one of each. */
#include "template.h"

struct sec {
	char name[8];
	u32 vsize, va, rsize, off;
	u32 more[4];
};

static inline __attribute__((always_inline)) int named(const char *a, const char *b)
{
	for (int i = 0; i < 8; i++) {
		if (a[i] != b[i])
			return 0;
		if (!a[i])
			break;
	}
	return 1;
}

ANCHOR int parse_uki(u64 *args)
{
	struct kexec_context *context = (void *)(unsigned long)args[0];
	struct bpf_parser_context *c;
	u16 mz = 0, num = 0, opt = 0;
	u32 pe = 0, sig = 0;
	unsigned long sz;
	char *buf, *rec;

	force_string();
	dummy_bss++;
	CORE_READ(buf, context, parsing_buf[0]);
	CORE_READ(sz, context, parsing_buf_sz[0]);
	c = bpf_get_parser_context(args[1]);
	if (!c)
		return 0;
	rec = ringbuf_reserve(&ringbuf_1, MAX_RECORD_SIZE, 0);
	if (!rec)
		goto put;
	probe_read_kernel(&mz, 2, buf);
	probe_read_kernel(&pe, 4, buf + 0x3c);
	if (mz != 0x5a4d || probe_read_kernel(&sig, 4, buf + pe) || sig != 0x4550)
		goto out;
	probe_read_kernel(&num, 2, buf + pe + 6);
	probe_read_kernel(&opt, 2, buf + pe + 20);
	for (u32 i = 0; i < 16; i++) {
		struct sec s;
		u32 len;
		int ret = 0;

		if (i >= num)
			break;
		if (probe_read_kernel(&s, sizeof(s), buf + pe + 24 + opt + i * sizeof(s)))
			goto out;
		len = s.vsize < s.rsize ? s.vsize : s.rsize;
		if ((u64)s.off + len > sz)
			goto out;
		if (named(s.name, ".linux"))
			ret = fill_cmd(rec, COPY, KERNEL, FILL, buf + s.off, len, c);
		else if (named(s.name, ".initrd"))
			ret = fill_cmd(rec, COPY, INITRD, 0, buf + s.off, len, c);
		else if (named(s.name, ".cmdline"))
			ret = fill_cmd(rec, COPY, CMDLINE, 0, buf + s.off, len, c);
		if (ret < 0)
			goto out;
	}
	fill_cmd(rec, DONE, 0, 0, 0, 0, c);
out:
	ringbuf_discard(rec, 1);
put:
	bpf_put_parser_context(c);
	return 0;
}
