// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/appended"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// listName is the name of the list that verifier makes.
const listName = "--cert test.pem"

// certList is a list of the certificates of keys.
func certList(name string, keys ...*testkit.Key) trust.List {
	l := trust.List{Name: name, Scope: trust.ScopeOperator}
	for _, k := range keys {
		l.Certificates = append(l.Certificates, k.Cert)
	}
	return l
}

// verifier returns one that allows the given certificates under enforce.
func verifier(keys ...*testkit.Key) *trust.Verifier {
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Keys.Allow = []trust.List{certList(listName, keys...)}
	return v
}

func imageObject(b []byte) trust.Object {
	return trust.Object{Name: "image.efi", Role: trust.RoleImage, Data: b}
}

// wantError checks that err is a refusal for the given reason, nil for none.
func wantError(t *testing.T, what string, r *trust.Report, err, want error) {
	t.Helper()
	if want == nil {
		if err != nil || r.Verdict != trust.Allowed {
			t.Errorf("Verify(%s) = %v, %v, want allowed\n%s", what, r.Verdict, err, dump(r))
		}
		return
	}
	if !errors.Is(err, want) || !errors.Is(err, trust.ErrRefused) || r.Verdict != trust.Refused {
		t.Errorf("Verify(%s) = %v, %v, want refused, %v\n%s", what, r.Verdict, err, want, dump(r))
	}
}

func dump(r *trust.Report) string {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// signed returns a small image signed with k.
func signed(t testing.TB, k *testkit.Key) []byte {
	return trusttest.SignPE(t, trusttest.SmallPE(t), opts(k))
}

func opts(k *testkit.Key) trusttest.Options { return trusttest.Options{Signer: k.Signer, Cert: k.Cert} }

// sign-file of the kernel; hash is its name, such as "sha256".
func signFile(t testing.TB, k *testkit.Key, hash string, content []byte) []byte {
	t.Helper()
	in := testkit.WriteFile(t, "in", content)
	out := filepath.Join(t.TempDir(), "out")
	testkit.Run(t, "", "sign-file", hash, k.KeyPEM, k.CertDER, in, out)
	return testkit.ReadFile(t, out)
}

// appendSignature makes a module-style signature without a tool.
func appendSignature(t testing.TB, k *testkit.Key, content []byte) []byte {
	t.Helper()
	o := opts(k)
	o.Detached, o.NoCerts, o.NoAttrs = content, true, true
	out, err := appended.Append(content, trusttest.Message(t, o))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// evmctl signs content and returns the sidecar.
func evmctl(t testing.TB, k *testkit.Key, hash string, content []byte) []byte {
	t.Helper()
	in := testkit.WriteFile(t, "in", content)
	args := []string{"ima_sign", "--sigfile", "-a", hash, "--key", k.KeyPEM}
	if len(k.Cert.SubjectKeyId) > 0 {
		args = append(args, "--keyid-from-cert", k.CertPEM)
	}
	testkit.Run(t, "", "evmctl", append(args, in)...)
	return testkit.ReadFile(t, in+".sig")
}

// openssl signs content as detached CMS and returns DER.
func opensslCMS(t testing.TB, k *testkit.Key, content []byte, args ...string) []byte {
	t.Helper()
	in := testkit.WriteFile(t, "in", content)
	out := filepath.Join(t.TempDir(), "out.p7s")
	testkit.Run(t, "", "openssl", append([]string{"cms", "-sign", "-binary", "-in", in, "-signer", k.CertPEM,
		"-inkey", k.KeyPEM, "-outform", "DER", "-out", out}, args...)...)
	return testkit.ReadFile(t, out)
}

// osslsigncode signs an image.
func osslsigncode(t testing.TB, k *testkit.Key, hash string, image []byte, args ...string) []byte {
	t.Helper()
	in := testkit.WriteFile(t, "in.efi", image)
	out := filepath.Join(t.TempDir(), "out.efi")
	testkit.Run(t, "", "osslsigncode", append([]string{"sign", "-certs", k.CertPEM, "-key", k.KeyPEM, "-h", hash,
		"-in", in, "-out", out}, args...)...)
	return testkit.ReadFile(t, out)
}

// pesign signs an image with a key from a database made for it.
func pesign(t testing.TB, k *testkit.Key, image []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	db := "sql:" + dir
	testkit.Run(t, "", "certutil", "-N", "-d", db, "--empty-password")
	p12 := filepath.Join(dir, "k.p12")
	testkit.Run(t, "", "openssl", "pkcs12", "-export", "-out", p12, "-inkey", k.KeyPEM, "-in", k.CertPEM, "-name", "key", "-passout", "pass:")
	testkit.Run(t, "", "pk12util", "-d", db, "-i", p12, "-W", "")
	out := filepath.Join(dir, "out.efi")
	testkit.Run(t, "", "pesign", "-n", dir, "-c", "key", "-s", "-f", "-i", testkit.WriteFile(t, "in.efi", image), "-o", out)
	return testkit.ReadFile(t, out)
}

// sbsign signs an image.
func sbsign(t testing.TB, k *testkit.Key, image []byte) []byte {
	t.Helper()
	return testkit.ReadFile(t, testkit.Sign(t, k, testkit.WriteFile(t, "in.efi", image)))
}

// toolAccepts reports whether a tool exits with success.
func toolAccepts(t testing.TB, tool string, args ...string) bool {
	t.Helper()
	err := exec.Command(testkit.Tool(t, tool), args...).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return err == nil
}

// entries returns the signatures of an image.
func entries(t testing.TB, image []byte) []authenticode.Entry {
	t.Helper()
	f, err := pe.Parse(image)
	if err != nil {
		t.Fatal(err)
	}
	es, err := authenticode.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return es
}

// renew issues another certificate for the key of k.
func renew(t testing.TB, ca, k *testkit.Key) *x509.Certificate {
	t.Helper()
	tmpl := *k.Cert
	tmpl.SerialNumber = new(big.Int).Add(k.Cert.SerialNumber, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, ca.Cert, k.Signer.Public(), ca.Signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// moduleKey makes a key whose certificate has the module-signing usage.
func moduleKey(t testing.TB) *testkit.Key {
	t.Helper()
	k := testkit.NewCA(t, "module signer")
	tmpl := *k.Cert
	tmpl.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 2312, 16, 1, 2}}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, k.Signer.Public(), k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testkit.Key{Signer: k.Signer, Cert: c, KeyPEM: k.KeyPEM}
}

// issue makes a key whose certificate is edited before parent signs it.
func issue(t testing.TB, parent *testkit.Key, cn string, edit func(*x509.Certificate)) *testkit.Key {
	t.Helper()
	k := testkit.NewKeyWith(t, testkit.KeyOptions{CN: cn, CA: true, ECDSA: true})
	tmpl := *k.Cert
	tmpl.SignatureAlgorithm = x509.UnknownSignatureAlgorithm
	edit(&tmpl)
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, parent.Cert, k.Signer.Public(), parent.Signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testkit.Key{Signer: k.Signer, Cert: c}
}
