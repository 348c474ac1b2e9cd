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

// The tests in this file are named after the numbered flaws of reviews of the
// kernel series: a host that makes the same mistake fails them. TestReviewN is
// about the public review of v6, TestSnapshotN about what its later branch
// still does. Each says what the flaw is.

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

// verifier answers what it is told and counts the questions.
type verifier struct {
	mode                    SigMode
	image, ima, programs    error
	images, imas, asked     int
	lastImage, lastPrograms []byte
	lastSignature           []byte
}

func (v *verifier) Mode() SigMode { return v.mode }
func (v *verifier) Image(_ context.Context, _ string, b []byte) error {
	v.images++
	v.lastImage = bytes.Clone(b)
	return v.image
}
func (v *verifier) IMA(_ context.Context, _ string, _, _ []byte) error { v.imas++; return v.ima }
func (v *verifier) Programs(_ context.Context, _ string, p, s []byte) error {
	v.asked++
	v.lastPrograms, v.lastSignature = p, s
	return v.programs
}

var errNo = errors.New("the test says no")

// Snapshot 5: sig_mode is never set and VERIFY_SIG has no handler; the fields
// of the trailer are not checked.
func TestSnapshot5Signatures(t *testing.T) {
	object, _ := build(t, "testdata/foreign/zboot.c", "-DLATER")
	z := testkit.ReadFile(t, zbootData+zboots[0].file)

	v := &verifier{mode: SigPE}
	yields(t, object, z, Options{Verifier: v})
	if v.images != 1 || !bytes.Equal(v.lastImage, z) {
		t.Errorf("asked %d times, last for %d bytes; want once for the image", v.images, len(v.lastImage))
	}
	v = &verifier{mode: SigNone}
	yields(t, object, z, Options{Verifier: v})
	if v.images != 0 {
		t.Errorf("mode NONE: asked %d times, want 0", v.images)
	}
	// The answer no is final, whatever the program makes of it, and no other
	// program gets a try.
	stubborn := compile(t, program(`
	SEND(VERIFY_SIG, 0, 0, buf, sz);
	SEND(COPY, KERNEL, 0, kernel_bytes, 64);
	SEND(DONE, 0, 0, 0, 0);`))
	for name, o := range map[string]Options{
		"obedient": {Programs: object, Verifier: &verifier{mode: SigPE, image: errNo}},
		"stubborn": {Programs: stubborn, Verifier: &verifier{mode: SigPE, image: errNo}},
		"stock":    {Verifier: &verifier{mode: SigPE, image: errNo}},
		"nobody":   {Programs: stubborn},
	} {
		_, err := Run(context.Background(), z, o)
		if !errors.Is(err, ErrVerification) {
			t.Errorf("%s: %v, want %v", name, err, ErrVerification)
		}
		if name != "nobody" && !errors.Is(err, errNo) {
			t.Errorf("%s: %v, want the reason", name, err)
		}
	}

	c := container(t, object)
	signed, err := AppendTrailer(c, []byte("pkcs7"))
	if err != nil {
		t.Fatal(err)
	}
	v = &verifier{}
	yields(t, signed, z, Options{Verifier: v})
	if v.asked != 1 || !bytes.Equal(v.lastPrograms, c) || string(v.lastSignature) != "pkcs7" {
		t.Errorf("container asked for %d times with signature %q, want once with pkcs7", v.asked, v.lastSignature)
	}
	block := len(signed) - len(trailerMarker) - trailerBlock
	for i := range 11 { // the last byte makes it another length, which is possible
		b := bytes.Clone(signed)
		b[block+i] ^= 0x80
		if _, _, err := SplitTrailer(b); !errors.Is(err, ErrTrailer) {
			t.Errorf("byte %d of the block changed: %v, want %v", i, err, ErrTrailer)
		}
	}
	b := bytes.Clone(signed)
	le.PutUint32(b[block+8:], 0)
	if _, _, err := SplitTrailer(b); !errors.Is(err, ErrTrailer) {
		t.Errorf("signature of 0 bytes: %v, want %v", err, ErrTrailer)
	}
	if _, _, err := SplitTrailer([]byte(trailerMarker)); !errors.Is(err, ErrTrailer) {
		t.Errorf("marker alone: %v, want %v", err, ErrTrailer)
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
