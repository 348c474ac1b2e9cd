// SPDX-License-Identifier: Apache-2.0

package keyset

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/esl"
)

func at() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// efitools read our lists and write the same updates.
func TestEFITools(t *testing.T) {
	for _, typ := range []string{"rsa2048", "rsa3072"} {
		s, err := New(Options{Name: "test", Type: typ, Time: at()})
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Files()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		files := map[string][]byte{}
		for _, f := range list {
			files[f.Name] = f.Data
			if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range []struct{ name, by, vendor string }{{"PK", "PK", esl.GlobalVariable}, {"KEK", "PK", esl.GlobalVariable}, {"db", "KEK", esl.ImageSecurityDatabase}} {
			out := filepath.Join(dir, "theirs.esl")
			testkit.Run(t, dir, "cert-to-efi-sig-list", "-g", s.Owner.String(), v.name+".pem", out)
			if got := testkit.ReadFile(t, out); !bytes.Equal(got, files[v.name+".esl"]) {
				t.Errorf("%s.esl differs from cert-to-efi-sig-list's", v.name)
			}
			out = filepath.Join(dir, "theirs.auth")
			testkit.Run(t, dir, "sign-efi-sig-list", "-t", "2026-01-02 03:04:05", "-g", v.vendor, "-k", v.by+".key", "-c", v.by+".pem", v.name, v.name+".esl", out)
			theirs, err := esl.ParseAuth(testkit.ReadFile(t, out))
			if err != nil {
				t.Fatal(err)
			}
			ours, err := esl.ParseAuth(files[v.name+".auth"])
			if err != nil {
				t.Fatal(err)
			}
			if !ours.Time.Equal(at()) || !bytes.Equal(ours.Contents, files[v.name+".esl"]) || !bytes.Equal(ours.Contents, theirs.Contents) {
				t.Errorf("%s.auth: time %v, contents of %d bytes, want %v and %d", v.name, ours.Time, len(ours.Contents), at(), len(theirs.Contents))
			}
			// PKCS #1 v1.5 over the same bytes gives the same value; it is
			// the last element of the message.
			sizes := map[string]int{"rsa2048": 256, "rsa3072": 384}
			n := sizes[typ]
			if !bytes.Equal(ours.CMS[len(ours.CMS)-n:], theirs.CMS[len(theirs.CMS)-n:]) {
				t.Errorf("%s.auth: signature differs from sign-efi-sig-list's", v.name)
			}
		}
		if u, err := esl.ParseAuth(files["PK-delete.auth"]); err != nil || len(u.Contents) != 0 || !u.Time.After(at()) {
			t.Errorf("PK-delete.auth = %+v, %v, want empty contents and a later time", u, err)
		}
		// virt-fw-vars enrols them into a variable store.
		store := filepath.Join(dir, "VARS.fd")
		testkit.Run(t, dir, "virt-fw-vars", "--input", testkit.Firmware(t, "amd64", false).Vars, "--output", store,
			"--set-pk", s.Owner.String(), "PK.pem", "--add-kek", s.Owner.String(), "KEK.pem", "--add-db", s.Owner.String(), "db.pem")
	}
}

func TestGenerate(t *testing.T) {
	for _, typ := range []string{"", "ecdsa256", "ecdsa384"} {
		k, err := Generate("signer", Options{Type: typ, Time: at(), Valid: time.Hour})
		if err != nil {
			t.Fatalf("Generate(%q) = %v", typ, err)
		}
		key, cert, err := PEM(k)
		if err != nil {
			t.Fatal(err)
		}
		again, err := sign.ParsePair(key, cert)
		if err != nil || !again.Certificate.Equal(k.Certificate) {
			t.Errorf("ParsePair(PEM(%q)) = %v, %v", typ, again.Certificate, err)
		}
		if c := k.Certificate; !c.NotBefore.Equal(at()) || !c.NotAfter.Equal(at().Add(time.Hour)) || c.IsCA || len(c.SubjectKeyId) != 20 {
			t.Errorf("Generate(%q) = valid %v to %v, CA %v, key id %x", typ, c.NotBefore, c.NotAfter, c.IsCA, c.SubjectKeyId)
		}
		p := testkit.WriteFile(t, "cert.pem", cert)
		if out := string(testkit.Run(t, "", "openssl", "x509", "-in", p, "-noout", "-subject", "-ext", "extendedKeyUsage")); !strings.Contains(out, "Code Signing") {
			t.Errorf("openssl x509 = %s, want code signing", out)
		}
	}
	for _, o := range []Options{{Type: "dsa", Time: at()}, {}} {
		if _, err := Generate("x", o); err == nil {
			t.Errorf("Generate(%+v) = nil, want an error", o)
		}
	}
	if _, err := Generate(strings.Repeat("x", 65), Options{Time: at()}); err == nil {
		t.Error("Generate(long subject) = nil, want an error")
	}
}

// elsewhere is a key that is not in memory.
type elsewhere struct{ crypto.Signer }

func (elsewhere) MarshalPEM() ([]byte, error) { return []byte("a reference"), nil }

// Keys made elsewhere sign certificates and updates; their files hold what
// they say of themselves.
func TestNewSigner(t *testing.T) {
	types := 0
	s, err := New(Options{Time: time.Unix(1e9, 0), Type: "ecdsa256", NewSigner: func(typ string) (crypto.Signer, error) {
		if typ == "ecdsa256" {
			types++
		}
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		return elsewhere{k}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Secret && string(f.Data) != "a reference" {
			t.Errorf("%s = %q, want what the key says", f.Name, f.Data)
		}
	}
	if types != 3 {
		t.Errorf("NewSigner was asked %d times for ecdsa256, want 3", types)
	}
	refused := errors.New("no room")
	if _, err := New(Options{Time: time.Unix(1e9, 0), NewSigner: func(string) (crypto.Signer, error) { return nil, refused }}); !errors.Is(err, refused) {
		t.Errorf("New = %v, want %v", err, refused)
	}
}
