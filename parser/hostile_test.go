// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/parser/stock"
)

// TestHostile: programs that try to break out, hang or eat memory. Each ends
// in an error that names it, with the stock programs at hand or not: they do
// not take over silently from a program that the operator chose.
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
		if name == "giant reserve" || name == "deep recursion" {
			continue // they end without DONE, so they decline
		}
		o.NoStock = false
		r, err := Run(context.Background(), makeImage(4096), o)
		if err == nil {
			t.Errorf("%s, stock programs at hand: %+v, want an error", name, r.Layers)
			continue
		}
		if errors.Is(err, ErrNoParser) || !strings.Contains(err.Error(), "operator's programs") {
			t.Errorf("%s: %v, want that the operator's program failed", name, err)
		}
		// The image is unharmed.
		o.Programs = nil
		if _, err := Run(context.Background(), makeImage(4096), o); err != nil {
			t.Errorf("%s, then the stock programs alone: %v", name, err)
		}
	}
}

// TestOperatorDeclines: a program of the operator that does not know the format
// gives way to the next one and to the stock programs.
func TestOperatorDeclines(t *testing.T) {
	declines := compile(t, program(`if (sz) goto out;`))
	r, err := Run(context.Background(), makeImage(4096), Options{Programs: declines})
	if err != nil || r.Layers[0].Source != SourceStock {
		t.Errorf("Run = %+v, %v, want the stock programs to go on", r, err)
	}
	// A failing one does not keep the next of its level from trying.
	c, err := BuildContainer([][]byte{compile(t, program(`*(volatile char *)8 = 1;`)), stock.Objects()[4]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err = Run(context.Background(), makeImage(4096), Options{Programs: c})
	if err != nil || r.Layers[0].Source != SourceOperator {
		t.Errorf("Run = %+v, %v, want the operator's second program", r, err)
	}
}

// TestUsedUp: no program is left for the layer below the operator's. Found by
// FuzzObject as a nil dereference.
func TestUsedUp(t *testing.T) {
	img := makeZboot(gzipped(t, makeImage(4096)), "gzip")
	fails(t, img, Options{Programs: stock.Objects()[1], NoStock: true}, ErrNoParser)
	fails(t, img, Options{NoStock: true}, ErrNoParser)
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
