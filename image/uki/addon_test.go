// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"errors"
	"testing"

	"github.com/peelboot/peel/image/pe"
)

func TestCheckAddon(t *testing.T) {
	img := pieces(t, ".linux", "k", ".uname", "6.1", ".profile", "ID=a", ".profile", "ID=b", ".uname", "6.2")
	raw := func(s ...string) []byte { return pieces(t, s...).Raw }
	other := pe.NewBuilder(pe.Options{Machine: 0xaa64})
	if err := other.Add(pe.NewSection{Name: ".cmdline", Data: [][]byte{[]byte("x")}}); err != nil {
		t.Fatal(err)
	}
	l, err := other.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var arm bytes.Buffer
	if _, err := l.WriteTo(&arm); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, profile string
		addon         []byte
		want          error
	}{
		{"no uname", "", raw(".cmdline", "x"), nil},
		{"same uname", "", raw(".cmdline", "x", ".uname", "6.1"), nil},
		{"uname of another profile", "", raw(".cmdline", "x", ".uname", "6.2"), ErrAddon},
		{"uname of the profile", "b", raw(".cmdline", "x", ".uname", "6.2"), nil},
		{"uname of the profile by number", "1", raw(".cmdline", "x", ".uname", "6.2\x00"), nil},
		{"no such profile", "c", raw(".cmdline", "x"), ErrProfile},
		{"a UKI", "", raw(".linux", "x"), ErrAddon},
		{"nothing to add", "", raw(".sbat", "x"), ErrAddon},
		{"profiles", "", raw(".cmdline", "x", ".profile", "ID=x"), ErrAddon},
		{"twice", "", raw(".cmdline", "x", ".cmdline", "y"), ErrAddon},
		{"text", "", []byte("text"), ErrAddon},
		{"another machine", "", arm.Bytes(), ErrAddon},
	} {
		if err := CheckAddon(img, c.profile, c.addon); !errors.Is(err, c.want) {
			t.Errorf("%s: CheckAddon() = %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzCheckAddon(f *testing.F) {
	img := pieces(f, ".linux", "k", ".uname", "6.1", ".profile", "ID=a")
	f.Add(pieces(f, ".cmdline", "x", ".uname", "6.1").Raw, "")
	f.Add([]byte("MZ"), "a")
	f.Fuzz(func(t *testing.T, b []byte, profile string) {
		if err := CheckAddon(img, profile, b); err == nil && IsUKI(must(t, b)) {
			t.Error("CheckAddon() takes a UKI")
		}
	})
}

func must(t *testing.T, b []byte) *pe.File {
	t.Helper()
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
