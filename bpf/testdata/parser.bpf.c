// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * A parser in the manner of the kexec series: four ring buffers, data sections
 * forced into being, the context read by CO-RE, and one record that carries
 * every command. It cuts "LEN payload" out of the image: the first 4 bytes are
 * the length of a kernel that follows.
 */
#include "bpf.h"

struct kexec_context {
	_Bool kdump;
	_Bool parsed;
	char *parsing_buf[16];
	unsigned long parsing_buf_sz[16];
} core;

struct bpf_parser_context;

struct bpf_parser_context *bpf_get_parser_context(unsigned long id) weak_ksym;
void bpf_put_parser_context(struct bpf_parser_context *ctx) weak_ksym;
int bpf_buffer_parser(char *buf, int size, struct bpf_parser_context *ctx) weak_ksym;

#define RECORD (1 << 20)

struct {
	__uint(type, 27);
	__uint(max_entries, 2 << 20);
} ringbuf_1 SEC(".maps");
struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ringbuf_2 SEC(".maps");
struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ringbuf_3 SEC(".maps");
struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ringbuf_4 SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

const volatile u32 ro = 7;
volatile u32 rw = 11;
volatile u32 zero;
static const char *volatile words;

struct cmd_hdr {
	u16 cmd;
	u8 subcmd;
	u8 pipeline_flag;
	u32 payload_len;
	u16 num_chunks;
} __attribute__((packed)) core;

static noinline int send(char *rec, u16 cmd, u8 sub, u32 len, struct bpf_parser_context *c)
{
	struct cmd_hdr *h = (void *)rec;

	h->cmd = cmd;
	h->subcmd = sub;
	h->pipeline_flag = 0;
	h->payload_len = len;
	h->num_chunks = 0;
	return bpf_buffer_parser(rec, sizeof(*h) + len, c);
}

SEC("fentry.s/kexec_image_parser_anchor")
int parse_test(u64 *args)
{
	struct kexec_context *kc = (void *)args[0];
	struct bpf_parser_context *c;
	char *rec, *image;
	unsigned long size;
	u32 len;

	probe_read_kernel(&image, sizeof(image), &kc->parsing_buf[0]);
	probe_read_kernel(&size, sizeof(size), &kc->parsing_buf_sz[0]);
	words = "words in rodata.str1.1";
	zero += ro + rw;
	rec = ringbuf_reserve(&ringbuf_1, RECORD, 0);
	if (!rec)
		return 0;
	c = bpf_get_parser_context(args[1]);
	if (!c)
		goto discard;
	if (size < 4 || probe_read_kernel(&len, 4, image))
		goto put;
	if (len > size - 4 || len > RECORD - sizeof(struct cmd_hdr))
		goto put;
	if (probe_read_kernel(rec + sizeof(struct cmd_hdr), len, image + 4))
		goto put;
	if (send(rec, 3, 1, len, c))
		goto put;
	send(rec, 1, 0, 0, c);
put:
	bpf_put_parser_context(c);
discard:
	ringbuf_discard(rec, 1);
	return 0;
}
