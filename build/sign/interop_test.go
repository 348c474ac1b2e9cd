// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/cms"
	"github.com/peelboot/peel/trust/ima"
)

// judge lets package trust decide about an object.
func judge(by *testkit.Key, o trust.Object) error {
	l, err := trust.CertificateList("test", by.Cert.Raw)
	if err != nil {
		return err
	}
	v := &trust.Verifier{Policy: trust.DefaultPolicy(), Keys: trust.Keys{Allow: []trust.List{l}}}
	_, err = v.Verify(o)
	return err
}

// Other people's verifiers accept Authenticode signatures over real images,
// and refuse them when a byte changed or with another key.
func TestAuthenticodeTools(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	leaf, stranger := ca.Issue(t, "signer"), testkit.NewCA(t, "stranger")
	ec := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec signer", Issuer: ca, ECDSA: true})
	stub := testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie"))
	arm := testkit.ReadFile(t, testkit.Stub(t, "arm64", "trixie"))
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12-unsigned"))
	for _, c := range []struct {
		name  string
		image []byte
		key   *testkit.Key
		hash  crypto.Hash
		// sbverify: image digests other than SHA-256 are beyond sbsigntool.
		sbverify bool
		// pesigcheck: NSS's check of EC signatures fails with "key encryption
		// algorithm does not match", and pesign does not hash the padding that
		// sbsign, osslsigncode and firmware hash in an image of odd length.
		pesigcheck bool
	}{
		{"stub sha256", stub, leaf, crypto.SHA256, true, true},
		{"stub arm64 sha256", arm, leaf, crypto.SHA256, true, true},
		{"kernel sha256", kernel, leaf, 0, true, true},
		{"odd length sha256", smallPE(t), leaf, crypto.SHA256, true, false},
		{"stub sha384", stub, leaf, crypto.SHA384, false, false},
		{"kernel sha512", kernel, leaf, crypto.SHA512, false, false},
		{"stub EC sha256", stub, ec, crypto.SHA256, true, false},
		{"stub EC sha384", stub, ec, crypto.SHA384, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			signed := signPE(t, c.image, keyOf(c.key, ca), Options{Hash: c.hash}, false)
			if again := signPE(t, c.image, keyOf(c.key, ca), Options{Hash: c.hash}, false); !bytes.Equal(signed, again) {
				t.Error("the same input gave two different images")
			}
			good := testkit.WriteFile(t, "signed.efi", signed)
			bad := testkit.WriteFile(t, "changed.efi", flip(signed, len(signed)/3&^0xfff+2))
			if c.sbverify {
				if !accepts(t, "sbverify", "--cert", c.key.CertPEM, good) {
					t.Error("sbverify refuses the image")
				}
				if accepts(t, "sbverify", "--cert", c.key.CertPEM, bad) || accepts(t, "sbverify", "--cert", stranger.CertPEM, good) {
					t.Error("sbverify accepts a changed image or another key")
				}
			}
			if !accepts(t, "osslsigncode", "verify", "-CAfile", ca.CertPEM, "-in", good) {
				t.Error("osslsigncode refuses the image")
			}
			if accepts(t, "osslsigncode", "verify", "-CAfile", ca.CertPEM, "-in", bad) || accepts(t, "osslsigncode", "verify", "-CAfile", stranger.CertPEM, "-in", good) {
				t.Error("osslsigncode accepts a changed image or another authority")
			}
			if c.pesigcheck {
				if out := testkit.Run(t, "", "pesign", "-S", "-i", good); !strings.Contains(string(out), c.key.Cert.Subject.CommonName) {
					t.Errorf("pesign -S = %s, want the signer", out)
				}
				if !accepts(t, "pesigcheck", "-n", "0", "-c", c.key.CertDER, "-i", good) {
					t.Error("pesigcheck refuses the image")
				}
				if accepts(t, "pesigcheck", "-n", "0", "-c", c.key.CertDER, "-i", bad) {
					t.Error("pesigcheck accepts a changed image")
				}
			}
			if err := judge(ca, trust.Object{Name: c.name, Role: trust.RoleImage, Data: signed}); err != nil {
				t.Errorf("trust refuses the image: %v", err)
			}
			if err := judge(stranger, trust.Object{Name: c.name, Role: trust.RoleImage, Data: signed}); err == nil {
				t.Error("trust accepts another authority")
			}
		})
	}
}

// Signatures are appended, replaced and dropped; other tools agree at each
// step.
func TestSeveralSignatures(t *testing.T) {
	a, b := testkit.NewKey(t, "first"), testkit.NewKey(t, "second")
	image := testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie"))
	one := signPE(t, image, keyOf(a), Options{}, false)
	two := signPE(t, one, keyOf(b), Options{}, false)
	// sbsign's appended signature and ours in one table.
	three := testkit.ReadFile(t, testkit.Sign(t, b, testkit.WriteFile(t, "two.efi", two)))
	replaced := signPE(t, three, keyOf(b), Options{}, true)
	for _, c := range []struct {
		name   string
		image  []byte
		signer []string
	}{
		{"one", one, []string{"first"}},
		{"two", two, []string{"first", "second"}},
		{"three", three, []string{"first", "second", "second"}},
		{"replaced", replaced, []string{"second"}},
	} {
		entries, err := authenticode.Read(parse(t, c.image))
		if err != nil || len(entries) != len(c.signer) {
			t.Fatalf("authenticode.Read(%s) = %d entries, %v, want %d", c.name, len(entries), err, len(c.signer))
		}
		for i, e := range entries {
			if e.Err != nil || len(e.Message.Certificates) != 1 || e.Message.Certificates[0].Subject.CommonName != c.signer[i] {
				t.Errorf("%s: entry %d: %v, certificates %v, want one of %s", c.name, i, e.Err, e.Message.Certificates, c.signer[i])
			}
		}
		p := testkit.WriteFile(t, "image.efi", c.image)
		for _, k := range []*testkit.Key{a, b} {
			want := false
			for _, s := range c.signer {
				want = want || s == k.Cert.Subject.CommonName
			}
			if got := accepts(t, "sbverify", "--cert", k.CertPEM, p); got != want {
				t.Errorf("sbverify --cert %s of %s = %v, want %v", k.Cert.Subject.CommonName, c.name, got, want)
			}
		}
	}
	stripped, err := Strip(parse(t, two))
	if err != nil {
		t.Fatal(err)
	}
	f, orig := parse(t, stripped.Bytes()), parse(t, image)
	if f.CertTable.Size != 0 {
		t.Errorf("Strip left a table of 0x%x bytes", f.CertTable.Size)
	}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA512} {
		got, err1 := f.SigningDigest(h)
		want, err2 := orig.SigningDigest(h)
		if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("digest after Strip = %x (%v), want %x (%v)", got, err1, want, err2)
		}
	}
	if p := testkit.WriteFile(t, "stripped.efi", stripped.Bytes()); accepts(t, "sbverify", "--cert", a.CertPEM, p) {
		t.Error("sbverify accepts the stripped image")
	}
}

// openssl checks detached messages, the kernel's own extraction finds appended
// ones.
func TestDetachedTools(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	leaf := ca.Issue(t, "signer")
	ec := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec signer", Issuer: ca, ECDSA: true})
	data := []byte("an initrd\x00with bytes \r\n of all kinds")
	path := testkit.WriteFile(t, "data", data)
	changed := testkit.WriteFile(t, "changed", flip(data, 3))
	for _, c := range []struct {
		name string
		key  *testkit.Key
		opt  Options
	}{
		{"sha256", leaf, Options{}},
		{"sha384", leaf, Options{Hash: crypto.SHA384}},
		{"sha512 key id", ca, Options{Hash: crypto.SHA512, KeyID: true}},
		{"no attributes", leaf, Options{NoAttributes: true}},
		{"signing time", leaf, Options{Time: leaf.Cert.NotBefore}},
		{"EC sha256", ec, Options{}},
		{"EC sha512", ec, Options{Hash: crypto.SHA512}},
	} {
		m, err := Detached(data, keyOf(c.key), c.opt)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		p := testkit.WriteFile(t, "data.p7s", m)
		verify := func(content, authority string) bool {
			return accepts(t, "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", p, "-content", content,
				"-CAfile", authority, "-purpose", "any", "-out", filepath.Join(t.TempDir(), "out"))
		}
		if !verify(path, ca.CertPEM) {
			t.Errorf("openssl refuses the message, %s", c.name)
		}
		if verify(changed, ca.CertPEM) || verify(path, testkit.NewCA(t, "stranger").CertPEM) {
			t.Errorf("openssl accepts changed content or another authority, %s", c.name)
		}
		sd, err := cms.Parse(m)
		if err != nil || !sd.Detached() {
			t.Fatalf("cms.Parse(%s): %v", c.name, err)
		}
		h, _ := c.opt.hash()
		if err := sd.Signers[0].Check(c.key.Cert, cms.OIDData(), digest(h, data)); err != nil {
			t.Errorf("Check(%s) = %v", c.name, err)
		}
	}
}

// Package trust takes appended signatures as the kernel does, and the bytes
// are those of the kernel's own sign-file.
func TestAppended(t *testing.T) {
	k := testkit.NewKey(t, "module signer")
	data := testkit.Module(t, testkit.KernelImage(t, "amd64", "6.12"), "efivarfs")
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA512} {
		got, err := Appended(data, keyOf(k), AppendedOptions(h))
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "signed")
		testkit.Run(t, "", "sign-file", cms.HashName(h), k.KeyPEM, k.CertPEM, testkit.WriteFile(t, "data", data), out)
		if want := testkit.ReadFile(t, out); !bytes.Equal(got, want) {
			t.Errorf("Appended(%v): %d bytes differ from sign-file's %d", h, len(got), len(want))
		}
		if err := judge(k, trust.Object{Name: "module", Role: trust.RoleParser, Data: got}); err != nil {
			t.Errorf("trust refuses: %v", err)
		}
		if err := judge(k, trust.Object{Name: "module", Role: trust.RoleParser, Data: flip(got, 100)}); err == nil {
			t.Error("trust accepts a changed file")
		}
	}
}

// evmctl accepts our IMA values, and for RSA they are the bytes it writes.
func TestIMATools(t *testing.T) {
	dir := t.TempDir()
	for _, k := range []*testkit.Key{testkit.NewKey(t, "rsa"), testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec", ECDSA: true})} {
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			data := []byte("a kernel")
			path := testkit.WriteFile(t, "kernel", data)
			v, err := IMA(digest(h, data), h, keyOf(k))
			if err != nil {
				t.Fatal(err)
			}
			sidecar := path + ".sig"
			testkit.Run(t, dir, "evmctl", "ima_sign", "--sigfile", "-a", cms.HashName(h), "-k", k.KeyPEM, path)
			theirs := testkit.ReadFile(t, sidecar)
			if k.Cert.PublicKeyAlgorithm.String() == "RSA" && !bytes.Equal(v, theirs) {
				t.Errorf("IMA(%v) = %x, want evmctl's %x", h, v, theirs)
			}
			ours := testkit.WriteFile(t, "kernel", data)
			writeBeside(t, ours+".sig", v)
			if !accepts(t, "evmctl", "ima_verify", "--sigfile", "-a", cms.HashName(h), "--key", k.CertDER, ours) {
				t.Errorf("evmctl refuses the value, %v %s", h, k.Cert.Subject.CommonName)
			}
			bad := testkit.WriteFile(t, "kernel", flip(data, 1))
			writeBeside(t, bad+".sig", v)
			if accepts(t, "evmctl", "ima_verify", "--sigfile", "-a", cms.HashName(h), "--key", k.CertDER, bad) {
				t.Errorf("evmctl accepts a changed file, %v %s", h, k.Cert.Subject.CommonName)
			}
			parsed, err := ima.Parse(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := parsed.Check(k.Cert, digest(h, data)); err != nil {
				t.Errorf("Check = %v", err)
			}
			if h == crypto.SHA384 {
				continue
			}
			vd, err := ima.VerityDigest(h, data)
			if err != nil {
				t.Fatal(err)
			}
			if v, err = IMAVerity(vd, h, keyOf(k)); err != nil {
				t.Fatal(err)
			}
			if parsed, err = ima.Parse(v); err != nil || parsed.Type != ima.TypeVerity {
				t.Fatalf("ima.Parse = %+v, %v", parsed, err)
			}
			if err := parsed.Check(k.Cert, vd); err != nil {
				t.Errorf("Check of the fs-verity value = %v", err)
			}
		}
	}
}
