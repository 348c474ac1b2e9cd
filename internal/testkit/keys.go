// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/internal/testkit/artefact"
)

// Key is a private key with its certificate, also as files that signing tools read.
type Key struct {
	Signer  crypto.Signer
	Cert    *x509.Certificate
	KeyPEM  string // path, PKCS #8
	CertPEM string // path
	CertDER string // path
}

// KeyOptions describe a key other than the usual one: RSA-2048, self-signed, for code signing, valid now.
type KeyOptions struct {
	CN      string
	Issuer  *Key // nil is self-signed
	CA      bool
	Bits    int  // of RSA; 0 is 2048
	ECDSA   bool // P-256 instead of RSA
	Expired bool
	Usage   []x509.ExtKeyUsage // nil is code signing; empty is none
}

// NewKey makes a self-signed code-signing key.
func NewKey(t testing.TB, cn string) *Key { return NewKeyWith(t, KeyOptions{CN: cn}) }

// NewCA makes a self-signed authority.
func NewCA(t testing.TB, cn string) *Key { return NewKeyWith(t, KeyOptions{CN: cn, CA: true}) }

// Issue makes a code-signing key under an authority.
func (k *Key) Issue(t testing.TB, cn string) *Key {
	return NewKeyWith(t, KeyOptions{CN: cn, Issuer: k})
}

// NewKeyWith makes a key as described.
func NewKeyWith(t testing.TB, o KeyOptions) *Key {
	t.Helper()
	if o.Bits == 0 {
		o.Bits = 2048
	}
	var signer crypto.Signer
	var err error
	if o.ECDSA {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		signer, err = rsa.GenerateKey(rand.Reader, o.Bits)
	}
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: o.CN, Organization: []string{"peel tests"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: o.Usage, BasicConstraintsValid: true, IsCA: o.CA,
	}
	if o.Usage == nil && !o.CA {
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	if o.CA {
		tmpl.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if o.Expired {
		tmpl.NotBefore, tmpl.NotAfter = now.AddDate(-3, 0, 0), now.AddDate(-2, 0, 0)
	}
	parent, by := tmpl, signer
	if o.Issuer != nil {
		parent, by = o.Issuer.Cert, o.Issuer.Signer
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, signer.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return keyFiles(t, signer, cert, pkcs8)
}

func keyFiles(t testing.TB, signer crypto.Signer, cert *x509.Certificate, pkcs8 []byte) *Key {
	t.Helper()
	dir := t.TempDir()
	k := &Key{Signer: signer, Cert: cert, KeyPEM: filepath.Join(dir, "key.pem"), CertPEM: filepath.Join(dir, "cert.pem"),
		CertDER: filepath.Join(dir, "cert.der")}
	for p, b := range map[string][]byte{
		k.KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		k.CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		k.CertDER: cert.Raw,
	} {
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// Snakeoil returns the key that the Secure Boot firmware of OVMF(t, true) trusts.
func Snakeoil(t testing.TB) *Key {
	t.Helper()
	keyPath, certPath, err := cache(t).SnakeoilKey()
	have(t, keyPath, err)
	plain := Run(t, "", "openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER",
		"-passin", "pass:"+artefact.SnakeoilPassphrase, "-in", keyPath)
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		t.Fatalf("%s: %v", keyPath, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		t.Fatalf("%s: a %T cannot sign", keyPath, key)
	}
	block, _ := pem.Decode(ReadFile(t, certPath))
	if block == nil {
		t.Fatalf("%s: not PEM", certPath)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("%s: %v", certPath, err)
	}
	return keyFiles(t, signer, cert, plain)
}

// Sign signs a PE image with sbsign, adding to the signatures it has, and returns the path of the signed copy.
func Sign(t testing.TB, k *Key, image string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(image), ".efi")+".signed.efi")
	Run(t, "", "sbsign", "--key", k.KeyPEM, "--cert", k.CertPEM, "--output", out, image)
	return out
}

// Unsign returns the path of a copy of a PE image without its first signature.
func Unsign(t testing.TB, image string) string {
	t.Helper()
	out := WriteFile(t, filepath.Base(image), ReadFile(t, image))
	Run(t, "", "sbattach", "--remove", out)
	return out
}
