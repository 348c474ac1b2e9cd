// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// seeds are key files that a software TPM made for OpenSSL (rsa, p384) and a damaged one.
func seeds(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	for _, n := range []string{"rsa2048.pem", "p384-password.pem", "description.pem"} {
		out = append(out, testkit.ReadFile(t, filepath.Join("testdata", n)))
	}
	return append(out, out[0][:len(out[0])/2], nil)
}

// What can be read can be written and read again.
func FuzzParseFile(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseFile(b)
		if err != nil {
			if !errors.Is(err, ErrFile) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("ParseFile = %v, an error of no kind", err)
			}
			return
		}
		if p, err := parsePublic(k.Public); err == nil && p.key == nil {
			t.Error("parsePublic gave no key and no error")
		}
		out, err := k.MarshalPEM()
		if err != nil {
			t.Fatalf("MarshalPEM of a parsed file = %v", err)
		}
		again, err := ParseFile(out)
		if err != nil || again.Parent != k.Parent || !bytes.Equal(again.Public, k.Public) || !bytes.Equal(again.Private, k.Private) {
			t.Errorf("ParseFile(MarshalPEM) = %+v, %v, want %+v", again, err, k)
		}
	})
}

// FuzzAnswers lets a TPM answer anything.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x01"), uint8(1))
	f.Add([]byte("\x80\x02\x00\x00\x00\x20\x00\x00\x00\x00\x80\x00\x00\x01\x00\x00\x00\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, answer []byte, times uint8) {
		file := testkit.ReadFile(t, "testdata/rsa2048.pem")
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			in := make([]byte, 4096)
			for range times % 8 {
				if len(answer) == 0 {
					return // rather than waiting for each other
				}
				if _, err := c.Read(in); err != nil {
					return
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
		k, err := Load(file, Options{Device: path})
		if err != nil {
			t.Fatal(err)
		}
		if sig, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil {
			t.Errorf("Sign = %x, of a TPM that knows nothing", sig)
		}
	})
}

// The sizes in front of both halves must be theirs.
func TestLoadWrongSizes(t *testing.T) {
	good, err := ParseFile(testkit.ReadFile(t, "testdata/rsa2048.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*File){
		"public too long":  func(f *File) { f.Public = append(bytes.Clone(f.Public), 0) },
		"private too long": func(f *File) { f.Private = append(bytes.Clone(f.Private), 0) },
		"private cut":      func(f *File) { f.Private = f.Private[:len(f.Private)-1] },
		"no private":       func(f *File) { f.Private = nil },
	} {
		f := *good
		change(&f)
		b, err := f.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(b, Options{}); !errors.Is(err, ErrFile) {
			t.Errorf("Load(%s) = %v, want %v", name, err, ErrFile)
		}
	}
}
