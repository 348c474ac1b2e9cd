/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A parser template that follows the ABI of the kernel series in its own
 * words, for tests: it must look to a host like what comes from there, and
 * shares nothing with peel's own header.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;

#define SEC(n) __attribute__((section(n), used))
#define __weak __attribute__((weak))
#define RELO __attribute__((preserve_access_index))

#ifndef IMAGE_SIZE
#define IMAGE_SIZE (64 << 20)
#endif
#define MAX_RECORD_SIZE (IMAGE_SIZE + 40960)
#ifndef RING_1
#define RING_1 (128 << 20)
#endif

struct { int (*type)[27]; int (*max_entries)[RING_1]; } ringbuf_1 SEC(".maps");
struct { int (*type)[27]; int (*max_entries)[4096]; } ringbuf_2 SEC(".maps");
struct { int (*type)[27]; int (*max_entries)[4096]; } ringbuf_3 SEC(".maps");
struct { int (*type)[27]; int (*max_entries)[4096]; } ringbuf_4 SEC(".maps");

/* Dummies that make the four data sections be there. */
const char dummy_rodata[16] = "rodata";
u32 dummy_data = 1;
char LICENSE[] SEC("license") = "GPL";

static long (*trace_printk)(const char *, u32, ...) = (void *)6;
static long (*probe_read)(void *, u32, const void *) = (void *)4;
static long (*probe_read_kernel)(void *, u32, const void *) = (void *)113;
static void *(*ringbuf_reserve)(void *, u64, u64) = (void *)131;
static void (*ringbuf_submit)(void *, u64) = (void *)132;
static void (*ringbuf_discard)(void *, u64) = (void *)133;

__attribute__((noinline)) int force_string(void)
{
	trace_printk("parser runs\n", 13);
	return dummy_rodata[0] + *(volatile u32 *)&dummy_data;
}
u32 dummy_bss;

struct bpf_parser_context;
extern struct bpf_parser_context *bpf_get_parser_context(unsigned long id) __weak SEC(".ksyms");
extern void bpf_put_parser_context(struct bpf_parser_context *ctx) __weak SEC(".ksyms");
extern int bpf_buffer_parser(char *buf, int buf_sz, struct bpf_parser_context *ctx) __weak SEC(".ksyms");

#if defined(V6)
struct kexec_context {
	bool kdump;
	char *kernel;
	int kernel_sz;
	char *initrd;
	int initrd_sz;
	char *cmdline;
	int cmdline_sz;
} RELO;
enum { DECOMPRESS = 1, COPY = 2 };
struct cmd_hdr {
	u16 cmd;
	u16 subcmd;
	u32 payload_len;
} __attribute__((packed));
#elif defined(LATER)
typedef enum kexec_sig_enforced { SIG_NONE, SIG_PE, SIG_IMA } kexec_sig_enforced;
struct kexec_context {
	bool kdump;
	bool parsed;
	enum kexec_sig_enforced sig_mode;
	char *parsing_buf[16];
	unsigned long parsing_buf_sz[16];
	char *next_parsing_buf[16];
	unsigned long next_parsing_buf_sz[16];
	char *kernel;
	unsigned long kernel_sz;
} RELO;
#else
struct kexec_context {
	bool kdump;
	bool parsed;
	char *parsing_buf[16];
	unsigned long parsing_buf_sz[16];
	char *kernel;
	unsigned long kernel_sz;
	char *initrd;
	unsigned long initrd_sz;
	char *cmdline;
	unsigned long cmdline_sz;
} RELO;
#endif
#ifndef V6
enum { DONE = 1, DECOMPRESS = 2, COPY = 3, VERIFY_SIG = 4 };
struct cmd_hdr {
	u16 cmd;
	u8 subcmd;
	u8 pipeline_flag;
	u32 payload_len;
	u16 num_chunks;
} __attribute__((packed));
#endif
enum { KERNEL = 1, INITRD = 2, CMDLINE = 3, FILL = 1 };

#define CORE_READ(dst, p, f) probe_read_kernel(&(dst), sizeof(dst), __builtin_preserve_access_index(&(p)->f))

/* fill_cmd writes a command with payload into the record and sends it. */
static inline __attribute__((always_inline)) int
fill_cmd(char *rec, u16 cmd, u8 subcmd, u8 flag, const char *src, u32 sz, struct bpf_parser_context *c)
{
	struct cmd_hdr *h = (struct cmd_hdr *)rec;

	h->cmd = cmd;
	h->subcmd = subcmd;
	h->payload_len = sz;
#ifdef V6
	(void)flag;
#else
	h->pipeline_flag = flag;
	h->num_chunks = 0;
#endif
	if (sz > MAX_RECORD_SIZE - sizeof(*h))
		return -22;
	if (sz && probe_read_kernel(rec + sizeof(*h), sz, src))
		return -14;
	return bpf_buffer_parser(rec, sizeof(*h) + sz, c);
}

#define ANCHOR SEC("fentry.s/kexec_image_parser_anchor")
