// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// Debian's own kernels verify against Debian's authority and nobody else's,
// not even one of the same name.
func TestDebianKernels(t *testing.T) {
	ca, err := trust.CertificateList("debian-uefi-ca.der", testkit.ReadFile(t, testkit.DebianCA(t)))
	if err != nil {
		t.Fatal(err)
	}
	v := &trust.Verifier{Policy: trust.DefaultPolicy(), Keys: trust.Keys{Allow: []trust.List{ca}}}
	namesake := verifier(testkit.NewCA(t, "Debian Secure Boot CA"))
	for _, k := range []struct{ arch, series string }{{"amd64", "6.1"}, {"amd64", "6.12"}, {"amd64", "new"}, {"arm64", "6.12"}} {
		kernel := testkit.ReadFile(t, testkit.Kernel(t, k.arch, k.series))
		r, err := v.Verify(imageObject(kernel))
		wantError(t, k.arch+" "+k.series, r, err, nil)
		if l := &r.Layers[0]; l.List != "debian-uefi-ca.der" || !strings.HasPrefix(l.Signer, "Debian Secure Boot Signer") || len(l.Chain) != 2 {
			t.Errorf("Verify(%s %s) = signer %q by list %q, chain %q", k.arch, k.series, l.Signer, l.List, l.Chain)
		}
		r, err = namesake.Verify(imageObject(kernel))
		wantError(t, k.arch+" "+k.series+", namesake", r, err, trust.ErrUnknownSigner)

		kernel[len(kernel)/2] ^= 1
		r, err = v.Verify(imageObject(kernel))
		wantError(t, k.arch+" "+k.series+", changed", r, err, trust.ErrDigestMismatch)
	}
}

// Debian's shim carries two signatures by Microsoft, under two authorities;
// either authority vouches for it, and revoking one refuses it.
func TestShimTwoSignatures(t *testing.T) {
	shim := testkit.ReadFile(t, testkit.Shim(t))
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	r, err := v.Verify(imageObject(shim))
	wantError(t, "no keys", r, err, trust.ErrUnknownSigner)
	sigs := r.Layers[0].Signatures
	if len(sigs) != 2 {
		t.Fatalf("Verify(shim) = %d signatures, want 2", len(sigs))
	}
	authorities := microsoft(t, shim)
	if len(authorities) != 2 {
		t.Fatalf("shim carries %d authorities, want 2", len(authorities))
	}
	for i, c := range authorities {
		v.Keys = trust.Keys{Allow: []trust.List{{Name: "db", Scope: trust.ScopeFirmware, Certificates: []*x509.Certificate{c}}}}
		r, err := v.Verify(imageObject(shim))
		wantError(t, c.Subject.CommonName, r, err, nil)
		good := 0
		for _, s := range r.Layers[0].Signatures {
			if s.Good {
				good++
			}
			if len(s.Timestamps) != 1 || s.Timestamps[0].Error != "" || s.Timestamps[0].Kind != "rfc3161" ||
				s.Timestamps[0].Time.Year() < 2025 || s.Timestamps[0].Trusted {
				t.Errorf("Verify(shim).Timestamps = %+v, want one RFC 3161 stamp that nobody vouches for", s.Timestamps)
			}
		}
		if good != 1 {
			t.Errorf("Verify(shim, %s) = %d good signatures, want 1", c.Subject.CommonName, good)
		}
		// The other authority denied: firmware refuses an image of which
		// any signature is revoked.
		v.Keys.Deny = []trust.List{{Name: "dbx", Scope: trust.ScopeFirmware, Certificates: []*x509.Certificate{authorities[1-i]}}}
		r, err = v.Verify(imageObject(shim))
		wantError(t, "other authority revoked", r, err, trust.ErrRevoked)
	}
}

// microsoft returns the certificates of authorities that a shim carries.
func microsoft(t *testing.T, shim []byte) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, e := range entries(t, shim) {
		for _, c := range e.Message.Certificates {
			if c.IsCA {
				out = append(out, c)
			}
		}
	}
	return out
}

// A leaf that expired is accepted and noted, as firmware does.
func TestExpired(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	leaf := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "old signer", Issuer: ca, Expired: true})
	v := verifier(ca)
	v.Now = time.Now()
	r, err := v.Verify(imageObject(signed(t, leaf)))
	wantError(t, "expired", r, err, nil)
	if notes := strings.Join(r.Layers[0].Signatures[0].Notes, "; "); !strings.Contains(notes, "old signer expired on") {
		t.Errorf("Notes = %q, want the expiry", notes)
	}
}

// Each tool's signature verifies, and its own verifier agrees about a changed
// byte.
func TestSigners(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	leaf := ca.Issue(t, "signer")
	ec := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec signer", Issuer: ca, ECDSA: true})
	stub := testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie"))
	boot := testkit.ReadFile(t, testkit.SystemdBoot(t, "amd64", "trixie"))
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12-unsigned"))
	for _, c := range []struct {
		name  string
		image []byte
		hash  string
	}{
		{"sbsign, stub", sbsign(t, leaf, stub), "sha256"},
		{"sbsign, systemd-boot", sbsign(t, leaf, boot), "sha256"},
		{"sbsign, kernel", sbsign(t, leaf, kernel), "sha256"},
		{"pesign, stub", pesign(t, leaf, stub), "sha256"},
		{"pesign, kernel", pesign(t, leaf, kernel), "sha256"},
		{"osslsigncode sha256", osslsigncode(t, leaf, "sha256", stub), "sha256"},
		{"osslsigncode sha384", osslsigncode(t, leaf, "sha384", stub), "sha384"},
		{"osslsigncode sha512", osslsigncode(t, leaf, "sha512", kernel), "sha512"},
		{"osslsigncode page hashes", osslsigncode(t, leaf, "sha256", stub, "-ph"), "sha256"},
		{"osslsigncode EC", osslsigncode(t, ec, "sha256", stub), "sha256"},
		{"osslsigncode EC sha384", osslsigncode(t, ec, "sha384", stub), "sha384"},
		{"PSS", trusttest.SignPE(t, trusttest.SmallPE(t), trusttest.Options{Signer: leaf.Signer, Cert: leaf.Cert, PSS: true}), "sha256"},
	} {
		r, err := verifier(ca).Verify(imageObject(c.image))
		wantError(t, c.name, r, err, nil)
		if got := r.Layers[0].Signatures[0].Digest; got != c.hash {
			t.Errorf("Verify(%s).Digest = %q, want %q", c.name, got, c.hash)
		}
		p := testkit.WriteFile(t, "signed.efi", c.image)
		if c.name != "PSS" && !toolAccepts(t, "osslsigncode", "verify", "-CAfile", ca.CertPEM, "-in", p) {
			t.Errorf("osslsigncode refuses %s", c.name)
		}
		changed := append([]byte(nil), c.image...)
		changed[len(changed)/3&^0xfff+2] ^= 0x10
		r, err = verifier(ca).Verify(imageObject(changed))
		wantError(t, c.name+", changed", r, err, trust.ErrDigestMismatch)
		p = testkit.WriteFile(t, "changed.efi", changed)
		if toolAccepts(t, "osslsigncode", "verify", "-CAfile", ca.CertPEM, "-in", p) {
			t.Errorf("osslsigncode accepts %s with a changed byte", c.name)
		}
	}
}

// Two signatures by two tools on one image; each list finds its own.
func TestSeveralSignatures(t *testing.T) {
	a, b := testkit.NewKey(t, "first"), testkit.NewKey(t, "second")
	image := sbsign(t, b, sbsign(t, a, testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie"))))
	for i, k := range []*testkit.Key{a, b} {
		r, err := verifier(k).Verify(imageObject(image))
		wantError(t, k.Cert.Subject.CommonName, r, err, nil)
		if s := r.Layers[0].Signatures; len(s) != 2 || !s[i].Good || s[1-i].Good {
			t.Errorf("Verify(%d).Signatures = %+v, want two of which number %d is good", i, s, i)
		}
	}
}

// A nested signature is shown and does not count: firmware does not see it.
func TestNestedSignature(t *testing.T) {
	outer, inner := testkit.NewKey(t, "outer"), testkit.NewKey(t, "inner")
	image := trusttest.SmallPE(t)
	o := opts(outer)
	o.Unsigned = func([]byte) []trusttest.Attribute {
		return []trusttest.Attribute{{Type: trusttest.NestedSignature, Value: trusttest.Authenticode(t, image, opts(inner))}}
	}
	both := trusttest.SignPE(t, image, o)
	r, err := verifier(outer).Verify(imageObject(both))
	wantError(t, "outer", r, err, nil)
	if n := r.Layers[0].Signatures[0].Notes; len(n) == 0 || !strings.Contains(n[0], "nested") {
		t.Errorf("Notes = %q, want the nested signature", n)
	}
	r, err = verifier(inner).Verify(imageObject(both))
	wantError(t, "inner", r, err, trust.ErrUnknownSigner)
}

// sign-file, openssl and evmctl on a real kernel module and a real initrd.
func TestFileSignatures(t *testing.T) {
	k := testkit.NewCA(t, "file signer")
	ec := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec file signer", ECDSA: true})
	stranger := testkit.NewCA(t, "file signer")
	content := testkit.Module(t, testkit.KernelImage(t, "amd64", "6.12"), "efivarfs")
	initrd := testkit.Initramfs(t, testkit.Plain("etc/marker", []byte("initrd")))
	pemSig := opensslCMS(t, k, initrd, "-outform", "PEM")
	for _, c := range []struct {
		name string
		key  *testkit.Key
		obj  trust.Object
		kind trust.Kind
	}{
		{"sign-file sha256", k, trust.Object{Role: trust.RoleImage, Data: signFile(t, k, "sha256", content)}, trust.KindAppended},
		{"sign-file sha512", k, trust.Object{Role: trust.RoleParser, Data: signFile(t, k, "sha512", content)}, trust.KindAppended},
		{"sign-file EC", ec, trust.Object{Role: trust.RoleParser, Data: signFile(t, ec, "sha256", content)}, trust.KindAppended},
		{"openssl", k, trust.Object{Role: trust.RoleInitrd, Data: initrd,
			Sidecars: []trust.Sidecar{{Name: "initrd.p7s", Data: opensslCMS(t, k, initrd)}}}, trust.KindDetached},
		{"openssl PEM", k, trust.Object{Role: trust.RoleInitrd, Data: initrd,
			Sidecars: []trust.Sidecar{{Name: "initrd.sig", Data: pemSig}}}, trust.KindDetached},
		{"openssl, no certificate", k, trust.Object{Role: trust.RoleCmdline, Data: []byte("quiet"),
			Sidecars: []trust.Sidecar{{Name: "cmdline.p7s", Data: opensslCMS(t, k, []byte("quiet"), "-nocerts")}}}, trust.KindDetached},
		{"openssl EC", ec, trust.Object{Role: trust.RoleDTB, Data: initrd,
			Sidecars: []trust.Sidecar{{Name: "dtb.p7s", Data: opensslCMS(t, ec, initrd, "-md", "sha384")}}}, trust.KindDetached},
		{"evmctl sidecar", k, trust.Object{Role: trust.RoleInitrd, Data: initrd,
			Sidecars: []trust.Sidecar{{Name: "initrd.sig", Data: evmctl(t, k, "sha256", initrd)}}}, trust.KindIMA},
		{"evmctl sha512, attribute", k, trust.Object{Role: trust.RoleInitrd, Data: initrd, IMA: evmctl(t, k, "sha512", initrd)}, trust.KindIMA},
		{"evmctl EC", ec, trust.Object{Role: trust.RoleInitrd, Data: initrd, IMA: evmctl(t, ec, "sha256", initrd)}, trust.KindIMA},
	} {
		c.obj.Name = c.name
		r, err := verifier(c.key).Verify(c.obj)
		wantError(t, c.name, r, err, nil)
		if s := r.Layers[0].Signatures; len(s) != 1 || s[0].Kind != c.kind {
			t.Errorf("Verify(%s).Signatures = %+v, want one of kind %s", c.name, s, c.kind)
		}
		r, err = verifier(stranger).Verify(c.obj)
		wantError(t, c.name+", stranger", r, err, trust.ErrRefused)

		changed := c.obj
		changed.Data = append([]byte(nil), changed.Data...)
		changed.Data[2] ^= 0x20
		r, err = verifier(c.key).Verify(changed)
		wantError(t, c.name+", changed", r, err, trust.ErrRefused)
		for _, s := range r.Layers[0].Signatures {
			if s.Good {
				t.Errorf("Verify(%s, changed) = a good signature", c.name)
			}
		}
	}
}
