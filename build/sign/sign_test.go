// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/cms"
	"github.com/peelboot/peel/trust/esl"
)

// token signs like a key that is somewhere else: nothing but crypto.Signer.
type token struct{ key crypto.Signer }

func (t token) Public() crypto.PublicKey { return t.key.Public() }
func (t token) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if r == nil {
		return nil, errors.New("token: no random numbers")
	}
	return t.key.Sign(r, digest, o)
}

func TestToken(t *testing.T) {
	for _, k := range []*testkit.Key{testkit.NewKey(t, "rsa"), testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec", ECDSA: true})} {
		b := signPE(t, smallPE(t), Key{Signer: token{k.Signer}, Certificate: k.Cert}, Options{}, false)
		list, err := authenticode.Read(parse(t, b))
		if err != nil || len(list) != 1 || list[0].Err != nil {
			t.Fatalf("authenticode.Read = %+v, %v", list, err)
		}
		if err := list[0].CheckSigner(k.Cert); err != nil {
			t.Errorf("CheckSigner = %v", err)
		}
	}
}

func TestKeyErrors(t *testing.T) {
	k, other := testkit.NewKey(t, "a"), testkit.NewKey(t, "b")
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  Key
		want error
	}{
		"nothing":     {Key{}, ErrKey},
		"other's":     {Key{Signer: k.Signer, Certificate: other.Cert}, ErrKey},
		"ed25519":     {Key{Signer: edKey, Certificate: &x509.Certificate{PublicKey: edKey.Public()}}, ErrAlgorithm},
		"odd curve":   {Key{Signer: p224, Certificate: &x509.Certificate{PublicKey: p224.Public()}}, ErrAlgorithm},
		"no key bits": {Key{Signer: k.Signer}, ErrKey},
	} {
		if err := c.key.Check(); !errors.Is(err, c.want) {
			t.Errorf("Check(%s) = %v, want %v", name, err, c.want)
		}
		if _, err := Authenticode(parse(t, smallPE(t)), c.key, Options{}); !errors.Is(err, c.want) {
			t.Errorf("Authenticode(%s) = %v, want %v", name, err, c.want)
		}
		if _, err := IMA(make([]byte, 32), crypto.SHA256, c.key); !errors.Is(err, c.want) {
			t.Errorf("IMA(%s) = %v, want %v", name, err, c.want)
		}
	}
	good := keyOf(k)
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.MD5, crypto.SHA3_256} {
		if _, err := Detached(nil, good, Options{Hash: h}); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("Detached(%v) = %v, want %v", h, err, ErrAlgorithm)
		}
	}
	if _, err := DetachedDigest(make([]byte, 20), good, Options{}); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("DetachedDigest(20 bytes) = %v, want %v", err, ErrAlgorithm)
	}
	if _, err := Detached(nil, good, Options{KeyID: true}); !errors.Is(err, ErrKey) {
		t.Errorf("Detached(no key id) = %v, want %v", err, ErrKey)
	}
	if _, err := IMAVerity(make([]byte, 48), crypto.SHA384, good); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("IMAVerity(SHA-384) = %v, want %v", err, ErrAlgorithm)
	}
}

func TestParsePair(t *testing.T) {
	k, ec := testkit.NewKey(t, "rsa"), testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec", ECDSA: true})
	cert := testkit.ReadFile(t, k.CertPEM)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	trad := testkit.Run(t, "", "openssl", "pkey", "-traditional", "-in", k.KeyPEM)
	sec1 := testkit.Run(t, "", "openssl", "pkey", "-traditional", "-in", ec.KeyPEM)
	locked := testkit.Run(t, "", "openssl", "pkey", "-aes128", "-passout", "pass:x", "-in", k.KeyPEM)
	for _, c := range []struct {
		name      string
		key, cert []byte
		want      error
	}{
		{"PEM", testkit.ReadFile(t, k.KeyPEM), cert, nil},
		{"DER", pkcs8, k.Cert.Raw, nil},
		{"PKCS #1", trad, cert, nil},
		{"SEC 1", sec1, testkit.ReadFile(t, ec.CertPEM), nil},
		{"chain", pkcs8, append(bytes.Clone(cert), testkit.ReadFile(t, ec.CertPEM)...), nil},
		{"encrypted", locked, cert, ErrKey},
		{"other's", testkit.ReadFile(t, ec.KeyPEM), cert, ErrKey},
		{"text", []byte("text"), cert, ErrKey},
		{"certificate as key", cert, cert, ErrKey},
		{"key as certificate", pkcs8, trad, ErrKey},
		{"empty", nil, nil, ErrKey},
		{"too long", make([]byte, MaxKeyFile+1), cert, ErrKey},
		{"broken certificate", pkcs8, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), ErrKey},
	} {
		p, err := ParsePair(c.key, c.cert)
		if !errors.Is(err, c.want) || err == nil && c.name == "chain" && len(p.Chain) != 1 {
			t.Errorf("ParsePair(%s) = %d in the chain, %v, want %v", c.name, len(p.Chain), err, c.want)
		}
	}
}

func TestAuthErrors(t *testing.T) {
	k := keyOf(testkit.NewKey(t, "KEK"))
	var g esl.GUID
	for name, u := range map[string]Update{
		"no name":  {Vendor: g, Time: time.Unix(1, 0)},
		"too long": {Name: "db", Time: time.Unix(1, 0), Contents: make([]byte, esl.MaxSize+1)},
		"year 0":   {Name: "db"},
	} {
		if _, err := Auth(u, k); !errors.Is(err, ErrLimit) {
			t.Errorf("Auth(%s) = %v, want %v", name, err, ErrLimit)
		}
	}
}

// A time of signing is the one given, and the message stays readable beyond
// the range of UTCTime.
func TestSigningTime(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	for _, at := range []time.Time{time.Unix(1700000000, 0), time.Date(2055, 1, 1, 0, 0, 0, 0, time.UTC)} {
		m, err := Detached([]byte("x"), keyOf(k), Options{Time: at})
		if err != nil {
			t.Fatal(err)
		}
		sd, err := cms.Parse(m)
		if err != nil || !sd.Signers[0].SigningTime.Equal(at) {
			t.Errorf("signing time = %v, %v, want %v", sd.Signers[0].SigningTime, err, at)
		}
	}
}

// FuzzAttach gives hostile images to the signer: what it makes must parse and
// keep its digest.
func FuzzAttach(f *testing.F) {
	k := keyOf(testkit.NewKey(f, "signer"))
	small := smallPE(f)
	f.Add(small)
	f.Add(signPE(f, small, k, Options{}, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := pe.Parse(b)
		if err != nil {
			return
		}
		want, err := img.SigningDigest(crypto.SHA256)
		if err != nil {
			return
		}
		a, err := Attach(img, KeepAll, []byte("a message"))
		if err != nil {
			return
		}
		g, err := pe.Parse(a.Bytes())
		if err != nil {
			t.Fatalf("the image signed is none: %v", err)
		}
		if got, err := g.Digest(crypto.SHA256); err != nil || !bytes.Equal(got, want) {
			t.Errorf("digest %x, %v, want %x", got, err, want)
		}
		if g.CheckSum != pe.CheckSumOf(g) {
			t.Errorf("CheckSum = 0x%x, want 0x%x", g.CheckSum, pe.CheckSumOf(g))
		}
	})
}

// FuzzParsePair gives hostile files to the readers of keys.
func FuzzParsePair(f *testing.F) {
	k := testkit.NewKey(f, "signer")
	f.Add(testkit.ReadFile(f, k.KeyPEM), testkit.ReadFile(f, k.CertPEM))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n"), k.Cert.Raw)
	f.Fuzz(func(t *testing.T, key, cert []byte) {
		if p, err := ParsePair(key, cert); err == nil && p.Certificate == nil || err != nil && !strings.Contains(err.Error(), " ") {
			t.Errorf("ParsePair = %+v, %v", p, err)
		}
	})
}
