// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/build/sign/external"
	"github.com/peelboot/peel/internal/testkit"
)

// hsm is a SoftHSM with a token "site" whose PIN is 1234, and peel-pkcs11 in
// PATH.
type hsm struct{ module string }

func newHSM(t *testing.T) hsm {
	t.Helper()
	dir := t.TempDir()
	h := hsm{testkit.SoftHSM(t)}
	conf := testkit.WriteFile(t, "softhsm2.conf", fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir))
	t.Setenv("SOFTHSM2_CONF", conf)
	bin := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(bin, "program"), "./cmd/"+pkcs11Program)
	cmd.Dir = filepath.Join(testkit.ModuleDir(t), "pkcs11")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "CC="+testkit.Tool(t, "cc"), "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkcs11Program, err, out)
	}
	// The libraries that the module needs lie in the tool cache: first those of the compiler, which the program was linked
	// with, then the module's own.
	libs := filepath.Dir(filepath.Dir(h.module))
	script := fmt.Sprintf("#!/bin/sh\nLD_LIBRARY_PATH='%s:%s' exec '%s' \"$@\"\n", strings.Replace(libs, "/unit/tokens/", "/unit/tools/", 1), libs, filepath.Join(bin, "program"))
	if err := os.WriteFile(filepath.Join(bin, pkcs11Program), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	h.token(t, "site")
	return h
}

func (h hsm) token(t *testing.T, label string) {
	t.Helper()
	testkit.Run(t, "", "softhsm2-util", "--module", h.module, "--init-token", "--free", "--label", label, "--so-pin", "0000", "--pin", "1234")
}

// tool runs pkcs11-tool on the token "site".
func (h hsm) tool(t *testing.T, args ...string) {
	t.Helper()
	testkit.Run(t, "", "pkcs11-tool", append([]string{"--module", h.module, "--token-label", "site", "--login", "--pin", "1234"}, args...)...)
}

func (h hsm) uri(rest string) string {
	separator := "?"
	if strings.Contains(rest, "?") {
		separator = "&"
	}
	return "pkcs11:" + rest + separator + "module-path=" + h.module
}

// certificate returns the path of a certificate for a signer, PEM, and DER.
func certificate(t *testing.T, s crypto.Signer) (pemPath, derPath string) {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "in hardware"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, s.Public(), s)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.WriteFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), testkit.WriteFile(t, "cert.der", der)
}

// Keys that pkcs11-tool made in a token sign images that sbverify accepts.
func TestPKCS11(t *testing.T) {
	h := newHSM(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	stub := testkit.Stub(t, "amd64", "trixie")
	pin := testkit.WriteFile(t, "pin", []byte("1234\n"))
	certOf := func(uri string) (string, string) {
		t.Helper()
		s, err := external.Start(context.Background(), external.Options{Program: pkcs11Program, Key: uri, PIN: "1234"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return certificate(t, s)
	}

	h.tool(t, "--keypairgen", "--key-type", "rsa:2048", "--id", "01", "--label", "db")
	h.tool(t, "--keypairgen", "--key-type", "EC:secp384r1", "--id", "02", "--label", "ec")
	db, ec := h.uri("token=site;object=db"), h.uri("token=site;id=%02;type=private")
	rsaCert, rsaDER := certOf(db)
	ecCert, _ := certOf(ec)

	call(t, "sign", stub, "--key", db, "--pin-source", pin, "-o", at("x.efi")).want(t, "sign without a certificate", 2, "--cert")
	call(t, "sign", stub, "--key", db, "--pin-source", pin, "--cert", ecCert, "-o", at("x.efi")).want(t, "sign with another's certificate", 1, "another key")
	h.tool(t, "--write-object", rsaDER, "--type", "cert", "--id", "01", "--label", "db")
	call(t, "sign", stub, "--key", db, "--pin-source", pin, "-o", at("rsa.efi")).want(t, "sign with the token's certificate", 0)
	testkit.Run(t, "", "sbverify", "--cert", rsaCert, at("rsa.efi"))
	call(t, "sign", stub, "--key", db, "--pin-source", pin, "-o", at("again.efi")).want(t, "sign again", 0)
	if !bytes.Equal(testkit.ReadFile(t, at("rsa.efi")), testkit.ReadFile(t, at("again.efi"))) {
		t.Error("the same input gave two different images")
	}

	t.Setenv("TOKEN_PIN", "1234")
	for _, hash := range []string{"sha256", "sha384", "sha512"} {
		call(t, "sign", stub, "--key", ec, "--cert", ecCert, "--pin-source", "env:TOKEN_PIN", "--hash", hash, "-o", at(hash+".efi")).want(t, "sign with EC", 0)
		testkit.Run(t, "", "osslsigncode", "verify", "-CAfile", ecCert, "-in", at(hash+".efi"))
	}
	testkit.Run(t, "", "sbverify", "--cert", ecCert, at("sha256.efi"))
	if exec.Command(testkit.Tool(t, "sbverify"), "--cert", rsaCert, at("sha256.efi")).Run() == nil {
		t.Error("sbverify accepts the image by another key's certificate")
	}

	// A whole build: the image and its PCR signatures by the token.
	own := h.uri("token=site;object=db?pin-source=file:" + pin)
	uki := []string{"build", "uki", "--linux", testkit.Kernel(t, "amd64", "6.12"), "--stub", stub, "--cmdline", "quiet", "--os-release", "ID=x", "-o", at("uki.efi")}
	call(t, append(uki, "--key", own, "--pcr-private-key", own, "--pcr-banks", "sha1,sha256")...).want(t, "build uki", 0)
	testkit.Run(t, "", "sbverify", "--cert", rsaCert, at("uki.efi"))
	call(t, "verify", at("uki.efi"), "--cert", rsaCert).want(t, "verify", 0, "in hardware")
	call(t, "inspect", at("uki.efi")).want(t, "inspect", 0, ".pcrsig", ".pcrpkey")
	call(t, "measure", at("uki.efi"), "--sign", "--private-key", own, "--bank", "sha256").want(t, "measure --sign", 0, `"sha256"`)
	call(t, "edit", at("uki.efi"), "--set", "cmdline=debug", "--key", own, "-o", at("edited.efi")).want(t, "edit", 0)
	testkit.Run(t, "", "sbverify", "--cert", rsaCert, at("edited.efi"))

	// Each thing that is missing or wrong has its own words.
	sign := func(uri string, more ...string) outcome {
		t.Helper()
		return call(t, append([]string{"sign", stub, "--key", uri, "-o", at("bad.efi")}, more...)...)
	}
	wrong := testkit.WriteFile(t, "wrong", []byte("4321"))
	sign(db).want(t, "no PIN", 1, `token "site" needs a PIN`)
	sign(db, "--pin-source", wrong).want(t, "wrong PIN", 1, "PIN missing or wrong", `token "site": log in`)
	sign(db, "--pin-source", at("none")).want(t, "PIN file missing", 1, "--pin-source", "no such file")
	sign(db, "--pin-source", "env:NO_SUCH_PIN").want(t, "PIN variable missing", 2, "NO_SUCH_PIN is not set")
	sign(h.uri("token=elsewhere;object=db"), "--pin-source", pin).want(t, "no such token", 1, "token not found", `there are "site"`)
	sign(h.uri("token=site;object=KEK"), "--pin-source", pin).want(t, "no such key", 1, "key not found", `token "site" has no private key`)
	sign(h.uri("token=site"), "--pin-source", pin).want(t, "two keys", 1, "has 2 private keys")
	sign(h.uri("token=site;colour=red"), "--pin-source", pin).want(t, "odd URI", 1, `attribute "colour" is not known`)
	sign("pkcs11:token=site?module-path="+pin, "--pin-source", pin).want(t, "no module", 1, "cannot be loaded as a PKCS #11 module")
	sign("pkcs11:token=site?module-path=/nonexistent.so", "--pin-source", pin).want(t, "module missing", 1, "/nonexistent.so")
	h.token(t, "spare")
	sign(h.uri("object=db"), "--pin-source", pin).want(t, "two tokens", 1, "fits several tokens")
	h.tool(t, "--keypairgen", "--key-type", "rsa:2048", "--id", "03", "--label", "each", "--always-auth")
	each := h.uri("token=site;object=each")
	eachCert, _ := certOf(each)
	sign(each, "--pin-source", pin, "--cert", eachCert, "--force").want(t, "a key that wants its PIN each time", 0)
	testkit.Run(t, "", "sbverify", "--cert", eachCert, at("bad.efi"))
	t.Setenv("PATH", filepath.Dir(testkit.Tool(t, "sbverify")))
	sign(db, "--pin-source", pin, "--force").want(t, "no peel-pkcs11", 1, "need the program peel-pkcs11", "beside peel or in PATH")
}

// --signer takes any program.
func TestSigner(t *testing.T) {
	dir := t.TempDir()
	k := keys(t)
	script := filepath.Join(testkit.ModuleDir(t), "build/sign/external/testdata/signer.sh")
	program := testkit.WriteFile(t, "my-kms", testkit.ReadFile(t, script))
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(testkit.Tool(t, "openssl"))+":"+os.Getenv("PATH"))
	out := filepath.Join(dir, "out.efi")
	args := []string{"sign", testkit.Stub(t, "amd64", "trixie"), "--key", filepath.Join(k, "db.key"), "-o", out}
	call(t, append(args, "--signer", program, "--cert", filepath.Join(k, "db.pem"))...).want(t, "sign", 0)
	testkit.Run(t, "", "sbverify", "--cert", filepath.Join(k, "db.pem"), out)
	call(t, append(args, "--signer", program, "--force")...).want(t, "sign without a certificate", 2, "--cert")
	call(t, append(args, "--signer", filepath.Join(dir, "none"), "--force")...).want(t, "sign by a program that is not there", 1, "no such file")
	call(t, append(args, "--signer", "true", "--force")...).want(t, "sign by a program that says nothing", 1, "ended without an answer")
}

// peel keygen --tpm makes keys in a TPM, with which peel and OpenSSL sign.
func TestTPMKeys(t *testing.T) {
	socket := testkit.SoftwareTPM(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	stub := testkit.Stub(t, "amd64", "trixie")
	password := testkit.WriteFile(t, "password", []byte("correct horse\n"))
	t.Setenv("TPM2TOOLS_TCTI", testkit.TCTI(socket))
	t.Setenv("TPM2OPENSSL_TCTI", testkit.TCTI(socket))

	// A whole set, which signs its own updates, too.
	call(t, "keygen", "-o", at("set"), "--tpm="+socket).want(t, "keygen --tpm", 0, "db.key", "db.auth")
	if !bytes.Contains(testkit.ReadFile(t, at("set/db.key")), []byte("TSS2 PRIVATE KEY")) {
		t.Error("db.key is no TPM key file")
	}
	db := []string{"--key", at("set/db.key"), "--cert", at("set/db.pem"), "--tpm", socket}
	call(t, append([]string{"sign", stub, "-o", at("signed.efi")}, db...)...).want(t, "sign", 0)
	testkit.Run(t, "", "sbverify", "--cert", at("set/db.pem"), at("signed.efi"))
	if exec.Command(testkit.Tool(t, "sbverify"), "--cert", at("set/KEK.pem"), at("signed.efi")).Run() == nil {
		t.Error("sbverify accepts the image by another key's certificate")
	}
	call(t, "verify", at("signed.efi"), "--cert", at("set/db.pem")).want(t, "verify", 0, "peel db")
	call(t, "build", "uki", "--linux", testkit.Kernel(t, "amd64", "6.12"), "--stub", stub, "--cmdline", "x", "--os-release", "ID=x", "--tpm", socket,
		"--key", at("set/db.key"), "--cert", at("set/db.pem"), "--pcr-private-key", at("set/db.key"), "--pcr-banks", "sha256", "-o", at("uki.efi")).want(t, "build uki", 0)
	testkit.Run(t, "", "sbverify", "--cert", at("set/db.pem"), at("uki.efi"))

	// OpenSSL takes the file: it signs, and verifies what peel signed.
	testkit.Run(t, dir, "openssl-tpm2", "cms", "-sign", "-provider", "tpm2", "-provider", "default", "-binary", "-md", "sha256", "-in", stub,
		"-signer", "set/db.pem", "-inkey", "set/db.key", "-outform", "DER", "-out", "theirs.p7s")
	testkit.Run(t, dir, "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "theirs.p7s", "-content", stub, "-CAfile", "set/db.pem", "-purpose", "any", "-out", "out")

	// With a password, ECDSA.
	call(t, "keygen", "-o", dir, "--single", "site", "--type", "ecdsa256", "--tpm="+socket, "--pin-source", password).want(t, "keygen --single", 0, "site.key")
	site := []string{"sign", stub, "--key", at("site.key"), "--cert", at("site.pem"), "--tpm", socket, "-o", at("site.efi")}
	call(t, site...).want(t, "sign without the password", 1, "password of the TPM key is missing")
	call(t, append(site, "--pin-source", testkit.WriteFile(t, "wrong", []byte("horse")))...).want(t, "sign with a wrong password", 1, "password of the TPM key is wrong")
	call(t, append(site, "--pin-source", password)...).want(t, "sign with the password", 0)
	testkit.Run(t, "", "sbverify", "--cert", at("site.pem"), at("site.efi"))

	// A persistent key.
	tpm := func(args ...string) { t.Helper(); testkit.Run(t, dir, "tpm2", args...) }
	tpm("createprimary", "-Q", "-C", "o", "-c", "p.ctx")
	tpm("flushcontext", "-t")
	tpm("create", "-Q", "-C", "p.ctx", "-c", "k.ctx", "-G", "rsa2048", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	tpm("flushcontext", "-t")
	tpm("evictcontrol", "-Q", "-C", "o", "-c", "k.ctx", "0x81010001")
	tpm("flushcontext", "-t")
	testkit.Run(t, dir, "openssl-tpm2", "req", "-provider", "tpm2", "-provider", "default", "-x509", "-key", "handle:0x81010001", "-subj", "/CN=persistent",
		"-addext", "extendedKeyUsage=codeSigning", "-config", "/dev/null", "-out", "persistent.pem")
	persistent := []string{"sign", stub, "--cert", at("persistent.pem"), "--tpm", socket, "-o", at("persistent.efi")}
	call(t, append(persistent, "--key", "tpm:0x81010001")...).want(t, "sign with a persistent key", 0)
	testkit.Run(t, "", "sbverify", "--cert", at("persistent.pem"), at("persistent.efi"))
	call(t, append(persistent, "--key", "tpm:0x81010002", "--force")...).want(t, "sign with a key that is not there", 1, "no such key in the TPM")
	call(t, append(persistent, "--key", "tpm:key", "--force")...).want(t, "sign with an odd handle", 2, "number of a persistent key")
	call(t, "sign", stub, "--key", at("set/db.key"), "--cert", at("set/db.pem"), "--tpm", at("none"), "-o", at("x.efi")).want(t, "sign without a TPM", 1, "no TPM")
	call(t, "keygen", "-o", dir, "--single", "x", "--tpm="+socket, "--tpm-parent", "0x81000099").want(t, "keygen below a key that is not there", 1, "no such key in the TPM")
	call(t, "keygen", "-o", dir, "--single", "x", "--tpm="+socket, "--tpm-parent", "srk").want(t, "keygen below an odd handle", 2, "--tpm-parent")
	call(t, "keygen", "-o", dir, "--single", "x", "--pin-source", password).want(t, "keygen with a password for a file", 2, "--tpm")
	for _, kind := range []string{"handles-transient", "handles-loaded-session"} {
		if out := testkit.Run(t, dir, "tpm2", "getcap", kind); len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s left behind: %s", kind, out)
		}
	}
}
