// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// File is a file of an initramfs.
type File struct {
	Name string // without a leading slash
	Mode os.FileMode
	Data []byte // of a symbolic link: its target
}

// Exec is an executable file made of the file at a path.
func Exec(t testing.TB, name, from string) File {
	t.Helper()
	return File{Name: name, Mode: 0o755, Data: ReadFile(t, from)}
}

// Plain is a file with the contents given.
func Plain(name string, data []byte) File { return File{Name: name, Mode: 0o644, Data: data} }

// Initramfs returns a newc archive with the files and the directories they need.
func Initramfs(t testing.TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	ino := 0
	entry := func(name string, mode uint32, data []byte) {
		ino++
		// newc: magic, then 13 fields of eight hexadecimal digits; name and data padded to four bytes.
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		b.Write(make([]byte, -b.Len()&3))
		b.Write(data)
		b.Write(make([]byte, -b.Len()&3))
	}
	dirs := []string{}
	for _, f := range files {
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			if strings.HasPrefix(f.Name, "/") {
				t.Fatalf("initramfs file %q: leading slash", f.Name)
			}
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	for _, d := range slices.Compact(dirs) {
		entry(d, 0o040755, nil)
	}
	for _, f := range files {
		mode := uint32(f.Mode.Perm()) | 0o100000
		if f.Mode&os.ModeSymlink != 0 {
			mode = 0o120777
		}
		entry(f.Name, mode, f.Data)
	}
	entry("TRAILER!!!", 0, nil)
	return b.Bytes()
}

// Gzip compresses an archive.
func Gzip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
