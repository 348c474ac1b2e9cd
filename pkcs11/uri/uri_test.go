// SPDX-License-Identifier: Apache-2.0

package uri

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte("12 34\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uri  string
		want map[string]string
		pin  string
	}{
		{"pkcs11:", map[string]string{}, ""},
		{"PKCS11:token=a", map[string]string{Token: "a"}, ""},
		// RFC 7512, section 3.
		{"pkcs11:object=my-pubkey;type=public", map[string]string{Object: "my-pubkey", Type: "public"}, ""},
		{"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-value=x%3Dy",
			map[string]string{Token: "The Software PKCS#11 Softtoken", Manufacturer: "Snake Oil, Inc.", ID: "\x69\x95\x3e\x5c\xf4\xbd\xec\x91", Serial: ""}, "x=y"},
		{"pkcs11:token=a;object=b?pin-source=file:" + pin, map[string]string{Object: "b"}, "12 34"},
		{"pkcs11:token=a?pin-source=" + pin + "&module-path=/lib/x.so&x-vendor=1", map[string]string{ModulePath: "/lib/x.so"}, "12 34"},
		{"pkcs11:slot-id=327", map[string]string{SlotID: "327"}, ""},
	} {
		u, err := Parse(c.uri)
		if err != nil {
			t.Errorf("Parse(%q) = %v", c.uri, err)
			continue
		}
		for name, want := range c.want {
			if got, ok := u.Get(name); !ok || got != want {
				t.Errorf("Parse(%q): %s = %q, %v, want %q", c.uri, name, got, ok, want)
			}
		}
		if got, err := u.PIN(); err != nil || got != c.pin {
			t.Errorf("PIN of %q = %q, %v, want %q", c.uri, got, err, c.pin)
		}
	}
	for _, s := range []string{"", "pkcs12:token=a", "pkcs11:token", "pkcs11:token=a;token=b", "pkcs11:colour=red", "pkcs11:x-site=1",
		"pkcs11:token=%zz", "pkcs11:token=%0a", "pkcs11:slot-id=-1", "pkcs11:type=secret-key", "pkcs11:token=a;", "pkcs11:?pin=1",
		"pkcs11:token=" + strings.Repeat("a", MaxLength)} {
		if _, err := Parse(s); !errors.Is(err, ErrURI) {
			t.Errorf("Parse(%.40q) = %v, want %v", s, err, ErrURI)
		}
	}
	for _, s := range []string{"pkcs11:?pin-source=/nonexistent/pin", "pkcs11:?pin-source=%7Ccat", "pkcs11:?pin-source=/dev/zero", "pkcs11:?pin-source=/dev/null", "pkcs11:?pin-source=/"} {
		u, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.PIN(); err == nil {
			t.Errorf("PIN of %q = nil, want an error", s)
		}
	}
}

// The end of a PIN whose "&" is not encoded does not get into a message.
func TestPINNotTold(t *testing.T) {
	if _, err := Parse("pkcs11:token=a?pin-value=12&secret"); !errors.Is(err, ErrURI) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Parse(PIN with &) = %v, want %v without the PIN", err, ErrURI)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pkcs11:token=a;id=%01?pin-value=1")
	f.Add("pkcs11:;")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrURI) {
				t.Errorf("Parse(%q) = %v, an error of no kind", s, err)
			}
			return
		}
		if len(u.attrs) > len(pathNames())+len(queryNames()) {
			t.Errorf("Parse(%q) knows %d attributes", s, len(u.attrs))
		}
	})
}
