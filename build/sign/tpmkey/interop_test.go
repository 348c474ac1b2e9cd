// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure/tpm"
)

func pemCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

var all = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// Keys that OpenSSL made in the TPM sign for us.
func TestOpenSSLKeys(t *testing.T) {
	m := newMachine(t)
	for _, c := range []struct {
		name, auth string
		args       []string
		hashes     []crypto.Hash
	}{
		{"rsa.pem", "", []string{"-algorithm", "RSA", "-pkeyopt", "bits:2048"}, all},
		{"rsa-password.pem", "some words", []string{"-algorithm", "RSA", "-pkeyopt", "bits:2048", "-pkeyopt", "user-auth:some words"}, all[:1]},
		{"p256.pem", "", []string{"-algorithm", "EC", "-pkeyopt", "group:P-256"}, all},
		{"p384.pem", "pw", []string{"-algorithm", "EC", "-pkeyopt", "group:P-384", "-pkeyopt", "user-auth:pw"}, all[1:2]},
		{"rsa.der", "", []string{"-algorithm", "RSA", "-pkeyopt", "bits:2048", "-outform", "DER"}, all[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.openssl("genpkey", append(c.args, "-out", c.name)...)
			k, err := Load(m.file(c.name), m.options(c.auth))
			if err != nil {
				t.Fatal(err)
			}
			signStub(t, k, c.hashes...)
			if c.auth == "" {
				return
			}
			if _, err := Load(m.file(c.name), m.options("")); !errors.Is(err, ErrAuth) {
				t.Errorf("Load(no password) = %v, want %v", err, ErrAuth)
			}
			if k, err = Load(m.file(c.name), m.options("wrong")); err != nil {
				t.Fatal(err)
			}
			if _, err := k.Sign(nil, make([]byte, 48), crypto.SHA384); !errors.Is(err, ErrAuth) {
				t.Errorf("Sign(wrong password) = %v, want %v", err, ErrAuth)
			}
		})
	}
}

// Keys that we made sign for OpenSSL and for us.
func TestCreate(t *testing.T) {
	m := newMachine(t)
	data := testkit.WriteFile(t, "data", []byte("signed by a TPM"))
	for _, c := range []struct{ typ, auth string }{{"rsa2048", ""}, {"rsa2048", "a password"}, {"ecdsa256", ""}, {"ecdsa384", "pw"}} {
		t.Run(c.typ+c.auth, func(t *testing.T) {
			k, err := Create(CreateOptions{Options: m.options(c.auth), Type: c.typ, Description: "made by a test"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := k.MarshalPEM()
			if err != nil {
				t.Fatal(err)
			}
			f, err := ParseFile(b)
			if err != nil || f.Description != "made by a test" || f.EmptyAuth != (c.auth == "") || f.Parent != OwnerHierarchy {
				t.Errorf("ParseFile = %+v, %v", f, err)
			}
			again, err := Load(b, m.options(c.auth))
			if err != nil {
				t.Fatal(err)
			}
			signStub(t, again, crypto.SHA256, crypto.SHA384)

			// The fields that the format has beyond those of the provider are left out for it.
			f.Description = ""
			if b, err = f.MarshalPEM(); err != nil {
				t.Fatal(err)
			}
			key := testkit.WriteFile(t, "key.pem", b)
			dir := t.TempDir()
			sig, pub := filepath.Join(dir, "sig"), filepath.Join(dir, "pub.pem")
			m.openssl("pkey", "-in", key, "-pubout", "-out", pub, "-passin", "pass:"+c.auth)
			m.openssl("dgst", "-sha256", "-sign", key, "-passin", "pass:"+c.auth, "-out", sig, data)
			testkit.Run(t, "", "openssl", "dgst", "-sha256", "-verify", pub, "-signature", sig, data)
			block, _ := pem.Decode(testkit.ReadFile(t, pub))
			theirs, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil || !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(theirs) {
				t.Errorf("Public() is not what OpenSSL reads, %v", err)
			}
		})
	}
	if _, err := Create(CreateOptions{Options: m.options(""), Type: "dsa"}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Create(dsa) = %v, want %v", err, ErrUnsupported)
	}
	if _, err := Create(CreateOptions{Options: m.options(""), Parent: 0x81000001}); !errors.Is(err, ErrNoKey) {
		t.Errorf("Create(below a key that is not there) = %v, want %v", err, ErrNoKey)
	}
}

// Keys that tpm2-tools put into the TPM.
func TestPersistent(t *testing.T) {
	m := newMachine(t)
	m.run("tpm2", "createprimary", "-Q", "-C", "o", "-c", "primary.ctx")
	m.run("tpm2", "flushcontext", "-t")
	keep := func(handle string, args ...string) {
		t.Helper()
		m.run("tpm2", append([]string{"create", "-Q", "-C", "primary.ctx", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx"}, args...)...)
		m.run("tpm2", "flushcontext", "-t")
		m.run("tpm2", "evictcontrol", "-Q", "-C", "o", "-c", "k.ctx", handle)
		m.run("tpm2", "flushcontext", "-t")
	}
	keep("0x81010001", "-G", "rsa2048", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	keep("0x81010002", "-G", "ecc256:ecdsa-sha256", "-p", "secret", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	keep("0x81010003", "-G", "rsa2048", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt")
	keep("0x81010004", "-G", "rsa2048:rsassa-sha256:null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")
	keep("0x81010005", "-G", "rsa2048:rsapss-sha256:null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")

	k, err := Persistent(0x81010001, m.options(""))
	if err != nil {
		t.Fatal(err)
	}
	signStub(t, k, all...)
	if _, err := k.MarshalPEM(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("MarshalPEM() = %v, want %v", err, ErrUnsupported)
	}
	ec, err := Persistent(0x81010002, m.options("secret"))
	if err != nil {
		t.Fatal(err)
	}
	signStub(t, ec, crypto.SHA256)
	if _, err := ec.Sign(nil, make48(), crypto.SHA384); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Sign(SHA-384 with a key for SHA-256) = %v, want %v", err, ErrUnsupported)
	}
	if wrong, err := Persistent(0x81010002, m.options("guess")); err != nil {
		t.Error(err)
	} else if _, err := wrong.Sign(nil, make48()[:32], crypto.SHA256); !errors.Is(err, ErrAuth) {
		t.Errorf("Sign(wrong password) = %v, want %v", err, ErrAuth)
	}
	for handle, want := range map[uint32]error{
		0x81010003: ErrUnsupported, 0x81010004: ErrUnsupported, 0x81010005: ErrUnsupported, 0x81010006: ErrNoKey, 0x1: ErrNoKey,
	} {
		if _, err := Persistent(handle, m.options("")); !errors.Is(err, want) {
			t.Errorf("Persistent(0x%x) = %v, want %v", handle, err, want)
		}
	}
	// Another key under the same number is not taken for the one that was asked for.
	m.run("tpm2", "evictcontrol", "-Q", "-C", "o", "-c", "0x81010001")
	keep("0x81010001", "-G", "rsa2048", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	if _, err := k.Sign(nil, make48()[:32], crypto.SHA256); !errors.Is(err, ErrNoKey) {
		t.Errorf("Sign(key replaced) = %v, want %v", err, ErrNoKey)
	}
}

func make48() []byte { return make([]byte, 48) }

// Where the owner has a password, keys stand below the storage root key.
func TestOwnerPassword(t *testing.T) {
	m := newMachine(t)
	before, err := Create(CreateOptions{Options: m.options("")})
	if err != nil {
		t.Fatal(err)
	}
	m.run("tpm2", "createprimary", "-Q", "-C", "o", "-c", "srk.ctx")
	m.run("tpm2", "changeauth", "-Q", "-c", "owner", "ownerpassword")
	if _, err := Create(CreateOptions{Options: m.options("")}); !errors.Is(err, ErrOwner) {
		t.Errorf("Create(owner with a password) = %v, want %v", err, ErrOwner)
	}
	if _, err := before.Sign(nil, make48()[:32], crypto.SHA256); !errors.Is(err, ErrOwner) {
		t.Errorf("Sign(owner with a password) = %v, want %v", err, ErrOwner)
	}
	m.run("tpm2", "evictcontrol", "-Q", "-C", "o", "-P", "ownerpassword", "-c", "srk.ctx", "0x81000001")
	m.run("tpm2", "flushcontext", "-t")
	k, err := Create(CreateOptions{Options: m.options("pw"), Type: "ecdsa256"})
	if err != nil {
		t.Fatal(err)
	}
	if k.file.Parent != StorageRootKey {
		t.Errorf("parent of the key is 0x%x, want 0x%x", k.file.Parent, StorageRootKey)
	}
	signStub(t, k, crypto.SHA256)
	b, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	key := testkit.WriteFile(t, "key.pem", b)
	m.openssl("dgst", "-sha256", "-sign", key, "-passin", "pass:pw", "-out", filepath.Join(t.TempDir(), "sig"), key)
}

func TestErrors(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	k, err := Create(CreateOptions{Options: m.options("")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	digest := make48()[:32]
	foreign, err := Load(b, other.options(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Sign(nil, digest, crypto.SHA256); !errors.Is(err, ErrForeign) {
		t.Errorf("Sign(in another TPM) = %v, want %v", err, ErrForeign)
	}
	none, err := Load(b, Options{Device: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Sign(nil, digest, crypto.SHA256); !errors.Is(err, tpm.ErrNone) {
		t.Errorf("Sign(without a TPM) = %v, want %v", err, tpm.ErrNone)
	}
	if _, err := k.Sign(nil, digest, crypto.SHA384); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Sign(digest of another length) = %v, want %v", err, ErrUnsupported)
	}
	if _, err := k.Sign(nil, digest, crypto.MD5); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Sign(MD5) = %v, want %v", err, ErrUnsupported)
	}
	if _, err := k.Sign(nil, digest[:20], crypto.SHA1); err != nil {
		t.Errorf("Sign(SHA-1) = %v", err)
	}
}

// A TPM without elliptic curves has an RSA storage key, which the file says.
func TestRSAParent(t *testing.T) {
	m := newMachine(t)
	var k Key
	if err := with(m.socket, func(c transport.TPM) error {
		o := CreateOptions{Options: m.options("")}
		template, err := template("rsa2048", true)
		if err != nil {
			return err
		}
		p, err := openParent(c, OwnerHierarchy, true)
		if err != nil {
			return err
		}
		k.o = o.Options
		return k.create(c, p, OwnerHierarchy, template, o)
	}); err != nil {
		t.Fatal(err)
	}
	b, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(b, m.options(""))
	if err != nil || !again.file.RSAParent {
		t.Fatalf("Load = %+v, %v, want RSAParent", again, err)
	}
	signStub(t, again, crypto.SHA256)
}

// After wrong passwords a TPM says no to right ones as well, and it is told
// why; keys without a password go on.
func TestLockout(t *testing.T) {
	m := newMachine(t)
	m.run("tpm2", "dictionarylockout", "-Q", "--setup-parameters", "--max-tries=2", "--recovery-time=1000", "--lockout-recovery-time=1000")
	k, err := Create(CreateOptions{Options: m.options("right"), Type: "ecdsa256"})
	if err != nil {
		t.Fatal(err)
	}
	free, err := Create(CreateOptions{Options: m.options(""), Type: "ecdsa256"})
	if err != nil {
		t.Fatal(err)
	}
	digest := make48()[:32]
	k.o.Auth = []byte("wrong")
	for range 2 {
		if _, err := k.Sign(nil, digest, crypto.SHA256); !errors.Is(err, ErrAuth) {
			t.Errorf("Sign(wrong password) = %v, want %v", err, ErrAuth)
		}
	}
	k.o.Auth = []byte("right")
	if _, err := k.Sign(nil, digest, crypto.SHA256); !errors.Is(err, tpm.ErrRefused) || !strings.Contains(fmt.Sprint(err), "locked out") {
		t.Errorf("Sign(locked out) = %v, want %v and why", err, tpm.ErrRefused)
	}
	if _, err := free.Sign(nil, digest, crypto.SHA256); err != nil {
		t.Errorf("Sign(locked out, key without a password) = %v", err)
	}
}
