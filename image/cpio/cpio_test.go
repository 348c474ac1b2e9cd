// SPDX-License-Identifier: Apache-2.0

package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/internal/testkit"
)

func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, err := range []error{
		w.File("init", 0o755, []byte("#!/bin/sh\n")),
		w.File(".extra/credentials/a.cred", 0o400, []byte("secret")),
		w.File(".extra/credentials/b.cred", 0o400, nil),
		w.Symlink("bin/sh", "/usr/bin/sh"),
		w.Device("dev/console", ModeChar, 0o600, 5, 1),
		w.Dir("dev", 0o700),
		w.Close(),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func list(t testing.TB, b []byte) []string {
	t.Helper()
	var got []string
	r := NewReader(b)
	for {
		e, err := r.Next()
		if err == io.EOF {
			return append(got, fmt.Sprintf("%d archives", r.Archives()))
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %o %d %d,%d %q", e.Name, e.Mode, e.NLink, e.RDevMajor, e.RDevMinor, e.Data))
	}
}

var wantSample = []string{
	`init 100755 1 0,0 "#!/bin/sh\n"`,
	`.extra 40755 2 0,0 ""`,
	`.extra/credentials 40755 2 0,0 ""`,
	`.extra/credentials/a.cred 100400 1 0,0 "secret"`,
	`.extra/credentials/b.cred 100400 1 0,0 ""`,
	`bin 40755 2 0,0 ""`,
	`bin/sh 120777 1 0,0 "/usr/bin/sh"`,
	`dev 40755 2 0,0 ""`,
	`dev/console 20600 1 5,1 ""`,
}

func TestRoundTrip(t *testing.T) {
	b := sample(t)
	if diff := cmp.Diff(append(wantSample[:len(wantSample):len(wantSample)], "1 archives"), list(t, b)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if len(b)%4 != 0 {
		t.Errorf("archive has %d bytes, want a multiple of 4", len(b))
	}
	if again := sample(t); !bytes.Equal(b, again) {
		t.Error("the same calls give other bytes")
	}
	// Several archives with aligned padding between and any after them.
	both := append(append(append(bytes.Clone(b), make([]byte, 516)...), b...), make([]byte, 7)...)
	want := append(append(wantSample[:len(wantSample):len(wantSample)], wantSample...), "2 archives")
	if diff := cmp.Diff(want, list(t, both)); diff != "" {
		t.Errorf("two archives (-want +got):\n%s", diff)
	}
	r := NewReader(append(make([]byte, 515), b...))
	if _, err := r.Next(); !errors.Is(err, ErrPadding) || r.Offset() != 515 {
		t.Errorf("Next(misaligned) = %v at %d, want %v at 515", err, r.Offset(), ErrPadding)
	}
	if diff := cmp.Diff([]string{"0 archives"}, list(t, make([]byte, 512))); diff != "" {
		t.Errorf("zeros (-want +got):\n%s", diff)
	}
	if !Is(b) || Is(b[:100]) || Is(make([]byte, 200)) {
		t.Error("Is() does not know an archive")
	}
}

// TestOracle has cpio(1) list what the Writer wrote, and the Reader read what
// cpio(1) wrote.
func TestOracle(t *testing.T) {
	cmd := exec.Command(testkit.Tool(t, "cpio"), "-it", "--quiet")
	cmd.Stdin = bytes.NewReader(sample(t))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range wantSample {
		names = append(names, strings.Fields(s)[0])
	}
	if diff := cmp.Diff(names, strings.Fields(string(out))); diff != "" {
		t.Errorf("cpio -t (-want +got):\n%s", diff)
	}

	dir := t.TempDir()
	want := map[string]string{"a": "alpha", "d/b": "", "d/c": strings.Repeat("x", 5001)}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range want {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{"newc", "crc"} {
		cmd := exec.Command(testkit.Tool(t, "cpio"), "-o", "--quiet", "-H", format)
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader("a\nd\nd/b\nd/c\n")
		b, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for r := NewReader(b); ; {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Mode&ModeType == ModeRegular {
				got[e.Name] = string(e.Data)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

func TestHostile(t *testing.T) {
	crc := func(b []byte) []byte {
		copy(b, magicCRC)
		copy(b[102:], "00000001")
		return b
	}
	for _, tc := range []struct {
		name string
		want error
		edit func([]byte) []byte
	}{
		{"other magic", ErrNotCPIO, func(b []byte) []byte { copy(b, "070707"); return b }},
		{"gzip", ErrNotCPIO, func([]byte) []byte { return []byte("\x1f\x8b\x08 and more of it") }},
		{"no number", ErrHeader, func(b []byte) []byte { b[20] = 'g'; return b }},
		{"sign in a number", ErrHeader, func(b []byte) []byte { b[6] = '+'; return b }},
		{"name size 0", ErrHeader, func(b []byte) []byte { copy(b[94:], "00000000"); return b }},
		{"name size 4097", ErrHeader, func(b []byte) []byte { copy(b[94:], "00001001"); return b }},
		{"name without NUL", ErrHeader, func(b []byte) []byte { b[headerSize+4] = 'x'; return b }},
		{"NUL inside the name", ErrHeader, func(b []byte) []byte { b[headerSize+1] = 0; return b }},
		{"data beyond the end", ErrTruncated, func(b []byte) []byte { copy(b[54:], "ffffffff"); return b }},
		{"wrong sum", ErrChecksum, crc},
	} {
		_, err := NewReader(tc.edit(sample(t))).Next()
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: Next() = %v, want %v", tc.name, err, tc.want)
		}
	}
}

// TestTruncated cuts an archive everywhere: a piece must not pass for a whole.
func TestTruncated(t *testing.T) {
	b := sample(t)
	// The zeros that pad the trailer may be missing.
	whole := len(bytes.TrimRight(b, "\x00")) + 1
	for n := 1; n < whole; n++ {
		r := NewReader(b[:n:n])
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, ErrTruncated) {
			t.Fatalf("reading 0x%x of 0x%x bytes ends with %v, want %v", n, whole, err, ErrTruncated)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	w := NewWriter(io.Discard)
	for _, name := range []string{"", trailer, "a\x00b", strings.Repeat("x", maxName)} {
		if err := w.Write(Header{Name: name}, nil); !errors.Is(err, ErrEntry) {
			t.Errorf("Write(%.20q) = %v, want %v", name, err, ErrEntry)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.File("late", 0o644, nil); !errors.Is(err, ErrEntry) {
		t.Errorf("File(after Close) = %v, want %v", err, ErrEntry)
	}
	w = NewWriter(&limited{50})
	if err := w.File("a", 0o644, nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("File(full disk) = %v, want %v", err, io.ErrShortWrite)
	}
	if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Close(full disk) = %v, want %v", err, io.ErrShortWrite)
	}
}

type limited struct{ n int }

func (w *limited) Write(p []byte) (int, error) {
	if len(p) > w.n {
		return w.n, io.ErrShortWrite
	}
	w.n -= len(p)
	return len(p), nil
}

// FuzzReader checks that entries lie inside the input and that what can be
// read can be written and read again.
func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	f.Add(append(sample(f), append(make([]byte, 8), sample(f)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		w := NewWriter(&out)
		var entries []*Entry
		for r := NewReader(b); ; {
			before := r.Offset()
			e, err := r.Next()
			if err != nil {
				break
			}
			if r.Offset() <= before || r.Offset() > uint64(len(b)) {
				t.Fatalf("Offset() = %d after %d of %d", r.Offset(), before, len(b))
			}
			if w.Write(e.Header, e.Data) == nil {
				entries = append(entries, e)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r := NewReader(out.Bytes())
		for _, e := range entries {
			got, err := r.Next()
			if err != nil || got.Name != e.Name || got.Mode != e.Mode || !bytes.Equal(got.Data, e.Data) {
				t.Fatalf("Next() = %+v, %v, want %+v", got, err, e)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("Next() = %v, want %v", err, io.EOF)
		}
	})
}
