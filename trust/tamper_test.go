// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// place is a run of bytes that a signature by specification does not cover.
type place struct {
	from, to int // to is exclusive
	what     string
	rare     bool // only some values go unnoticed: the long tests find them
}

// tamper changes each byte of b in turn and expects a refusal, or a place
// that the specification leaves uncovered. Every such place must be found
// changeable too, or the list would hide more than it says.
func tamper(t *testing.T, b []byte, free []place, verify func([]byte) error) {
	t.Helper()
	if err := verify(b); err != nil {
		t.Fatalf("untouched: %v", err)
	}
	hit := make([]bool, len(free))
	changed := append([]byte(nil), b...)
	step := tamperStep
	for i := range b {
		for x := 1; x < 256; x += step(x) {
			changed[i] = b[i] ^ byte(x)
			if verify(changed) != nil {
				continue
			}
			listed := false
			for n, p := range free {
				if i >= p.from && i < p.to {
					listed, hit[n] = true, true
				}
			}
			if !listed {
				t.Errorf("byte 0x%x of 0x%x: 0x%02x for 0x%02x is not noticed", i, len(b), changed[i], b[i])
			}
		}
		changed[i] = b[i]
	}
	for n, p := range free {
		if !hit[n] && (!p.rare || tamperAll) {
			t.Errorf("%s (0x%x-0x%x) is listed as uncovered and every change there is noticed", p.what, p.from, p.to)
		}
	}
}

// uncoveredPE lists the places of a signed image that Authenticode leaves
// uncovered and that no other rule of ours protects.
func uncoveredPE(t *testing.T, b []byte) []place {
	t.Helper()
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	checksum := int(f.Offset) + 24 + 64
	free := []place{{checksum, checksum + 4, "CheckSum of the optional header", false}}
	// An entry may be said to include some or all of the zero bytes that
	// pad it: the low byte of dwLength, unless the message needs none.
	at := int(f.CertTable.Offset)
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(b[at+8:], &raw); err != nil {
		t.Fatal(err)
	}
	if len(raw.FullBytes)%8 != 0 {
		free = append(free, place{at, at + 1, "low byte of dwLength over zero padding", true})
	}
	return append(free, uncoveredCMS(b)...)
}

// uncoveredCMS lists the one place of a message that says the same in two
// ways: the signature algorithm rsaEncryption, 1.2.840.113549.1.1.1, may also
// be ….1.1.11, sha256WithRSAEncryption, since the digest is named beside it;
// ….1.1.13 for SHA-512.
func uncoveredCMS(b []byte) []place {
	at := bytes.LastIndex(b, []byte{0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1})
	if at < 0 {
		return nil
	}
	return []place{{at + 10, at + 11, "name of the signer's RSA algorithm", true}}
}

func allowedBy(v *trust.Verifier, obj func([]byte) trust.Object) func([]byte) error {
	return func(b []byte) error {
		_, err := v.Verify(obj(b))
		return err
	}
}

func TestTamperPE(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	leaf := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "signer", Issuer: ca, ECDSA: true})
	rsaLeaf := ca.Issue(t, "signer")
	image := trusttest.SmallPE(t)
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"sbsign", sbsign(t, rsaLeaf, image)},
		{"osslsigncode", osslsigncode(t, rsaLeaf, "sha256", image)},
		{"osslsigncode EC", osslsigncode(t, leaf, "sha384", image)},
	} {
		t.Run(c.name, func(t *testing.T) {
			tamper(t, c.b, uncoveredPE(t, c.b), allowedBy(verifier(ca), imageObject))
		})
	}
}

// Sampling on real images: sections, headers, signature.
func TestTamperReal(t *testing.T) {
	ca, err := trust.CertificateList("debian-uefi-ca.der", testkit.ReadFile(t, testkit.DebianCA(t)))
	if err != nil {
		t.Fatal(err)
	}
	v := &trust.Verifier{Policy: trust.DefaultPolicy(), Keys: trust.Keys{Allow: []trust.List{ca}}}
	b := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.1"))
	free := uncoveredPE(t, b)
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	table := int(f.CertTable.Offset)
	for n := 0; n < 100; n++ {
		// Even steps over the image, then over the signature.
		i := n * (len(b) / 60) % len(b)
		if n >= 60 {
			i = table + (n-60)*(len(b)-table)/40
		}
		if i >= free[0].from && i < free[0].to {
			continue
		}
		b[i] ^= 0x04
		if r, err := v.Verify(imageObject(b)); err == nil {
			t.Errorf("byte 0x%x changed is not noticed\n%s", i, dump(r))
		}
		b[i] ^= 0x04
	}
	if _, err := v.Verify(imageObject(b)); err != nil {
		t.Errorf("untouched: %v", err)
	}
}

func TestTamperFiles(t *testing.T) {
	k := testkit.NewCA(t, "signer")
	ec := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec signer", ECDSA: true})
	content := []byte("quiet splash root=/dev/sda1")
	file := func(data []byte) trust.Object {
		return trust.Object{Name: "file", Role: trust.RoleCmdline, Data: data}
	}
	sidecar := func(b []byte) trust.Object {
		o := file(content)
		o.Sidecars = []trust.Sidecar{{Name: "file.sig", Data: b}}
		return o
	}
	attribute := func(b []byte) trust.Object {
		o := file(content)
		o.IMA = b
		return o
	}
	for _, c := range []struct {
		name string
		key  *testkit.Key
		b    []byte
		obj  func([]byte) trust.Object
	}{
		{"appended, sign-file", k, signFile(t, k, "sha256", content), file},
		{"appended, sign-file EC", ec, signFile(t, ec, "sha512", content), file},
		{"detached", k, opensslCMS(t, k, content, "-nocerts", "-nosmimecap"), sidecar},
		{"detached, no attributes", k, opensslCMS(t, k, content, "-nocerts", "-noattr"), sidecar},
		{"detached EC", ec, opensslCMS(t, ec, content, "-nocerts"), sidecar},
		{"IMA attribute", k, evmctl(t, k, "sha256", content), attribute},
		{"IMA attribute EC", ec, evmctl(t, ec, "sha256", content), attribute},
		{"IMA sidecar", k, evmctl(t, k, "sha512", content), sidecar},
	} {
		t.Run(c.name, func(t *testing.T) {
			tamper(t, c.b, uncoveredCMS(c.b), allowedBy(verifier(c.key), c.obj))
		})
	}
	// The contents beside a signature in a file of its own.
	sig := opensslCMS(t, k, content)
	imaSig := evmctl(t, k, "sha256", content)
	for i, with := range []func(o *trust.Object){
		func(o *trust.Object) { o.Sidecars = []trust.Sidecar{{Name: "file.p7s", Data: sig}} },
		func(o *trust.Object) { o.IMA = imaSig },
	} {
		t.Run(fmt.Sprintf("contents %d", i), func(t *testing.T) {
			tamper(t, content, nil, allowedBy(verifier(k), func(b []byte) trust.Object {
				o := file(b)
				with(&o)
				return o
			}))
		})
	}
}

// Certificates that a message carries and nobody needs for the chain are not
// covered by the signature; changing them must not help or hurt.
func TestTamperCarriedCertificate(t *testing.T) {
	k := testkit.NewCA(t, "signer")
	content := []byte("contents")
	sig := opensslCMS(t, k, content)
	v := verifier(k)
	refused := 0
	for i := range sig {
		b := append([]byte(nil), sig...)
		b[i] ^= 1
		r, err := v.Verify(trust.Object{Name: "file", Role: trust.RoleInitrd, Data: content, Sidecars: []trust.Sidecar{{Name: "s", Data: b}}})
		if err != nil {
			refused++
			continue
		}
		if got := r.Layers[0].Signatures[0].Chain[0].Fingerprint; got != fingerprint(k.Cert) {
			t.Errorf("byte 0x%x changed: decided by certificate %s, want the listed one", i, got)
		}
	}
	if refused == 0 || refused == len(sig) {
		t.Errorf("%d of %d changes refused, want some and not all", refused, len(sig))
	}
}
