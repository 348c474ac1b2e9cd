// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// A source of a password that gives none must not make a key without one.
func TestEmptyPIN(t *testing.T) {
	t.Setenv("EMPTY_PIN", "")
	for source, want := range map[string]int{
		testkit.WriteFile(t, "empty", nil): 1, testkit.WriteFile(t, "line", []byte("\r\n")): 1, "env:EMPTY_PIN": 2,
	} {
		call(t, "keygen", "-o", t.TempDir(), "--single", "x", "--tpm="+filepath.Join(t.TempDir(), "none"), "--pin-source", source).
			want(t, "keygen with an empty password", want, "is empty")
	}
}

// Messages name keys without the PIN that a URI may hold.
func TestKeyName(t *testing.T) {
	for in, want := range map[string]string{
		"db.key":                      "db.key",
		"pin-value=.key":              "pin-value=.key",
		"pkcs11:token=a":              "pkcs11:token=a",
		"pkcs11:token=a?pin-value=12": "pkcs11:token=a?pin-value=...",
		"PKCS11:a?pin-value=12&module-name=b&pin-value=3": "PKCS11:a?pin-value=...&module-name=b&pin-value=...",
	} {
		if got := keyName(in); got != want {
			t.Errorf("keyName(%q) = %q, want %q", in, got, want)
		}
	}
}
