// SPDX-License-Identifier: Apache-2.0

package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

// put writes a file below root.
func put(t *testing.T, root, name string, b []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func rules(t *testing.T, r Request) *Rules {
	t.Helper()
	got, err := r.Rules()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestMode(t *testing.T) {
	key := testkit.NewKey(t, "site")
	plain, secure := machinetest.Machine(t, "x86-bios"), machinetest.Machine(t, "x86-secureboot")
	empty, withKey, withFile := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, withKey, "etc/peel/keys.d/site.pem", testkit.ReadFile(t, key.CertPEM))
	put(t, withFile, "etc/peel/policy.toml", []byte("mode = \"enforce\"\n"))
	for _, c := range []struct {
		name    string
		r       Request
		want    trust.Mode
		because string
	}{
		{"nothing known", Request{Root: empty}, trust.Warn, "no keys given"},
		{"Secure Boot", Request{Root: empty, Machine: secure}, trust.Enforce, "Secure Boot is on"},
		{"no Secure Boot", Request{Root: empty, Machine: plain}, trust.Warn, "Secure Boot is off"},
		{"--cert", Request{Root: empty, Machine: plain, Certs: []string{key.CertPEM}}, trust.Enforce, "keys were given"},
		{"keys.d", Request{Root: withKey, Machine: plain}, trust.Enforce, "keys were given"},
		{"file", Request{Root: withFile, Machine: plain}, trust.Enforce, "policy.toml"},
		{"flag over file", Request{Root: withFile, Machine: plain, Mode: "off"}, trust.Off, "--policy"},
		{"firmware", Request{Root: empty, Machine: plain, Firmware: true}, trust.Enforce, "firmware"},
	} {
		v := rules(t, c.r).Verifier
		if v.Policy.Mode != c.want || !strings.Contains(v.Policy.Origin["mode"], c.because) {
			t.Errorf("%s: mode %s because %q, want %s because of %q", c.name, v.Policy.Mode, v.Policy.Origin["mode"], c.want, c.because)
		}
	}
}

// The lists of a machine allow only where nobody gave a key; they deny always.
func TestLists(t *testing.T) {
	key, db, dbx := testkit.NewKey(t, "site"), testkit.NewKey(t, "db"), testkit.NewKey(t, "dbx")
	dir := t.TempDir()
	put(t, dir, "sys/firmware/efi/efivars/keep", nil)
	vars := filepath.Join(dir, "sys/firmware/efi/efivars")
	put(t, vars, "db.der", testkit.ReadFile(t, db.CertDER))
	put(t, vars, "dbx.der", testkit.ReadFile(t, dbx.CertDER))
	names := func(ls []trust.List) string {
		var out []string
		for _, l := range ls {
			out = append(out, l.Name)
		}
		return strings.Join(out, " ")
	}
	v := rules(t, Request{Root: dir, Certs: []string{key.CertPEM}}).Verifier
	if got, want := names(v.Keys.Allow), "--cert "+key.CertPEM; got != want {
		t.Errorf("with --cert: allow = %q, want %q", got, want)
	}
	if got := names(v.Keys.Deny); got != "dbx" {
		t.Errorf("with --cert: deny = %q, want dbx", got)
	}
	v = rules(t, Request{Root: dir}).Verifier
	if got := names(v.Keys.Allow); got != "db" {
		t.Errorf("without keys: allow = %q, want db", got)
	}
	v = rules(t, Request{Root: t.TempDir(), Variables: vars, Certs: []string{key.CertPEM}}).Verifier
	if got := names(v.Keys.Allow); got != "--cert "+key.CertPEM+" db" {
		t.Errorf("with --efivars: allow = %q, want both", got)
	}
}

func TestUnreadable(t *testing.T) {
	broken := t.TempDir()
	put(t, broken, "etc/peel/revoked.d/x.pem", []byte("no certificate"))
	typo := t.TempDir()
	put(t, typo, "etc/peel/policy.toml", []byte("mod = \"off\"\n"))
	for name, r := range map[string]Request{
		"no such certificate": {Root: t.TempDir(), Certs: []string{"/none"}},
		"no such directory":   {Root: t.TempDir(), Keyrings: []string{"/none"}},
		"no such policy":      {Root: t.TempDir(), PolicyFile: "/none"},
		"broken denial":       {Root: broken},
		"misspelt key":        {Root: typo},
		"no such mode":        {Root: t.TempDir(), Mode: "perhaps"},
		"no such level":       {Root: t.TempDir(), SBATLevel: "/none"},
	} {
		if got, err := r.Rules(); err == nil {
			t.Errorf("%s: Rules() = %+v, want an error", name, got)
		}
	}
}
