// SPDX-License-Identifier: Apache-2.0

package appended_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/appended"
)

func TestSplit(t *testing.T) {
	content, cms := []byte("the file"), []byte("message")
	file, err := appended.Append(content, cms)
	if err != nil {
		t.Fatal(err)
	}
	s, err := appended.Split(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.Content, content) || !bytes.Equal(s.CMS, cms) || s.Offset != uint64(len(content)) {
		t.Errorf("Split() = %q, %q at %d, want %q, %q", s.Content, s.CMS, s.Offset, content, cms)
	}

	block := len(content) + len(cms)
	edit := func(i int, b byte) []byte {
		out := append([]byte(nil), file...)
		out[block+i] = b
		return out
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"no marker", content, appended.ErrNone},
		{"empty", nil, appended.ErrNone},
		{"marker without final newline", file[:len(file)-1], appended.ErrNone},
		{"byte after the marker", append(file[:len(file):len(file)], 0), appended.ErrNone},
		{"marker only", []byte(appended.Marker), appended.ErrTrailer},
		{"algo", edit(0, 1), appended.ErrTrailer},
		{"hash", edit(1, 1), appended.ErrTrailer},
		{"id type of PGP", edit(2, 0), appended.ErrTrailer},
		{"id type of X.509", edit(2, 1), appended.ErrTrailer},
		{"signer length", edit(3, 1), appended.ErrTrailer},
		{"key id length", edit(4, 1), appended.ErrTrailer},
		{"padding", edit(7, 1), appended.ErrTrailer},
		{"size 4 GiB", edit(8, 0xff), appended.ErrTrailer},
		{"size beyond the file", edit(11, byte(block+1)), appended.ErrTrailer},
		{"size of the whole file", edit(11, byte(block)), appended.ErrTrailer},
		{"size 0", edit(11, 0), appended.ErrTrailer},
	} {
		if _, err := appended.Split(c.b); !errors.Is(err, c.want) {
			t.Errorf("Split(%s) = %v, want %v", c.name, err, c.want)
		}
	}
}

// The kernel's own tool writes what Split reads.
func TestSignFile(t *testing.T) {
	k := testkit.NewCA(t, "signer")
	content := bytes.Repeat([]byte("module"), 100)
	in := testkit.WriteFile(t, "in", content)
	out := filepath.Join(t.TempDir(), "out")
	testkit.Run(t, "", "sign-file", "sha256", k.KeyPEM, k.CertDER, in, out)
	file := testkit.ReadFile(t, out)
	s, err := appended.Split(file)
	if err != nil || !bytes.Equal(s.Content, content) {
		t.Fatalf("Split(sign-file) = %+v, %v, want the contents", s, err)
	}
	again, err := appended.Append(s.Content, s.CMS)
	if err != nil || !bytes.Equal(again, file) {
		t.Errorf("Append(Split(sign-file)) differs from what sign-file wrote, %v", err)
	}
}

// A real module out of a Debian package.
func TestDebianModule(t *testing.T) {
	b := testkit.Module(t, testkit.KernelImage(t, "amd64", "6.12"), "efivarfs")
	s, err := appended.Split(b)
	if err != nil || !bytes.HasPrefix(s.Content, []byte("\x7fELF")) || s.CMS[0] != 0x30 {
		t.Errorf("Split(efivarfs.ko) = %+v, %v, want ELF and CMS", s, err)
	}
}

func FuzzTrailer(f *testing.F) {
	b, err := appended.Append([]byte("file"), []byte("cms"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(appended.Marker))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := appended.Split(b)
		if err != nil {
			return
		}
		again, err := appended.Append(s.Content, s.CMS)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("Append(Split(%x)) = %x, %v", b, again, err)
		}
	})
}
