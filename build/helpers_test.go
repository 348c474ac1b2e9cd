// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
)

// builder is any of the descriptions.
type builder interface {
	Build(context.Context) (*Image, error)
}

// write builds an image into a file and returns its path.
func write(t testing.TB, b builder, sigs ...Signature) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "out.efi")
	if err := tryWrite(t, b, p, sigs...); err != nil {
		t.Fatal(err)
	}
	return p
}

func tryWrite(t testing.TB, b builder, path string, sigs ...Signature) error {
	t.Helper()
	im, err := b.Build(context.Background())
	if err != nil {
		return err
	}
	for _, n := range im.Notes {
		t.Logf("note: %s", n)
	}
	if err := im.WriteFile(context.Background(), path, FileOptions{Sign: sigs}); err != nil {
		if cerr := im.Close(); cerr != nil {
			t.Error(cerr)
		}
		return err
	}
	return im.Close()
}

// layoutBytes returns the image that a builder of package pe makes.
func layoutBytes(t testing.TB, b *pe.Builder) []byte {
	t.Helper()
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func parsePE(t testing.TB, path string) *pe.File {
	t.Helper()
	f, err := pe.Parse(testkit.ReadFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// contentsOf returns name and contents of each section the table knows.
func contentsOf(f *pe.File) (out []NamedContent) {
	for _, s := range f.Sections {
		if _, ok := uki.RuleFor(s.Name); ok {
			out = append(out, NamedContent{s.Name, Bytes(f.Data(s))})
		}
	}
	return out
}

// leftovers fails the test when a directory holds anything.
func leftovers(t testing.TB, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		t.Errorf("%s was left behind", e.Name())
	}
}
