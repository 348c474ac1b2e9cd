// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/bpf"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/internal/testkit"
)

// Snapshot 1: the handler begins with an error that DONE and COPY never clear,
// so a parser that looks at the answer gives up after its first COPY.
func TestSnapshot1Answers(t *testing.T) {
	obj := compile(t, program(`
	if (SEND(COPY, KERNEL, 0, kernel_bytes, 64)) goto out;
	if (SEND(COPY, INITRD, 0, "initrd", 6)) goto out;
	if (SEND(COPY, INITRD, 0, 0, 0)) goto out; /* empty: success, nothing set */
	if (SEND(COPY, CMDLINE, 0, 0, 0) != -22) goto out;
	if (SEND(COPY, CMDLINE, 0, "quiet", 5)) goto out;
	if (SEND(77, KERNEL, 0, 0, 0) != -22) goto out;
	if (SEND(DONE, 0, 0, 0, 0)) trace_printk("DONE is refused\n", 17);
`))
	printed := ""
	r := yields(t, obj, []byte("made up"), Options{Print: func(_, m string) { printed += m }})
	if r.Payload.Cmdline != "quiet" || len(r.Payload.Initrds) != 1 || string(r.Payload.Initrds[0].Data) != "initrd" {
		t.Errorf("got %q and %d initrds, want quiet and 1", r.Payload.Cmdline, len(r.Payload.Initrds))
	}
	if strings.Contains(printed, "refused") {
		t.Error("DONE is refused")
	}
}

// Snapshot 3: what was decompressed is freed though the result points to it.
func TestSnapshot3UseAfterFree(t *testing.T) {
	kernel := makeImage(3 << 20)
	copy(kernel[64:], bytes.Repeat([]byte("kernel bytes "), 1000))
	img := makeZboot(gzipped(t, makeZboot(gzipped(t, kernel), "gzip")), "gzip")
	for _, keep := range []bool{false, true} {
		o := Options{}
		if keep {
			o.Keep = func(m *sealed.Memory) { t.Cleanup(func() { m.Close() }) }
		}
		p, err := Decompose(context.Background(), img, o)
		if err != nil {
			t.Fatal(err)
		}
		// Another run may take the memory that was wrongly given back.
		if _, err := Decompose(context.Background(), img, Options{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Kernel.Data, kernel) || len(p.Layers) != 3 {
			t.Errorf("keep %v: kernel of %d bytes in %d layers, want %d in 3", keep, len(p.Kernel.Data), len(p.Layers), len(kernel))
		}
	}
}

// Snapshot 4: a .bpf.N that fails leaves its partial result in the context.
func TestSnapshot4Transactional(t *testing.T) {
	second := compile(t, program(`SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0);`))
	for name, body := range map[string]string{
		"no DONE":         ``,
		"endless loop":    `for (;;) *(volatile u32 *)&dummy_bss += 1;`,
		"leaks reference": `bpf_get_parser_context(args[1]); SEND(DONE, 0, 0, 0, 0);`,
		"wild read":       `return *(volatile int *)(long)0x1234;`,
		"refused command": `SEND(DECOMPRESS, KERNEL, 0, "nothing", 7); SEND(DONE, 0, 0, 0, 0);`,
	} {
		first := compile(t, program(`
	SEND(COPY, KERNEL, FILL, buf, sz);
	SEND(COPY, INITRD, 0, "partial", 7);
	SEND(COPY, CMDLINE, 0, "partial", 7);`+body))
		r := yields(t, container(t, first, second), []byte("made up"), Options{Limits: Limits{Instructions: 1 << 20}})
		p := r.Payload
		if len(p.Initrds) != 0 || p.Cmdline != "" || len(p.Kernel.Data) != 64 {
			t.Errorf("%s: %d initrds, command line %q, kernel of %d bytes; want 0, none, 64", name, len(p.Initrds), p.Cmdline, len(p.Kernel.Data))
		}
	}
}

// Snapshot 6: verification runs twice, and a rejected signature is reported as
// "not a container".
func TestSnapshot6RejectedIsNotUnknown(t *testing.T) {
	object, _ := build(t, "testdata/foreign/zboot.c")
	z := testkit.ReadFile(t, zbootData+zboots[0].file)
	v := &verifier{programs: errNo}
	_, err := Run(context.Background(), z, Options{Programs: container(t, object), Verifier: v})
	if !errors.Is(err, ErrVerification) || !errors.Is(err, errNo) || errors.Is(err, ErrContainer) {
		t.Errorf("%v, want %v and the reason, not %v", err, ErrVerification, ErrContainer)
	}
	if v.asked != 1 {
		t.Errorf("asked %d times, want once", v.asked)
	}
}

// Snapshot 7: v7 cannot chain, and its handler answers 0 even when the
// decompression failed. TestForeignNested has the chain.
func TestSnapshot7FailureIsAnswered(t *testing.T) {
	obj := compile(t, program(`
	if (SEND(DECOMPRESS, KERNEL, FILL, "not compressed", 14) < 0)
		trace_printk("answered\n", 10);
	SEND(DONE, 0, 0, 0, 0);`))
	printed := ""
	_, err := outcome(t, obj, []byte("made up"), Options{Print: func(_, m string) { printed += m }})
	if !errors.Is(err, ErrProgram) {
		t.Errorf("%v, want %v", err, ErrProgram)
	}
	if !strings.Contains(printed, "answered") {
		t.Error("the program was answered 0")
	}
}

// Snapshot 8: a v6 parser that refuses leaves the kernel as it is, and the
// loop over images with .bpf runs for ever.
func TestSnapshot8NoEndlessLoop(t *testing.T) {
	refuses := compile(t, program(``), "-DV6")
	itself := compile(t, strings.ReplaceAll(program(`SEND(COPY, KERNEL, 0, buf, sz);`), "MAX_RECORD_SIZE", "(4u<<20)"), "-DV6")
	for name, p := range map[string][]byte{"refuses": refuses, "yields itself": itself} {
		img := makeUKI(t, pe.Options{}, section(".linux", makeImage(4096)), section(".bpf", p))
		before := bytes.Clone(img)
		_, err := Run(context.Background(), img, Options{})
		switch {
		case name == "refuses" && !errors.Is(err, ErrNoParser):
			t.Errorf("%s: %v, want %v", name, err, ErrNoParser)
		case name == "yields itself" && !errors.Is(err, ErrProgram):
			t.Errorf("%s: %v, want %v", name, err, ErrProgram)
		}
		if !bytes.Equal(img, before) {
			t.Errorf("%s: the caller's image was changed", name)
		}
	}
}

// Snapshot 9: offsets of the ELF envelope wrap or pass the buffer, sizes are
// cut to 32 bits, and errors just skip the section.
func TestSnapshot9EnvelopeOffsets(t *testing.T) {
	env := writeELF([]elfSection{{name: ".kernel", data: makeImage(4096)}, {name: ".initrd", data: []byte("initrd")}, {name: ".cmdline", data: []byte("quiet\x00")}})
	p, err := Decompose(context.Background(), env, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Cmdline != "quiet" || len(p.Initrds) != 1 {
		t.Fatalf("envelope: %q and %d initrds, want quiet and 1", p.Cmdline, len(p.Initrds))
	}
	table := le.Uint64(env[40:])
	for i := range uint64(4) { // .kernel, .initrd, .cmdline, .shstrtab
		h := table + (i+1)*64
		for name, change := range map[string]func([]byte){
			"offset + size wraps": func(b []byte) { le.PutUint64(b[h+24:], ^uint64(0)-3); le.PutUint64(b[h+32:], 8) },
			"size of 4 GiB more":  func(b []byte) { le.PutUint64(b[h+32:], le.Uint64(b[h+32:])+1<<32) },
			"offset of 4 GiB more": func(b []byte) {
				le.PutUint64(b[h+24:], le.Uint64(b[h+24:])+1<<32)
			},
			"passes the end": func(b []byte) { le.PutUint64(b[h+24:], uint64(len(b))-2) },
			"name beyond":    func(b []byte) { le.PutUint32(b[h:], 1<<20) },
		} {
			b := bytes.Clone(env)
			change(b)
			if _, err := Decompose(context.Background(), b, Options{}); !errors.Is(err, ErrBroken) {
				t.Errorf("section %d, %s: %v, want %v", i+1, name, err, ErrBroken)
			}
		}
	}
	for name, off := range map[string]uint64{"beyond": uint64(len(env)), "wraps": ^uint64(0) - 100} {
		b := bytes.Clone(env)
		le.PutUint64(b[40:], off)
		if _, err := Decompose(context.Background(), b, Options{}); err == nil {
			t.Errorf("e_shoff %s: no error", name)
		}
	}
}

// Snapshot 10: a context released in the middle of a call leads to a use of
// the placeholder pointer. Here a program that lets go of its reference first
// cannot use it.
func TestSnapshot10ReleasedContext(t *testing.T) {
	for name, body := range map[string]string{
		"use after put": `bpf_put_parser_context(c); SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0); ringbuf_discard(rec, 1); return 0;`,
		"put twice":     `SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0); bpf_put_parser_context(c);`,
		"made up":       `bpf_buffer_parser(rec, 10, (void *)1);`,
	} {
		_, err := outcome(t, compile(t, program(body)), []byte("made up"), Options{})
		if !errors.Is(err, bpf.ErrReference) {
			t.Errorf("%s: %v, want %v", name, err, bpf.ErrReference)
		}
	}
	// An id that is not the context's own yields no context at all.
	obj := compile(t, program(`if (bpf_get_parser_context(args[1] + 8)) SEND(DONE, 0, 0, 0, 0); SEND(COPY, KERNEL, 0, kernel_bytes, 64);`))
	if _, err := outcome(t, obj, []byte("made up"), Options{}); !errors.Is(err, ErrNoParser) {
		t.Errorf("foreign id: %v, want %v", err, ErrNoParser)
	}
}

// Snapshot 11: an initrd is read into the buffer that already holds one. Here
// a part that was handed over stays as it was, whatever the program does with
// its record afterwards.
func TestSnapshot11PartsAreTheirOwn(t *testing.T) {
	obj := compile(t, program(`
	SEND(COPY, INITRD, 0, "first initrd", 12);
	SEND(COPY, KERNEL, 0, kernel_bytes, 64);
	for (int i = 0; i < 200; i++)
		rec[i] = 0xff;
	SEND(DONE, 0, 0, 0, 0);
	for (int i = 0; i < 200; i++)
		rec[i] = 0xee;`))
	r := yields(t, obj, []byte("made up"), Options{})
	if got := string(r.Payload.Initrds[0].Data); got != "first initrd" {
		t.Errorf("initrd %q, want first initrd", got)
	}
	if !bytes.Equal(r.Payload.Kernel.Data, append(make([]byte, 56), "ARM\x64\x00\x00\x00\x00"...)) {
		t.Error("the kernel changed after it was handed over")
	}
}
