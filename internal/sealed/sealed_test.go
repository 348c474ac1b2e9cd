// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestOpen(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, copyChunk + 1} {
		want := bytes.Repeat([]byte("peel"), size/4+1)[:size]
		path := filepath.Join(t.TempDir(), "image.efi")
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := Open(path, int64(size))
		if err != nil {
			t.Fatalf("Open(%d bytes, limit %d) = %v", size, size, err)
		}
		// What happens to the file afterwards must not matter.
		if err := os.WriteFile(path, []byte("evil"), 0o644); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes(), want) || m.Size() != int64(size) || m.Name() != path {
			t.Errorf("Open(%d bytes) = %d bytes, Size %d, Name %q", size, len(m.Bytes()), m.Size(), m.Name())
		}
		if err := m.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("second Close() = %v", err)
		}
	}
}

func TestLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, make([]byte, 1001), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(path, 1000); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "1001 bytes") {
		t.Errorf("Open(1001 bytes, limit 1000) = %v, %v, want %v", m, err, ErrTooLarge)
	}
	// A source that does not tell its size is read no further than needed.
	src := &counter{}
	if m, err := ReadAll(src, "endless", 1000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("ReadAll(endless, limit 1000) = %v, %v, want %v", m, err, ErrTooLarge)
	}
	if src.n > 1001 {
		t.Errorf("ReadAll(limit 1000) read %d bytes, want at most 1001", src.n)
	}
	if m, err := ReadAll(strings.NewReader(""), "x", -1); err == nil {
		t.Errorf("ReadAll(limit -1) = %v, want an error", m)
	}
}

type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("cable cut")
	if _, err := ReadAll(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), "x", 100); !errors.Is(err, broken) || !strings.Contains(err.Error(), "0x3") {
		t.Errorf("ReadAll(broken) = %v, want %v at 0x3", err, broken)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open(none) = %v, want %v", err, os.ErrNotExist)
	}
	if _, err := Open(t.TempDir(), 1<<20); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("Open(directory) = %v, want an error that says so", err)
	}
}

// TestPipe reads what has no size and comes in pieces.
func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 1000 {
			if _, err := w.WriteString("0123456789"); err != nil {
				break
			}
		}
		w.Close()
	}()
	m, err := OpenFile(r, "stdin", 10000)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if want := strings.Repeat("0123456789", 1000); string(m.Bytes()) != want {
		t.Errorf("OpenFile(pipe) = %d bytes, want %d", len(m.Bytes()), len(want))
	}
}

func TestConcat(t *testing.T) {
	for _, tc := range []struct {
		align int
		parts []string
		want  string
	}{
		{0, []string{"a", "bc"}, "abc"},
		{1, []string{"a", "bc"}, "abc"},
		{4, []string{"a", "bcde", "f", "", "g"}, "a\x00\x00\x00bcdef\x00\x00\x00g"},
		{4, nil, ""},
		{8, []string{""}, ""},
	} {
		var parts [][]byte
		for _, p := range tc.parts {
			parts = append(parts, []byte(p))
		}
		m, err := Concat("initrd", tc.align, parts...)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.Bytes()); got != tc.want {
			t.Errorf("Concat(%d, %q) = %q, want %q", tc.align, tc.parts, got, tc.want)
		}
		m.Close()
	}
	m, err := Concat("x", 16<<10, []byte("a"), []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Size() != 16<<10+1 || m.Bytes()[16<<10] != 'b' {
		t.Errorf("Concat(16 KiB) = %d bytes", m.Size())
	}
	for _, align := range []int{-1, 3, 12} {
		if _, err := Concat("x", align); err == nil {
			t.Errorf("Concat(align %d) gave no error", align)
		}
	}
}

func TestBuffer(t *testing.T) {
	b, err := NewBuffer("kernel", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Bytes()) != 1<<30 {
		t.Errorf("Bytes() has %d bytes, want %d", len(b.Bytes()), 1<<30)
	}
	early := b.Bytes()[:6]
	copy(b.Bytes(), "kernel and more")
	m, err := b.Seal(6)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Bytes()) != "kernel" || string(early) != "kernel" || cap(m.Bytes()) != 6 {
		t.Errorf("Seal(6) = %q, earlier view %q, capacity %d", m.Bytes(), early, cap(m.Bytes()))
	}
	if b.Bytes() != nil {
		t.Error("Bytes() after Seal is not nil")
	}
	if _, err := b.Seal(1); !errors.Is(err, ErrClosed) {
		t.Errorf("second Seal() = %v, want %v", err, ErrClosed)
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close() after Seal = %v", err)
	}
	if string(m.Bytes()) != "kernel" {
		t.Error("Close of the Buffer took the Memory away")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	for _, n := range []int64{-1, 4097} {
		b, err := NewBuffer("x", 4096)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Seal(n); err == nil {
			t.Errorf("Seal(%d of 4096) gave no error", n)
		}
	}
	for _, n := range []int64{0, -1} {
		if _, err := NewBuffer("x", n); err == nil {
			t.Errorf("NewBuffer(%d) gave no error", n)
		}
	}
	b, err = NewBuffer("x", 100)
	if err != nil {
		t.Fatal(err)
	}
	m, err = b.Seal(0)
	if err != nil || m.Size() != 0 {
		t.Errorf("Seal(0) = %v, %v, want no bytes", m, err)
	}
	m.Close()
}
