// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// compile builds testdata/name.bpf.c with clang and returns the object file.
func compile(t testing.TB, name string, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, name+".o")
	args := append([]string{"-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", filepath.Join("testdata", name+".bpf.c"), "-o", out}, flags...)
	testkit.Run(t, "", "clang", args...)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// skeleton turns a BPF object into an ordinary ELF object that carries a light
// skeleton, the way the kernel series does.
func skeleton(t testing.TB, object []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.o")
	if err := os.WriteFile(in, object, 0o600); err != nil {
		t.Fatal(err)
	}
	header := testkit.Run(t, "", "bpftool", "gen", "skeleton", "-L", in, "name", "skel")
	src := filepath.Join(dir, "bytecode.c")
	var c strings.Builder
	for _, name := range []string{"opts_data", "opts_insn"} {
		fmt.Fprintf(&c, "__attribute__((aligned(8))) const char %s[] = \"%s\";\n", name, cLiteral(t, header, name))
	}
	if err := os.WriteFile(src, []byte(c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "bytecode.o")
	testkit.Run(t, "", "clang", "-c", src, "-o", out)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cLiteral finds the string that bpftool calls opts_data or opts_insn.
func cLiteral(t testing.TB, header []byte, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?s)const char ` + name + `\[\][^=]*= "(.*?)";`).FindSubmatch(header)
	if m == nil {
		t.Fatalf("no %s in what bpftool writes", name)
	}
	return string(bytes.ReplaceAll(m[1], []byte("\\\n"), nil))
}

// v7Host is a host of the kind that parser programs expect, with a log of
// what they did.
type v7Host struct {
	Host
	context *Type
	log     []string
	fail    uint64 // what bpf_buffer_parser returns
	handle  uint64
	held    int
	sent    [][]byte
}

func newV7Host() *v7Host {
	h := &v7Host{}
	h.context = StructOf("kexec_context",
		Field{"kdump", Bool()},
		Field{"shifted", ArrayOf(5, U64())}, // so that CO-RE has to move fields
		Field{"parsed", Bool()},
		Field{"parsing_buf", ArrayOf(16, CharPtr())},
		Field{"parsing_buf_sz", ArrayOf(16, U64())},
	)
	h.Types = []*Type{h.context}
	h.Hooks = []string{"kexec_image_parser_anchor"}
	h.Kfuncs = map[string]Kfunc{
		"bpf_get_parser_context": {Acquire: true, Func: func(m *Machine, a [5]uint64) (uint64, error) {
			h.log = append(h.log, fmt.Sprintf("get %d", a[0]))
			if a[0] != 42 {
				return 0, nil
			}
			h.held++
			return h.handle, nil
		}},
		"bpf_put_parser_context": {Release: 1, Func: func(m *Machine, a [5]uint64) (uint64, error) {
			h.log = append(h.log, "put")
			h.held--
			return 0, nil
		}},
		"bpf_buffer_parser": {Held: 3, Func: func(m *Machine, a [5]uint64) (uint64, error) {
			b, err := m.View(a[0], uint64(uint32(a[1])))
			if err != nil {
				return 0, err
			}
			h.sent = append(h.sent, bytes.Clone(b))
			h.log = append(h.log, fmt.Sprintf("command %d/%d of %d bytes", b[0], b[2], len(b)))
			return h.fail, nil
		}},
	}
	return h
}

// enter maps image and context and returns R1.
func (h *v7Host) enter(t testing.TB, m *Machine, image []byte) uint64 {
	t.Helper()
	mapped := func(name string, b []byte, perm Perm) uint64 {
		a, err := m.Map(name, b, perm)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	h.handle = mapped("parser context", make([]byte, 48), PermRead)
	img := mapped("image", image, PermRead)
	ctx := make([]byte, h.context.Size)
	put := func(field string, v uint64) {
		off, _, ok := h.context.Field(field)
		if !ok {
			t.Fatalf("no field %s", field)
		}
		storeLE(ctx[off:off+8], v)
	}
	put("parsing_buf", img)
	put("parsing_buf_sz", uint64(len(image)))
	args := make([]byte, 16)
	storeLE(args[0:8], mapped("context", ctx, PermRead))
	storeLE(args[8:16], 42)
	return mapped("arguments", args, PermRead|PermAligned)
}
