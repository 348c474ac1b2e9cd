// SPDX-License-Identifier: Apache-2.0

// Package machinetest gives tests the recordings of machines that lie in
// machine/testdata, as file systems that a test may edit before it reads them.
//
// In: the name of a recording. Out: a map of its files, or the Machine. It is
// for tests only and must never be imported by anything else.
package machinetest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/machine"
)

// Names returns the names of all recordings, sorted.
func Names(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir(t), "*.tar.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", dir(t), err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".tar.gz"))
	}
	return names
}

// FS returns a fresh copy of the recording testdata/NAME.tar.gz.
func FS(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	f, err := os.Open(filepath.Join(dir(t), name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fsys, err := Unpack(f)
	if err != nil {
		t.Fatalf("recording %s: %v", name, err)
	}
	return fsys
}

// Machine reads a recording.
func Machine(t testing.TB, name string) *machine.Machine {
	t.Helper()
	return machine.ReadFS(FS(t, name))
}

// Unpack reads a gzipped tar archive of regular files and directories.
func Unpack(r io.Reader) (fstest.MapFS, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	out := fstest.MapFS{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
		switch h.Typeflag {
		case tar.TypeDir:
			out[name] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		case tar.TypeReg:
			b, err := io.ReadAll(tr)
			if err != nil {
				return nil, err
			}
			out[name] = &fstest.MapFile{Data: b, Mode: 0o644}
		}
	}
}

// Pack writes a recording as a gzipped tar archive, the same bytes for the
// same recording.
func Pack(w io.Writer, files []machine.RecordedFile) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: f.Path, Mode: 0o644, Size: int64(len(f.Data)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if f.Dir {
			h.Name, h.Mode, h.Typeflag = f.Path+"/", 0o755, tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(f.Data); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), z.Close())
}

// Set writes a text file into a recording.
func Set(fsys fstest.MapFS, path, text string) {
	fsys[path] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
}

// dir finds machine/testdata from any package of the module.
func dir(t testing.TB) string {
	t.Helper()
	d, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return filepath.Join(d, "machine", "testdata")
		}
		if filepath.Dir(d) == d {
			t.Fatal("not below the module's root directory")
		}
		d = filepath.Dir(d)
	}
}
