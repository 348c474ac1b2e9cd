// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func write(t *testing.T, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpen(t *testing.T) {
	want := bytes.Repeat([]byte("contents "), 10000)
	in, err := Open(write(t, want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(in.Bytes(), want) {
		t.Errorf("Bytes() = %d bytes, want %d others", len(in.Bytes()), len(want))
	}
	if err := in.Forget(); err != nil || !bytes.Equal(in.Bytes(), want) {
		t.Errorf("after Forget() = %v: %d bytes, want them back", err, len(in.Bytes()))
	}
	if err := errors.Join(in.Close(), in.Close()); err != nil || in.Bytes() != nil {
		t.Errorf("Close() = %v, %d bytes left", err, len(in.Bytes()))
	}
	empty, err := Open(write(t, nil), 10)
	if err != nil || len(empty.Bytes()) != 0 || empty.Forget() != nil || empty.Close() != nil {
		t.Errorf("Open(empty) = %v, want no bytes and no error", err)
	}
	for _, c := range []struct {
		path string
		want error
	}{
		{write(t, want), ErrTooLarge}, {filepath.Join(t.TempDir(), "none"), fs.ErrNotExist}, {t.TempDir(), nil},
	} {
		if _, err := Open(c.path, int64(len(want))-1); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("Open(%s) = %v, want %v", c.path, err, c.want)
		}
	}
}

// Files of /proc tell no size, pipes neither: both are read to the limit.
func TestOpenUnsized(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("this test must run on Linux, which has /proc")
	}
	in, err := Open("/proc/self/status", 1<<20)
	if err != nil || !bytes.HasPrefix(in.Bytes(), []byte("Name:")) {
		t.Errorf("Open(/proc/self/status) = %v, %d bytes", err, len(in.Bytes()))
	}
	if _, err := Open("/proc/self/status", 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Open(/proc/self/status, 10) = %v, want %v", err, ErrTooLarge)
	}
}

func TestGuard(t *testing.T) {
	p := write(t, make([]byte, 1<<20))
	in, err := Open(p, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.Truncate(p, 0); err != nil {
		t.Fatal(err)
	}
	sum := byte(0)
	err = Guard(func() error {
		for _, c := range in.Bytes() {
			sum += c
		}
		return nil
	})
	if !errors.Is(err, ErrChanged) {
		t.Errorf("Guard(read of a file cut short) = %v, sum %d, want %v", err, sum, ErrChanged)
	}
	own := errors.New("own error")
	if err := Guard(func() error { return own }); err != own {
		t.Errorf("Guard(own error) = %v", err)
	}
	defer func() {
		if r := recover(); r != "bug" {
			t.Errorf("Guard(panic) passed on %v, want the panic", r)
		}
	}()
	_ = Guard(func() error { panic("bug") })
}

// An output is there after Commit and not before, whole, and alone.
func TestOutput(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "out")
	names := func() (out []string) {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			out = append(out, e.Name())
		}
		return out
	}
	create := func(replace bool, text string) *Output {
		t.Helper()
		o, err := Create(p, 0o600, replace)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return o
	}
	has := func(text string) {
		t.Helper()
		b, err := os.ReadFile(p)
		if err != nil || string(b) != text || len(names()) != 1 {
			t.Errorf("file = %q, %v, in %q, want %q alone", b, err, names(), text)
		}
	}

	if err := create(false, "dropped").Close(); err != nil || len(names()) != 0 {
		t.Errorf("Close() = %v, left %q", err, names())
	}
	a, b := create(false, "first"), create(false, "second")
	if err := errors.Join(a.Commit(), a.Close()); err != nil {
		t.Errorf("Commit() = %v", err)
	}
	if err := b.Commit(); !errors.Is(err, ErrExists) {
		t.Errorf("Commit() over a file that came meanwhile = %v, want %v", err, ErrExists)
	}
	has("first")
	if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", fi.Mode(), err)
	}
	if _, err := Create(p, 0o600, false); !errors.Is(err, ErrExists) {
		t.Errorf("Create(existing) = %v, want %v", err, ErrExists)
	}
	if err := create(true, "third").Commit(); err != nil {
		t.Errorf("Commit() with replace = %v", err)
	}
	has("third")
	if err := a.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit() again = %v, want %v", err, fs.ErrClosed)
	}
	if _, err := Create(dir, 0o600, true); err == nil {
		t.Error("Create(a directory) succeeded")
	}
	if _, err := Create(filepath.Join(dir, "none", "out"), 0o600, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create(in no directory) = %v, want %v", err, fs.ErrNotExist)
	}
}

// A file that somebody puts at the name of an output is not what is signed.
func TestInputOfSwappedOutput(t *testing.T) {
	o, err := Create(filepath.Join(t.TempDir(), "out"), 0o600, false)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	empty, err := o.Input(0)
	if err != nil || len(empty.Bytes()) != 0 {
		t.Errorf("Input() = %v, %d bytes, want none", err, len(empty.Bytes()))
	}
	if _, err := o.WriteString("ours"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(write(t, []byte("theirs")), o.Name()); err != nil {
		t.Fatal(err)
	}
	in, err := o.Input(4)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got := string(in.Bytes()); got != "ours" {
		t.Errorf("Input().Bytes() = %q, want %q", got, "ours")
	}
	if _, err := o.Input(3); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Input(3) = %v, want %v", err, ErrTooLarge)
	}
}
