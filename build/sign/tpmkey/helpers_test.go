// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// machine is a TPM with the programs that use it.
type machine struct {
	t      *testing.T
	socket string
	dir    string
}

func newMachine(t *testing.T) machine {
	m := machine{t, testkit.SoftwareTPM(t), t.TempDir()}
	t.Cleanup(m.empty)
	return m
}

// run runs a program of the tool cache beside the TPM.
func (m machine) run(tool string, args ...string) string {
	m.t.Helper()
	cmd := exec.Command(testkit.Tool(m.t, tool), args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+testkit.TCTI(m.socket), "TPM2OPENSSL_TCTI="+testkit.TCTI(m.socket))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		m.t.Fatalf("%s %s: %v\n%s%s", tool, strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// openssl runs OpenSSL with the provider for TPMs.
func (m machine) openssl(verb string, args ...string) string {
	m.t.Helper()
	return m.run("openssl-tpm2", append([]string{verb, "-provider", "tpm2", "-provider", "default"}, args...)...)
}

// empty fails when something was left in the TPM.
func (m machine) empty() {
	m.t.Helper()
	for _, kind := range []string{"handles-transient", "handles-loaded-session", "handles-saved-session"} {
		if out := m.run("tpm2", "getcap", kind); strings.TrimSpace(out) != "" {
			m.t.Errorf("%s left behind: %s", kind, out)
		}
	}
}

func (m machine) file(name string) []byte {
	m.t.Helper()
	return testkit.ReadFile(m.t, filepath.Join(m.dir, name))
}

func (m machine) options(auth string) Options { return Options{Device: m.socket, Auth: []byte(auth)} }

// certified gives a signer a certificate of its own making.
func certified(t *testing.T, s crypto.Signer) sign.Key {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "in a TPM"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, s.Public(), s)
	if err != nil {
		t.Fatal(err)
	}
	k := sign.Key{Signer: s}
	if k.Certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return k
}

// signStub signs systemd's stub and lets sbverify and osslsigncode look at it.
func signStub(t *testing.T, s crypto.Signer, hashes ...crypto.Hash) {
	t.Helper()
	k := certified(t, s)
	f, err := pe.Parse(testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie")))
	if err != nil {
		t.Fatal(err)
	}
	cert := testkit.WriteFile(t, "cert.pem", pemCertificate(k.Certificate))
	stranger := testkit.NewKey(t, "stranger")
	for _, h := range hashes {
		a, err := sign.PE(f, k, sign.Options{Hash: h}, false)
		if err != nil {
			t.Errorf("sign.PE(%v) = %v", h, err)
			continue
		}
		p := testkit.WriteFile(t, "signed.efi", a.Bytes())
		// sbverify knows image digests by SHA-256 only.
		if h == crypto.SHA256 {
			testkit.Run(t, "", "sbverify", "--cert", cert, p)
			if exec.Command(testkit.Tool(t, "sbverify"), "--cert", stranger.CertPEM, p).Run() == nil {
				t.Error("sbverify accepts another key's certificate")
			}
		}
		testkit.Run(t, "", "osslsigncode", "verify", "-CAfile", cert, "-in", p)
	}
}
