// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// guideSource is the C source in docs/writing-parsers.md.
func guideSource(t testing.TB) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(testkit.ReadFile(t, "../docs/writing-parsers.md")), "```c\n")
	source, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("no C source in docs/writing-parsers.md")
	}
	return source
}

// box packs pieces in the guide's made-up format.
func box(pieces ...string) []byte {
	b := le.AppendUint32([]byte("BOX1"), uint32(len(pieces)/2))
	at := 8 + 24*len(pieces)/2
	var data []byte
	for i := 0; i < len(pieces); i += 2 {
		name := make([]byte, 8)
		copy(name, pieces[i])
		b = append(b, name...)
		b = le.AppendUint64(b, uint64(at+len(data)))
		b = le.AppendUint64(b, uint64(len(pieces[i+1])))
		data = append(data, pieces[i+1]...)
	}
	return append(b, data...)
}

// TestGuide: the parser of the guide does what the guide says.
func TestGuide(t *testing.T) {
	if n := strings.Count(guideSource(t), "\n"); n > 60 {
		t.Errorf("the guide's parser has %d lines, want about fifty", n)
	}
	obj := compile(t, guideSource(t), "-Wall", "-Wextra", "-Werror")
	kernel := makeImage(4096)
	good := box("kernel", string(makeZboot(gzipped(t, kernel), "gzip")), "initrd", "first", "initrd", "second", "cmdline", "quiet\x00")
	p, err := Decompose(context.Background(), good, Options{Name: "x.box", Programs: obj})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shape(p), "initrd=first initrd=second cmdline=quiet"; got != want || !bytes.Equal(p.Kernel.Data, kernel) {
		t.Errorf("%s, kernel of %d bytes; want %s and %d", got, len(p.Kernel.Data), want, len(kernel))
	}
	for name, img := range map[string][]byte{
		"cut table":    good[:20],
		"cut piece":    good[:len(good)-1],
		"unknown name": box("kernel", string(kernel), "surprise", "x"),
		"17 entries":   box(make([]string, 34)...),
	} {
		if _, err := Decompose(context.Background(), img, Options{Programs: obj}); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v, want %v", name, err, ErrBroken)
		}
	}
	// Other formats are left to the others.
	if _, err := Decompose(context.Background(), kernel, Options{Programs: obj}); err != nil {
		t.Error(err)
	}
}
