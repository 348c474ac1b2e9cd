// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/bpf"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser/stock"
)

func TestParseContainer(t *testing.T) {
	sec := func(names ...string) []byte {
		var s []elfSection
		for _, n := range names {
			s = append(s, elfSection{name: n, data: []byte(n)})
		}
		return writeELF(s)
	}
	deep := sec(".bpf.1")
	for range 4 {
		deep = writeELF([]elfSection{{name: ".bpf.1", data: []byte("p")}, {name: ".bpf.nested", data: deep}})
	}
	deeper := writeELF([]elfSection{{name: ".bpf.1", data: []byte("p")}, {name: ".bpf.nested", data: deep}})
	eight := sec(".bpf.8", ".bpf.7", ".bpf.6", ".bpf.5", ".bpf.4", ".bpf.3", ".bpf.2", ".bpf.1")
	for _, c := range []struct {
		name     string
		b        []byte
		programs int
		err      error
	}{
		{"one", sec(".bpf.1"), 1, nil},
		{"eight, any order", eight, 8, nil},
		{"five levels", deep, 1, nil},
		{"six levels", deeper, 0, ErrLimit},
		{"gap", sec(".bpf.1", ".bpf.3"), 0, ErrContainer},
		{"from 2", sec(".bpf.2"), 0, ErrContainer},
		{"twice", sec(".bpf.1", ".bpf.1"), 0, ErrContainer},
		{"nine", sec(".bpf.1", ".bpf.9"), 0, ErrContainer},
		{"zero", sec(".bpf.0", ".bpf.1"), 0, ErrContainer},
		{"two digits", sec(".bpf.1", ".bpf.10"), 0, ErrContainer},
		{"other section", sec(".bpf.1", ".text"), 0, ErrContainer},
		{"only nested", writeELF([]elfSection{{name: ".bpf.nested", data: sec(".bpf.1")}}), 0, ErrContainer},
		{"nested twice", writeELF([]elfSection{{name: ".bpf.1", data: []byte("p")}, {name: ".bpf.nested", data: sec(".bpf.1")}, {name: ".bpf.nested", data: sec(".bpf.1")}}), 0, ErrContainer},
		{"nested garbage", sec(".bpf.1", ".bpf.nested"), 0, ErrContainer},
		{"empty section", writeELF([]elfSection{{name: ".bpf.1"}}), 0, ErrContainer},
		{"no section", sec(), 0, ErrContainer},
		{"text", []byte("text"), 0, ErrContainer},
		{"cut", eight[:len(eight)-1], 0, ErrTruncated},
	} {
		got, err := ParseContainer(c.b)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: ParseContainer = %v, want %v", c.name, err, c.err)
			continue
		}
		if err == nil && len(got.Programs) != c.programs {
			t.Errorf("%s: %d programs, want %d", c.name, len(got.Programs), c.programs)
		}
	}
	if c, err := ParseContainer(eight); err != nil || string(c.Programs[0]) != ".bpf.1" || string(c.Programs[7]) != ".bpf.8" {
		t.Errorf("programs are not in the order of their numbers: %v", err)
	}
}

// TestContainerObjcopy reads what the series' recipe makes with objcopy, and
// lets llvm-objcopy and readelf read what BuildContainer makes.
func TestContainerObjcopy(t *testing.T) {
	dir := t.TempDir()
	path := func(n string) string { return filepath.Join(dir, n) }
	program := stock.Skeletons()[1]
	for name, b := range map[string][]byte{"empty.c": {}, "program": program} {
		if err := os.WriteFile(path(name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Run(t, dir, "clang", "-target", "x86_64-linux-gnu", "-c", "empty.c", "-o", "empty.o")
	testkit.Run(t, dir, "objcopy", "--add-section", ".bpf.1=program", "--set-section-flags", ".bpf.1=readonly,data", "empty.o", "added.o")
	testkit.Run(t, dir, "objcopy", "--only-section=.bpf.1", "added.o", "zboot.bpf")
	c, err := ParseContainer(testkit.ReadFile(t, path("zboot.bpf")))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Programs) != 1 || !bytes.Equal(c.Programs[0], program) {
		t.Errorf("objcopy's container has %d programs, want the one that went in", len(c.Programs))
	}
	if err := os.WriteFile(path("ours.bpf"), nested(t, container(t, program), program, program), 0o644); err != nil {
		t.Fatal(err)
	}
	// GNU objcopy takes only machines it was built for, and programs for any
	// machine are in here.
	testkit.Run(t, dir, "llvm-objcopy", "--dump-section", ".bpf.2=out", "ours.bpf", "same.bpf")
	if got := testkit.ReadFile(t, path("out")); !bytes.Equal(got, program) {
		t.Errorf("llvm-objcopy takes %d bytes out of .bpf.2, want %d", len(got), len(program))
	}
	if out := string(testkit.Run(t, dir, "readelf", "-SW", "ours.bpf")); !strings.Contains(out, ".bpf.nested") || strings.Contains(out, "Warning") {
		t.Errorf("readelf: %s", out)
	}
}

func TestInspect(t *testing.T) {
	b := nested(t, container(t, stock.Objects()[1]), stock.Skeletons()[0], []byte("no program"))
	signed, err := AppendTrailer(b, []byte("pkcs7"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := Inspect(signed)
	if err != nil {
		t.Fatal(err)
	}
	if in.Form != "container" || !in.Signed || in.SignatureSize != 5 || len(in.Programs) != 2 || in.Nested == nil || in.Nested.Signed {
		t.Fatalf("Inspect = %+v", in)
	}
	p := in.Programs[0]
	if p.Section != ".bpf.1" || p.Name != "parse_uki" || p.Format != bpf.FormatSkeleton || p.Generation != GenPeel || p.AttachTo != anchor || len(p.Kfuncs) != 3 || len(p.Maps) != 8 || p.Instructions == 0 {
		t.Errorf("program 1 = %+v", p)
	}
	if in.Programs[1].Err == "" {
		t.Error("program 2 is no program and has no error")
	}
	if p := in.Nested.Programs[0]; p.Name != "parse_zboot" || p.Format != bpf.FormatELF {
		t.Errorf("nested program = %+v", p)
	}
	if in, err := Inspect(stock.Objects()[0]); err != nil || in.Form != "object" || in.Programs[0].Section != "" {
		t.Errorf("Inspect(object) = %+v, %v", in, err)
	}
	for name, b := range map[string][]byte{"text": []byte("text"), "PE without .bpf": makeUKI(t, peOptions, linux)} {
		if _, err := Inspect(b); !errors.Is(err, ErrContainer) {
			t.Errorf("%s: %v, want %v", name, err, ErrContainer)
		}
	}
}

// TestContextLayout: the offsets that docs/parser-abi.md promises.
func TestContextLayout(t *testing.T) {
	for _, c := range []struct {
		g     Generation
		field string
		off   uint32
	}{
		{GenV6, "kernel", 8}, {GenV6, "kernel_sz", 16}, {GenV6, "initrd", 24}, {GenV6, "initrd_sz", 32}, {GenV6, "cmdline", 40}, {GenV6, "cmdline_sz", 48},
		{GenLater, "parsed", 1}, {GenLater, "sig_mode", 4}, {GenLater, "parsing_buf", 8}, {GenLater, "parsing_buf_sz", 136},
		{GenLater, "next_parsing_buf", 264}, {GenLater, "next_parsing_buf_sz", 392}, {GenLater, "kernel", 520}, {GenLater, "cmdline_sz", 560},
		{GenPeel, "peel_abi", 568}, {GenPeel, "peel_addons", 572}, {GenPeel, "peel_profile", 576}, {GenPeel, "peel_profile_id", 584},
		{GenPeel, "peel_hwids", 600}, {GenPeel, "peel_compatible", 616}, {GenPeel, "peel_compatible_sz", 624},
	} {
		if off, _, ok := contextType(c.g).Field(c.field); !ok || off != c.off {
			t.Errorf("%s.%s at %d (%v), want %d", c.g, c.field, off, ok, c.off)
		}
	}
	for g, size := range map[Generation]uint32{GenV6: 56, GenLater: 568, GenV7: 568} {
		if got := contextType(g).Size; got != size {
			t.Errorf("%s: context of %d bytes, want %d", g, got, size)
		}
	}
}
