// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser/stock"
)

// build runs parser/stock/build.sh on a source file and returns the object as
// clang makes it and the light skeleton.
func build(t testing.TB, source string, cflags ...string) (object, skeleton []byte) {
	t.Helper()
	out := t.TempDir()
	runBuild(t, cflags, "-o", out, source)
	name := strings.TrimSuffix(filepath.Base(source), ".c")
	return testkit.ReadFile(t, filepath.Join(out, name+".o")), testkit.ReadFile(t, filepath.Join(out, name+".lskel.o"))
}

func runBuild(t testing.TB, cflags []string, args ...string) {
	t.Helper()
	script, err := filepath.Abs("stock/build.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(),
		"CLANG="+testkit.Tool(t, "clang"),
		"LLVM_STRIP="+testkit.Tool(t, "llvm-strip"),
		"BPFTOOL="+testkit.Tool(t, "bpftool"),
		"PARSER_CFLAGS="+strings.Join(cflags, " "))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// compile makes an object of a whole source text, which may include the
// template of testdata/foreign or peel's own header.
func compile(t testing.TB, source string, cflags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	src, obj := filepath.Join(dir, "program.c"), filepath.Join(dir, "program.o")
	if err := os.WriteFile(src, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "", "clang", append(cflags, "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Werror=implicit-function-declaration",
		"-Itestdata/foreign", "-Istock/src", "-c", src, "-o", obj)...)
	return testkit.ReadFile(t, obj)
}

// program is a parser in the manner of the series around a body, in which
// context, rec (the record), buf, sz and c (the parser context) are set up and
// `goto out` ends it. SEND(cmd, subcmd, flag, src, size) sends a command.
func program(body string) string {
	return `#include "template.h"
#define SEND(cmd, sub, flag, src, n) fill_cmd(rec, cmd, sub, flag, (const char *)(src), n, c)
static const char kernel_bytes[64] = { [56] = 'A', 'R', 'M', 0x64 };
ANCHOR int prog(u64 *args)
{
	struct kexec_context *context = (void *)(unsigned long)args[0];
	struct bpf_parser_context *c;
	char *buf, *rec;
	unsigned long sz;

	force_string();
#ifdef V6
	buf = context->kernel;
	sz = context->kernel_sz;
#else
	CORE_READ(buf, context, parsing_buf[0]);
	CORE_READ(sz, context, parsing_buf_sz[0]);
#endif
	c = bpf_get_parser_context(args[1]);
	if (!c)
		return 0;
	rec = ringbuf_reserve(&ringbuf_1, MAX_RECORD_SIZE, 0);
	if (!rec)
		goto put;
` + body + `
out:
	ringbuf_discard(rec, 1);
put:
	bpf_put_parser_context(c);
	return 0;
}
`
}

// TestStockReproducible builds the stock programs again, in another directory,
// and compares them with what is committed: source and object belong together.
func TestStockReproducible(t *testing.T) {
	out := t.TempDir()
	runBuild(t, nil, "-o", out)
	for i, name := range stock.Names() {
		if got := testkit.ReadFile(t, filepath.Join(out, name+".o")); !bytes.Equal(got, stock.Objects()[i]) {
			t.Errorf("%s.o built now differs from parser/stock/obj: run `make generate`", name)
		}
		if got := testkit.ReadFile(t, filepath.Join(out, name+".lskel.o")); !bytes.Equal(got, stock.Skeletons()[i]) {
			t.Errorf("%s.lskel.o built now differs from parser/stock/obj: run `make generate`", name)
		}
	}
}

// TestStockShape checks what loaders of the series take for granted: eight
// maps in one order, one program, the three functions.
func TestStockShape(t *testing.T) {
	want := "ringbuf_1 ringbuf_2 ringbuf_3 ringbuf_4 .rodata .data .rodata.str1.1 .bss"
	for form, objects := range forms() {
		for i, data := range objects {
			name := stock.Names()[i]
			o, err := open(data, carrierContainer)
			if err != nil {
				t.Errorf("%s %s: %v", name, form, err)
				continue
			}
			if o.gen != GenPeel {
				t.Errorf("%s %s: generation %q, want %q", name, form, o.gen, GenPeel)
			}
			var maps []string
			for _, m := range o.obj.Maps {
				// An ELF object's name goes before the section's in a
				// light skeleton.
				n := m.Name
				if j := strings.IndexByte(n, '.'); j > 0 {
					n = n[j:]
				}
				maps = append(maps, n)
			}
			if got := strings.Join(maps, " "); form == "skeleton" && got != want {
				t.Errorf("%s %s: maps %s, want %s", name, form, got, want)
			}
			if o.obj.License != "GPL" {
				t.Errorf("%s %s: licence %q, want GPL", name, form, o.obj.License)
			}
		}
	}
}
