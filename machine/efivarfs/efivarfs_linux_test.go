// SPDX-License-Identifier: Apache-2.0

package efivarfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/unix"
)

const guid = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

func read(t *testing.T, d Dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(string(d), name+"-"+guid))
	if errors.Is(err, os.ErrNotExist) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSet(t *testing.T) {
	d := Dir(t.TempDir())
	const nvbsrt = 7
	steps := []struct {
		name, guid string
		attributes uint32
		data       string
		want       error
		holds      string
	}{
		{"A", guid, nvbsrt, "one", nil, "\x07\x00\x00\x00one"},
		{"A", guid, nvbsrt, "one", nil, "\x07\x00\x00\x00one"},
		{"A", guid, 6, "two", ErrExists, "\x07\x00\x00\x00one"},
		{"A", guid, 0, "", nil, "none"},
		{"A", guid, nvbsrt, "", nil, "none"},
		{"B", guid, 6, "x", ErrVolatile, "none"},
		{"B", guid, 3, "x", ErrBootOnly, "none"},
		{"B", guid, 7 | 0x20, "x", ErrAuthenticated, "none"},
		{"B", strings.ToUpper(guid), nvbsrt, "x", ErrName, "none"},
		{"../B", guid, nvbsrt, "x", ErrName, "none"},
		{"", guid, nvbsrt, "x", ErrName, "none"},
		{strings.Repeat("n", 300), guid, nvbsrt, "x", ErrName, "none"},
		{"B", guid, nvbsrt, strings.Repeat("x", 1<<20+1), os.ErrInvalid, "none"},
	}
	for i, s := range steps {
		err := d.Set(s.name, s.guid, s.attributes, []byte(s.data))
		if !errors.Is(err, s.want) || (err == nil) != (s.want == nil) {
			t.Errorf("step %d: Set(%.10q, %#x) = %v, want %v", i, s.name, s.attributes, err, s.want)
		}
		if len(s.name) > 0 && len(s.name) < 100 {
			if got := read(t, d, filepath.Base(s.name)); got != s.holds {
				t.Errorf("step %d: the file holds %.80q, want %q", i, got, s.holds)
			}
		}
	}
	if err := Dir(filepath.Join(string(d), "nowhere")).Set("A", guid, nvbsrt, []byte("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Set(not mounted) = %v, want %v", err, os.ErrNotExist)
	}
}

// A write that firmware refuses leaves an empty file behind, which is
// immutable: the next write must get past that, and leave it so. Where files
// cannot be immutable (no root, no such file system) the first is proven only.
func TestSetEmptyImmutable(t *testing.T) {
	d := Dir(t.TempDir())
	f, err := os.Create(filepath.Join(string(d), "A-"+guid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = unix.Immutable(f, true)
	can := err == nil
	defer unix.Immutable(f, false)
	if err := d.Set("A", guid, 7, []byte("one")); err != nil {
		t.Errorf("Set(empty file, immutable: %v) = %v", can, err)
	}
	if got, want := read(t, d, "A"), "\x07\x00\x00\x00one"; got != want {
		t.Errorf("the file holds %q, want %q", got, want)
	}
	if was, err := unix.Immutable(f, false); err != nil || was != can {
		t.Errorf("the file is immutable: %v, %v, want %v", was, err, can)
	}
}
