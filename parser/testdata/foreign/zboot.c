// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* A zboot parser in the manner of the series: also its error of leaving out
 * four bytes of the payload, with -DSHORT=4. */
#include "template.h"

#ifndef SHORT
#define SHORT 0
#endif

struct zhdr {
	u32 mz;
	u32 type;
	u32 off;
	u32 size;
};

ANCHOR int parse_zboot(u64 *args)
{
	struct kexec_context *context = (void *)(unsigned long)args[0];
	unsigned long id = args[1];
	struct bpf_parser_context *c;
	struct zhdr z = {};
	char *buf, *rec;
	unsigned long sz;
	int ret;

	force_string();
	dummy_bss++;
#ifdef V6
	buf = context->kernel;
	sz = context->kernel_sz;
#else
	CORE_READ(buf, context, parsing_buf[0]);
	CORE_READ(sz, context, parsing_buf_sz[0]);
#endif
	c = bpf_get_parser_context(id);
	if (!c)
		return 0;
	rec = ringbuf_reserve(&ringbuf_1, MAX_RECORD_SIZE, 0);
	if (!rec) {
		bpf_put_parser_context(c);
		return 0;
	}
	if (sz < 64 || probe_read_kernel(&z, sizeof(z), buf) || z.type != 0x676d697a)
		goto out;
	if (z.size > sz || z.off > sz - z.size || z.size <= SHORT)
		goto out;
#ifdef LATER
	enum kexec_sig_enforced mode = 0;
	CORE_READ(mode, context, sig_mode);
	if (mode != SIG_NONE && fill_cmd(rec, VERIFY_SIG, 0, 0, buf, sz, c))
		goto out;
#endif
	ret = fill_cmd(rec, DECOMPRESS, KERNEL, FILL, buf + z.off, z.size - SHORT, c);
#ifdef V6
	(void)ret;
#else
	if (!ret)
		fill_cmd(rec, DONE, 0, 0, 0, 0, c);
#endif
out:
	ringbuf_discard(rec, 1);
	bpf_put_parser_context(c);
	return 0;
}
