// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestHostile: programs that try to break out, hang or eat memory. Each ends
// in an error, and another program may still do the work.
func TestHostile(t *testing.T) {
	const done = `SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0);`
	for name, source := range map[string]string{
		"endless loop":         program(`for (;;) *(volatile u32 *)&dummy_bss += 1;` + done),
		"wild pointer":         program(`*(volatile char *)0xffff888000000000ull = 1;` + done),
		"null pointer":         program(`*(volatile char *)8 = 1;` + done),
		"write to the image":   program(`*(volatile char *)buf = 1;` + done),
		"write to the context": program(`*(volatile char *)context = 1;` + done),
		"read beyond image":    program(`if (*(volatile char *)(buf + sz)) dummy_bss = 1;` + done),
		"read of freed record": program(`ringbuf_discard(rec, 1); dummy_bss = *(volatile char *)rec; bpf_put_parser_context(c); return 0;`),
		"discard twice":        program(`ringbuf_discard(rec, 1);` + done),
		"record leaked":        program(done + `bpf_put_parser_context(c); return 0;`),
		"giant reserve":        strings.ReplaceAll(program(done), "MAX_RECORD_SIZE, 0)", "0x7ffffff0ull, 0)"),
		"giant payload":        program(`struct cmd_hdr *h = (void *)rec; h->cmd = COPY; h->subcmd = KERNEL; h->payload_len = 0x7fffffff; h->num_chunks = 0; bpf_buffer_parser(rec, 10, c); SEND(DONE, 0, 0, 0, 0);`),
		"chunks":               program(`struct cmd_hdr *h = (void *)rec; h->cmd = COPY; h->subcmd = KERNEL; h->payload_len = 64; h->num_chunks = 1; bpf_buffer_parser(rec, 74, c); ` + done),
		"command flood":        program(`for (int i = 0; i < 100000; i++) SEND(DONE, 0, 0, 0, 0);` + done),
		"kernel flood":         program(`for (int i = 0; i < 1000; i++) SEND(COPY, KERNEL, FILL, rec, 1 << 20);` + done),
		"reference command":    program(`rec[10] = 0; struct cmd_hdr *h = (void *)rec; h->cmd = 0x8003; h->subcmd = KERNEL; h->payload_len = 24; h->num_chunks = 0; bpf_buffer_parser(rec, 34, c); SEND(DONE, 0, 0, 0, 0);`),
		"other hook": `#include "template.h"
SEC("fentry.s/another_function") int prog(u64 *args) { force_string(); return 0; }`,
		"deep recursion": `#include "template.h"
__attribute__((noinline)) static int down(volatile int n) { return n ? down(n - 1) + 1 : 0; }
ANCHOR int prog(u64 *args) { force_string(); return down(*(volatile u32 *)&dummy_data + 100); }`,
	} {
		o := Options{NoStock: true, Programs: compile(t, source), Limits: Limits{Instructions: 1 << 20, Memory: 128 << 20}}
		if r, err := Run(context.Background(), []byte("made up format"), o); err == nil {
			t.Errorf("%s: %+v, want an error", name, r.Layers)
			continue
		}
		// The image is unharmed and the stock programs go on.
		o.NoStock = false
		if _, err := Run(context.Background(), makeImage(4096), o); err != nil && name != "read beyond image" {
			t.Errorf("%s, then the stock programs: %v", name, err)
		}
	}
}

// TestCancel: a context that ends stops a program.
func TestCancel(t *testing.T) {
	obj := compile(t, program(`for (;;) *(volatile u32 *)&dummy_bss += 1;`))
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := Run(ctx, []byte("made up"), Options{Programs: obj, Limits: Limits{Instructions: 1 << 62}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestGenerations: which ABI a program speaks is told by its own types; an
// unknown one is refused by name.
func TestGenerations(t *testing.T) {
	// clang keeps a type in BTF if a variable has it; locals do not count.
	const tail = `struct cmd_hdr h; ANCHOR int prog(u64 *args) { struct kexec_context *k = (void *)args[0]; char *p; CORE_READ(p, k, kernel); trace_printk((void *)&h, sizeof(h)); return force_string(); }`
	for _, c := range []struct {
		name, source string
		flags        []string
		want         Generation
		err          string
	}{
		{name: "v6", source: `#include "template.h"` + "\n" + tail, flags: []string{"-DV6"}, want: GenV6},
		{name: "v7", source: `#include "template.h"` + "\n" + tail, want: GenV7},
		{name: "later", source: `#include "template.h"` + "\n" + tail, flags: []string{"-DLATER"}, want: GenLater},
		{name: "header of 12", source: "#define cmd_hdr was_cmd_hdr\n#include \"template.h\"\n#undef cmd_hdr\nstruct cmd_hdr { u32 a, b, c; };\n" + tail, err: "cmd_hdr of 12 bytes"},
		{name: "unknown field", source: "#define kdump quantum\n#include \"template.h\"\n" + tail, err: "quantum"},
		{name: "mixed", source: "#define V6\n#define cmd_hdr was_cmd_hdr\n#include \"template.h\"\n#undef cmd_hdr\nstruct cmd_hdr { u16 a; u8 b, c; u32 d; u16 e; } __attribute__((packed));\n" + tail, err: "cmd_hdr of 10 bytes with a kexec_context of v6"},
	} {
		o, err := open(compile(t, c.source, c.flags...), carrierContainer)
		switch {
		case c.err != "":
			if !errors.Is(err, ErrGeneration) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %v naming %q", c.name, err, ErrGeneration, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case o.gen != c.want:
			t.Errorf("%s: generation %q, want %q", c.name, o.gen, c.want)
		}
	}
}
