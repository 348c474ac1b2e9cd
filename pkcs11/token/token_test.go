// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/peelboot/peel/pkcs11/serve"
)

// What needs a token is tested with SoftHSM in peel's own cmd/peel.

func code(err error) string {
	var e *serve.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "none"
}

func TestOpenErrors(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"pkcs12:": "none", "pkcs11:?pin-source=/nonexistent": serve.CodePIN, "pkcs11:?module-path=/nonexistent.so": serve.CodeToken,
		"pkcs11:?module-path=" + text: serve.CodeToken, "pkcs11:?module-name=a%2Fb": serve.CodeToken, "pkcs11:?module-name=nonexistent": serve.CodeToken,
	} {
		if k, err := Open(uri, ""); err == nil || code(err) != want {
			t.Errorf("Open(%q) = %v, %v, want an error with code %q", uri, k, err, want)
		}
	}
	t.Setenv(ModuleVar, text)
	if _, err := Open("pkcs11:", ""); code(err) != serve.CodeToken {
		t.Errorf("Open with %s=%s = %v, want code %q", ModuleVar, text, err, serve.CodeToken)
	}
}

func TestExplain(t *testing.T) {
	for err, want := range map[uint]string{
		pkcs11.CKR_PIN_LOCKED: serve.CodePIN, pkcs11.CKR_DEVICE_REMOVED: serve.CodeToken, pkcs11.CKR_MECHANISM_INVALID: serve.CodeUnsupported, pkcs11.CKR_GENERAL_ERROR: "",
	} {
		if got := code(explain("x", pkcs11.Error(err))); got != want {
			t.Errorf("explain(0x%x) has code %q, want %q", err, got, want)
		}
	}
}

// Modules give points with and without their wrapping.
func TestECKey(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := asn1.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 132, 0, 34})
	if err != nil {
		t.Fatal(err)
	}
	k1, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 132, 0, 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range [][]byte{raw, wrapped} {
		if got, err := ecKey(p384, point); err != nil || !got.Equal(&k.PublicKey) {
			t.Errorf("ecKey(%x) = %v, %v", point, got, err)
		}
	}
	for _, c := range [][2][]byte{{p384, raw[:10]}, {p384, nil}, {k1, raw}, {nil, raw}} {
		if got, err := ecKey(c[0], c[1]); err == nil {
			t.Errorf("ecKey(%x, %x) = %v, want an error", c[0], c[1], got)
		}
	}
}

func TestSignErrors(t *testing.T) {
	k := &Key{pub: &ecdsa.PublicKey{Curve: elliptic.P256()}}
	for _, c := range []struct {
		scheme, hash string
		size         int
	}{{"rsa-pkcs1v15", "sha256", 32}, {"ecdsa", "md5", 16}, {"ecdsa", "sha256", 31}, {"", "sha256", 32}} {
		if _, err := k.Sign(c.scheme, c.hash, make([]byte, c.size)); code(err) != serve.CodeUnsupported {
			t.Errorf("Sign(%q, %q, %d bytes) = %v, want code %q", c.scheme, c.hash, c.size, err, serve.CodeUnsupported)
		}
	}
}

// A token without a login may have a key that wants a PIN all the same.
func TestSignWithoutPIN(t *testing.T) {
	k := &Key{pub: &ecdsa.PublicKey{Curve: elliptic.P256()}, always: true}
	if _, err := k.Sign("ecdsa", "sha256", make([]byte, 32)); code(err) != serve.CodePIN {
		t.Errorf("Sign(no PIN) = %v, want code %q", err, serve.CodePIN)
	}
}
