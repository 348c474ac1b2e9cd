// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/sealed"
)

// The tests of the files flaws_*_test.go are named after the numbered flaws of
// reviews of the kernel series: a host that makes the same mistake fails them.
// TestReviewN, in this file, is about the public review of v6; TestSnapshotN
// about what its later branch still does. Each says what the flaw is.

// outcome runs a foreign program on img alone.
func outcome(t testing.TB, object, img []byte, o Options) (*Result, error) {
	t.Helper()
	o.Programs, o.NoStock = object, true
	return Run(context.Background(), img, o)
}

// yields runs a foreign program, then the stock ones on what it yields.
func yields(t testing.TB, object, img []byte, o Options) *Result {
	t.Helper()
	o.Programs = object
	r, err := Run(context.Background(), img, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Layers[0].Source != SourceOperator {
		t.Fatalf("layer 0 by %s, want by the program under test", r.Layers[0].Source)
	}
	return r
}

// Review 1: a second bpf_buffer_parser call overwrites the first one's buffer,
// and every buffer but the last leaks. Here 300 commands of 1 MiB each must
// fit a budget of a few MiB, and each part must be its own.
func TestReview1BuffersLeak(t *testing.T) {
	obj := compile(t, program(`
	for (int i = 0; i < 300; i++) {
		rec[10] = i;
		struct cmd_hdr *h = (void *)rec;
		h->cmd = COPY; h->subcmd = INITRD; h->pipeline_flag = 0; h->payload_len = 1 << 20; h->num_chunks = 0;
		if (bpf_buffer_parser(rec, 10 + (1 << 20), c))
			goto out;
	}
	if (!SEND(COPY, CMDLINE, 0, "first\0", 7) && !SEND(COPY, KERNEL, 0, kernel_bytes, 64))
		SEND(DONE, 0, 0, 0, 0);
`), "-DIMAGE_SIZE=(2<<20)", "-DRING_1=(4<<20)")
	r := yields(t, obj, []byte("made up format"), Options{Limits: Limits{Copies: 8 << 20}})
	p := r.Payload
	if len(p.Initrds) != 1 || len(p.Initrds[0].Data) != 1<<20 || p.Initrds[0].Data[0] != byte(299&0xff) {
		t.Errorf("initrd is not the last one sent")
	}
	if p.Cmdline != "first" {
		t.Errorf("Cmdline = %q, want first", p.Cmdline)
	}
}

// Review 2: the PE helpers trust e_lfanew, the section count and the size of
// the optional header. Looking for .bpf must survive all of them.
func TestReview2PELengths(t *testing.T) {
	good := makeUKI(t, pe.Options{}, section(".linux", makeImage(4096)), section(".bpf", []byte("no program")))
	fails(t, good, Options{}, ErrContainer) // the section is found and looked at
	at := le.Uint32(good[0x3c:])
	for name, change := range map[string]func([]byte){
		"e_lfanew at the end":      func(b []byte) { le.PutUint32(b[0x3c:], uint32(len(b)-2)) },
		"e_lfanew wraps":           func(b []byte) { le.PutUint32(b[0x3c:], 0xfffffff0) },
		"65535 sections":           func(b []byte) { le.PutUint16(b[at+6:], 0xffff) },
		"optional header of 65535": func(b []byte) { le.PutUint16(b[at+20:], 0xffff) },
		"section beyond the file": func(b []byte) {
			h := at + 24 + uint32(le.Uint16(b[at+20:])) + 40
			le.PutUint32(b[h+16:], 0xffffffff)
		},
		"section offset wraps": func(b []byte) {
			h := at + 24 + uint32(le.Uint16(b[at+20:])) + 40
			le.PutUint32(b[h+20:], 0xfffffff0)
		},
	} {
		b := bytes.Clone(good)
		change(b)
		if r, err := Run(context.Background(), b, Options{}); err == nil {
			t.Errorf("%s: %+v, want an error", name, r.Layers)
		}
	}
}

// Review 3: sizes are int in one place and unsigned long in another; an image
// without .bpf is lost; the result of decompose is dropped.
func TestReview3Sizes(t *testing.T) {
	for name, body := range map[string]string{
		"negative size":          `if (bpf_buffer_parser(rec, -1, c) == -22) SEND(COPY, KERNEL, 0, kernel_bytes, 64);`,
		"payload beyond buffer":  `struct cmd_hdr *h = (void *)rec; h->cmd = COPY; h->subcmd = INITRD; h->payload_len = 0xffffffff; bpf_buffer_parser(rec, 100, c); SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0);`,
		"size beyond the record": `SEND(COPY, KERNEL, 0, kernel_bytes, 64); bpf_buffer_parser(rec, 0x7fffffff, c);`,
		"no buffer":              `bpf_buffer_parser(0, 10, c); SEND(COPY, KERNEL, 0, kernel_bytes, 64);`,
	} {
		if r, err := outcome(t, compile(t, program(body)), []byte("made up"), Options{}); err == nil {
			t.Errorf("%s: %+v, want an error", name, r.Layers)
		}
	}
	// An image without .bpf is its own kernel, in full.
	img := makeImage(8192)
	p, err := Decompose(context.Background(), img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Kernel.Data, img) {
		t.Errorf("kernel of %d bytes, want the image", len(p.Kernel.Data))
	}
	// An error is an error.
	fails(t, []byte("no image at all"), Options{}, ErrNoParser)
}

// Review 4: every error path of the decompressor leaks, and a result for
// another subcommand than KERNEL is kept by nobody.
func TestReview4Decompressor(t *testing.T) {
	gz := gzipped(t, makeImage(100000))
	img := append([]byte("FMT1"), gz...)
	good := program(`if (!SEND(DECOMPRESS, KERNEL, FILL, buf + 4, sz - 4)) SEND(DONE, 0, 0, 0, 0);`)
	for name, c := range map[string]struct {
		body string
		img  []byte
	}{
		"unknown method": {good, []byte("FMT1 this is no compressed kernel")},
		"cut":            {good, img[:len(img)/2]},
		"corrupt":        {good, append(bytes.Clone(img[:len(img)/2]), bytes.Repeat([]byte{0xaa}, len(img)/2)...)},
		"as initrd":      {program(`SEND(DECOMPRESS, INITRD, 0, buf + 4, sz - 4); SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0);`), img},
		"answer ignored": {program(`SEND(DECOMPRESS, KERNEL, 0, buf, sz); SEND(COPY, KERNEL, 0, kernel_bytes, 64); SEND(DONE, 0, 0, 0, 0);`), img},
	} {
		kept := 0
		_, err := outcome(t, compile(t, c.body), c.img, Options{Keep: func(*sealed.Memory) { kept++ }})
		if !errors.Is(err, ErrProgram) && !errors.Is(err, ErrNoParser) {
			t.Errorf("%s: %v, want a failed program", name, err)
		}
		if kept != 0 {
			t.Errorf("%s: %d memories kept, want 0", name, kept)
		}
	}
	kept := 0
	r := yields(t, compile(t, good), img, Options{Keep: func(m *sealed.Memory) { kept++; t.Cleanup(func() { m.Close() }) }})
	if kept != 1 || len(r.Payload.Kernel.Data) != 100000 {
		t.Errorf("%d memories kept, kernel of %d bytes, want 1 and 100000", kept, len(r.Payload.Kernel.Data))
	}
	// A bomb ends at the limit.
	bomb := append([]byte("FMT1"), gzipped(t, make([]byte, 64<<20))...)
	if _, err := outcome(t, compile(t, good), bomb, Options{Limits: Limits{Kernel: 1 << 20}}); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("bomb: %v, want a limit", err)
	}
}

// Review 5: the symbols of the light skeleton are read without bounds, and a
// size of 0 becomes 4 GiB.
func TestReview5SkeletonSymbols(t *testing.T) {
	_, skeleton := build(t, "testdata/foreign/zboot.c")
	symbols := symbolOffsets(t, skeleton)
	if len(symbols) != 2 {
		t.Fatalf("%d symbols opts_insn and opts_data, want 2", len(symbols))
	}
	for _, at := range symbols {
		for name, change := range map[string]func(b []byte){
			"size 0":       func(b []byte) { le.PutUint64(b[at+16:], 0) },
			"size 1":       func(b []byte) { le.PutUint64(b[at+16:], 1) },
			"size huge":    func(b []byte) { le.PutUint64(b[at+16:], 1<<40) },
			"value huge":   func(b []byte) { le.PutUint64(b[at+8:], 1<<63) },
			"both wrap":    func(b []byte) { le.PutUint64(b[at+8:], ^uint64(7)); le.PutUint64(b[at+16:], 16) },
			"section huge": func(b []byte) { le.PutUint16(b[at+6:], 0x7fff) },
			"absolute":     func(b []byte) { le.PutUint16(b[at+6:], 0xfff1) },
		} {
			b := bytes.Clone(skeleton)
			change(b)
			if _, err := open(b, carrierContainer); !errors.Is(err, ErrProgram) {
				t.Errorf("symbol at %#x, %s: %v, want %v", at, name, err, ErrProgram)
			}
		}
	}
}

// symbolOffsets finds the symbol table entries of a light skeleton.
func symbolOffsets(t testing.TB, b []byte) (at []uint64) {
	t.Helper()
	shoff, n := le.Uint64(b[40:]), uint64(le.Uint16(b[60:]))
	for i := range n {
		h := b[shoff+i*64:]
		if le.Uint32(h[4:]) != 2 { // SHT_SYMTAB
			continue
		}
		strings := b[shoff+uint64(le.Uint32(h[40:]))*64:]
		names := b[le.Uint64(strings[24:]):]
		for o := le.Uint64(h[24:]); o < le.Uint64(h[24:])+le.Uint64(h[32:]); o += 24 {
			name := names[le.Uint32(b[o:]):]
			if bytes.HasPrefix(name, []byte("opts_insn\x00")) || bytes.HasPrefix(name, []byte("opts_data\x00")) {
				at = append(at, o)
			}
		}
	}
	return at
}

// Review 6: the zboot parser checks the payload's size but not its offset plus
// size, and reads what lies behind the image.
func TestReview6ZbootBounds(t *testing.T) {
	gz := gzipped(t, makeImage(100000))
	good := makeZboot(gz, "gzip")
	if _, err := Decompose(context.Background(), good, Options{}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte){
		"offset and size pass the end": func(b []byte) { le.PutUint32(b[8:], uint32(len(b)-10)) },
		"sum wraps in 32 bits":         func(b []byte) { le.PutUint32(b[8:], 0xffffffff); le.PutUint32(b[12:], 100) },
		"size wraps in 32 bits":        func(b []byte) { le.PutUint32(b[8:], 64); le.PutUint32(b[12:], 0xffffffff) },
		"inside the header":            func(b []byte) { le.PutUint32(b[8:], 16) },
		"empty":                        func(b []byte) { le.PutUint32(b[12:], 0) },
		"method without NUL":           func(b []byte) { copy(b[24:], bytes.Repeat([]byte("x"), 32)) },
		"no method":                    func(b []byte) { b[24] = 0 },
	} {
		b := bytes.Clone(good)
		change(b)
		_, err := Decompose(context.Background(), b, Options{})
		var r *Refusal
		if !errors.As(err, &r) || !r.Broken {
			t.Errorf("%s: %v, want a broken image", name, err)
		}
	}
}

// Review 7: the image builder takes -1 for an offset. Our container writer
// refuses what has no place in a container.
func TestReview7Builder(t *testing.T) {
	for name, build := range map[string]func() ([]byte, error){
		"nothing":          func() ([]byte, error) { return BuildContainer(nil, nil) },
		"nine programs":    func() ([]byte, error) { return BuildContainer(make([][]byte, 9), nil) },
		"an empty program": func() ([]byte, error) { return BuildContainer([][]byte{{}}, nil) },
		"nested garbage":   func() ([]byte, error) { return BuildContainer([][]byte{{1}}, []byte("garbage")) },
		"empty signature":  func() ([]byte, error) { return AppendTrailer([]byte("x"), nil) },
	} {
		if b, err := build(); err == nil {
			t.Errorf("%s: %d bytes, want an error", name, len(b))
		}
	}
}

// Review 8 was about builds that broke elsewhere: TestStockReproducible and
// TestStockShape are what holds here.
