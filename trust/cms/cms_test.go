// SPDX-License-Identifier: Apache-2.0

package cms_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/cms"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

func options(k *testkit.Key) trusttest.Options {
	return trusttest.Options{Signer: k.Signer, Cert: k.Cert, Detached: []byte("contents")}
}

// check parses der and verifies its first signer over content.
func check(der, content []byte, c *x509.Certificate) error {
	sd, err := cms.Parse(der)
	if err != nil {
		return err
	}
	s := &sd.Signers[0]
	h := s.Digest.New()
	h.Write(content)
	if !s.Names(c) {
		return errors.New("signer does not name the certificate")
	}
	return s.Check(c, sd.ContentType, h.Sum(nil))
}

func TestCheck(t *testing.T) {
	rsaKey := testkit.NewKey(t, "rsa")
	ecKey := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec", ECDSA: true})
	stranger := testkit.NewKey(t, "rsa")
	for _, c := range []struct {
		name string
		key  *testkit.Key
		edit func(*trusttest.Options)
		want error
	}{
		{"RSA SHA-256", rsaKey, func(*trusttest.Options) {}, nil},
		{"RSA SHA-384", rsaKey, func(o *trusttest.Options) { o.Hash = crypto.SHA384 }, nil},
		{"RSA SHA-512", rsaKey, func(o *trusttest.Options) { o.Hash = crypto.SHA512 }, nil},
		{"RSA-PSS SHA-256", rsaKey, func(o *trusttest.Options) { o.PSS = true }, nil},
		{"RSA-PSS SHA-512", rsaKey, func(o *trusttest.Options) { o.PSS, o.Hash = true, crypto.SHA512 }, nil},
		{"ECDSA SHA-256", ecKey, func(*trusttest.Options) {}, nil},
		{"ECDSA SHA-384", ecKey, func(o *trusttest.Options) { o.Hash = crypto.SHA384 }, nil},
		{"no attributes", rsaKey, func(o *trusttest.Options) { o.NoAttrs = true }, nil},
		{"no certificates", rsaKey, func(o *trusttest.Options) { o.NoCerts = true }, nil},
		{"key identifier", withKeyID(t), func(o *trusttest.Options) { o.KeyID = true }, nil},
		{"corrupt signature", rsaKey, func(o *trusttest.Options) { o.CorruptSignature = true }, cms.ErrSignature},
		{"another key", rsaKey, func(o *trusttest.Options) { o.Signer = stranger.Signer }, cms.ErrSignature},
		{"another message digest", rsaKey, func(o *trusttest.Options) { o.MessageDigest = make([]byte, 32) }, cms.ErrDigest},
		{"two message digests", rsaKey, func(o *trusttest.Options) { o.DoubleDigestAttr = true }, cms.ErrSyntax},
		{"content type attribute of another type", rsaKey, func(o *trusttest.Options) { o.AttrContentType = cms.OIDTSTInfo() }, cms.ErrDigest},
		{"typed content without attributes", rsaKey, func(o *trusttest.Options) {
			o.ContentType, o.NoAttrs = cms.OIDTSTInfo(), true
		}, cms.ErrSyntax},
		{"version 2", rsaKey, func(o *trusttest.Options) { o.Version = 2 }, cms.ErrSyntax},
		{"version 3 for plain data", rsaKey, func(o *trusttest.Options) { o.Version = 3 }, cms.ErrSyntax},
		{"signer version 3 with a name", rsaKey, func(o *trusttest.Options) { o.SignerVersion = 3 }, cms.ErrSyntax},
		{"digest not announced", rsaKey, func(o *trusttest.Options) { o.AnnounceHash = crypto.SHA512 }, cms.ErrSyntax},
		{"signature algorithm of another digest", rsaKey, func(o *trusttest.Options) {
			o.SignatureOID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
		}, cms.ErrAlgorithm},
		{"unknown signature algorithm", rsaKey, func(o *trusttest.Options) {
			o.SignatureOID = asn1.ObjectIdentifier{1, 3, 101, 112}
		}, cms.ErrAlgorithm},
		{"EC algorithm, RSA key", rsaKey, func(o *trusttest.Options) {
			o.SignatureOID = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
		}, cms.ErrAlgorithm},
		{"bytes at the end of SignedData", rsaKey, func(o *trusttest.Options) { o.TrailingInMessage = []byte{5, 0} }, cms.ErrSyntax},
	} {
		o := options(c.key)
		c.edit(&o)
		if err := check(trusttest.Message(t, o), o.Detached, c.key.Cert); !errors.Is(err, c.want) {
			t.Errorf("check(%s) = %v, want %v", c.name, err, c.want)
		}
	}
}

// withKeyID returns an authority, whose certificate crypto/x509 gives a
// subject key identifier.
func withKeyID(t *testing.T) *testkit.Key {
	k := testkit.NewCA(t, "authority")
	if len(k.Cert.SubjectKeyId) == 0 {
		t.Fatal("authority has no subject key identifier")
	}
	return k
}

// The message digest is over the value of the content, not over its tag and
// length: a writer that gets it wrong must be refused, and one that gets it
// right accepted.
func TestMessageDigestOverValue(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	content := trusttest.Indirect(t, crypto.SHA256, make([]byte, 32))
	for _, c := range []struct {
		tlv  bool
		want error
	}{{false, nil}, {true, cms.ErrDigest}} {
		sd, err := cms.Parse(trusttest.Message(t, trusttest.Options{Signer: k.Signer, Cert: k.Cert,
			ContentType: trusttest.IndirectData, Content: content, DigestOverTLV: c.tlv}))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.Sum256(sd.Content)
		if err := sd.Signers[0].CheckContent(h[:]); !errors.Is(err, c.want) {
			t.Errorf("CheckContent(over TLV %t) = %v, want %v", c.tlv, err, c.want)
		}
	}
}

func TestParseStrict(t *testing.T) {
	der := trusttest.Message(t, options(testkit.NewKey(t, "signer")))
	if _, err := cms.Parse(der); err != nil {
		t.Fatal(err)
	}
	indefinite := append([]byte{0x30, 0x80}, der[4:]...)
	indefinite = append(indefinite, 0, 0)
	long := append([]byte{0x30, 0x83, 0}, der[2:]...)
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil}, {"truncated", der[:len(der)-1]}, {"trailing byte", append(der[:len(der):len(der)], 0)},
		{"indefinite length", indefinite}, {"length not minimal", long}, {"text", []byte("no signature at all")},
		{"too large", make([]byte, cms.MaxSize+1)},
	} {
		if _, err := cms.Parse(c.b); !errors.Is(err, cms.ErrSyntax) && !errors.Is(err, cms.ErrLimit) {
			t.Errorf("Parse(%s) = %v, want ErrSyntax or ErrLimit", c.name, err)
		}
	}
	pad := func(n int, b byte) []byte {
		out := append([]byte(nil), der...)
		for i := 0; i < n; i++ {
			out = append(out, b)
		}
		return out
	}
	for _, c := range []struct {
		n  int
		b  byte
		ok bool
	}{{0, 0, true}, {7, 0, true}, {8, 0, false}, {1, 1, false}} {
		if _, err := cms.ParsePadded(pad(c.n, c.b)); (err == nil) != c.ok {
			t.Errorf("ParsePadded(%d bytes 0x%02x) = %v, want ok %t", c.n, c.b, err, c.ok)
		}
	}
}

// openssl writes what we read.
func TestOpenSSL(t *testing.T) {
	dir := t.TempDir()
	content := []byte("contents of a file\nwith lines\n")
	in := testkit.WriteFile(t, "in", content)
	for _, c := range []struct {
		name string
		key  *testkit.Key
		args []string
	}{
		{"RSA", testkit.NewKey(t, "a"), nil},
		{"RSA SHA-512", testkit.NewKey(t, "a"), []string{"-md", "sha512"}},
		{"PSS", testkit.NewKey(t, "a"), []string{"-keyopt", "rsa_padding_mode:pss"}},
		{"PSS, longest salt", testkit.NewKey(t, "a"), []string{"-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:max"}},
		{"EC", testkit.NewKeyWith(t, testkit.KeyOptions{CN: "a", ECDSA: true}), []string{"-md", "sha384"}},
		{"no attributes", testkit.NewKey(t, "a"), []string{"-noattr"}},
		{"key identifier", testkit.NewCA(t, "a"), []string{"-keyid"}},
		{"no certificate", testkit.NewKey(t, "a"), []string{"-nocerts"}},
	} {
		out := filepath.Join(dir, "out.p7s")
		args := append([]string{"cms", "-sign", "-binary", "-in", in, "-signer", c.key.CertPEM, "-inkey", c.key.KeyPEM,
			"-outform", "DER", "-out", out}, c.args...)
		testkit.Run(t, "", "openssl", args...)
		der := testkit.ReadFile(t, out)
		if err := check(der, content, c.key.Cert); err != nil {
			t.Errorf("check(openssl %s) = %v, want nil", c.name, err)
		}
		if err := check(der, append(content[:len(content):len(content)], '\n'), c.key.Cert); err == nil {
			t.Errorf("check(openssl %s, changed content) = nil, want an error", c.name)
		}
	}
}

// openssl reads what the tests' own writer makes: the writer is no oracle of
// its own.
func TestOpenSSLReads(t *testing.T) {
	k := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "signer", Usage: []x509.ExtKeyUsage{}})
	o := options(k)
	sig := testkit.WriteFile(t, "sig", trusttest.Message(t, o))
	in := testkit.WriteFile(t, "in", o.Detached)
	testkit.Run(t, "", "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", sig, "-content", in,
		"-CAfile", k.CertPEM, "-purpose", "any", "-out", os.DevNull)
}

func TestTimestamps(t *testing.T) {
	k, tsa := testkit.NewKey(t, "signer"), testkit.NewKey(t, "time")
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	ts := trusttest.Options{Signer: tsa.Signer, Cert: tsa.Cert}
	for _, c := range []struct {
		name string
		attr func(sig []byte) []trusttest.Attribute
		kind string
		want error
	}{
		{"token", func(sig []byte) []trusttest.Attribute {
			return []trusttest.Attribute{{Type: trusttest.TimestampToken, Value: trusttest.Token(t, ts, at, sig)}}
		}, "rfc3161", nil},
		{"token over another signature", func([]byte) []trusttest.Attribute {
			return []trusttest.Attribute{{Type: trusttest.TimestampToken, Value: trusttest.Token(t, ts, at, []byte("other"))}}
		}, "rfc3161", cms.ErrDigest},
		{"token that is none", func([]byte) []trusttest.Attribute {
			return []trusttest.Attribute{{Type: trusttest.TimestampToken, Value: []byte{5, 0}}}
		}, "rfc3161", cms.ErrSyntax},
		{"corrupt token", func(sig []byte) []trusttest.Attribute {
			o := ts
			o.CorruptSignature = true
			return []trusttest.Attribute{{Type: trusttest.TimestampToken, Value: trusttest.Token(t, o, at, sig)}}
		}, "rfc3161", cms.ErrSignature},
		{"countersignature", func(sig []byte) []trusttest.Attribute {
			return []trusttest.Attribute{{Type: trusttest.CounterSignature, Value: trusttest.Counter(t, ts, at, sig)}}
		}, "countersignature", nil},
		{"countersignature over another signature", func([]byte) []trusttest.Attribute {
			return []trusttest.Attribute{{Type: trusttest.CounterSignature, Value: trusttest.Counter(t, ts, at, []byte("other"))}}
		}, "countersignature", cms.ErrDigest},
	} {
		o := options(k)
		o.Extra = []*x509.Certificate{tsa.Cert}
		o.Unsigned = c.attr
		sd, err := cms.Parse(trusttest.Message(t, o))
		if err != nil {
			t.Fatalf("Parse(%s) = %v", c.name, err)
		}
		got := sd.Timestamps(&sd.Signers[0])
		if len(got) != 1 || got[0].Kind != c.kind || !errors.Is(got[0].Err, c.want) {
			t.Fatalf("Timestamps(%s) = %+v, want one %s with error %v", c.name, got, c.kind, c.want)
		}
		if c.want == nil && (!got[0].Time.Equal(at) || got[0].Certificate == nil || !got[0].Certificate.Equal(tsa.Cert)) {
			t.Errorf("Timestamps(%s) = %+v, want %v by the time key", c.name, got[0], at)
		}
	}
}

func FuzzCMS(f *testing.F) {
	k := testkit.NewKey(f, "signer")
	ec := testkit.NewKeyWith(f, testkit.KeyOptions{CN: "ec", ECDSA: true})
	o := options(k)
	f.Add(trusttest.Message(f, o))
	o.PSS = true
	f.Add(trusttest.Message(f, o))
	f.Add(trusttest.Message(f, options(ec)))
	ts := trusttest.Options{Signer: k.Signer, Cert: k.Cert}
	o.Unsigned = func(sig []byte) []trusttest.Attribute {
		return []trusttest.Attribute{
			{Type: trusttest.TimestampToken, Value: trusttest.Token(f, ts, time.Unix(1e9, 0), sig)},
			{Type: trusttest.CounterSignature, Value: trusttest.Counter(f, ts, time.Unix(1e9, 0), sig)},
		}
	}
	f.Add(trusttest.Message(f, o))
	f.Fuzz(func(t *testing.T, b []byte) {
		sd, err := cms.ParsePadded(b)
		if err != nil {
			return
		}
		for i := range sd.Signers {
			s := &sd.Signers[i]
			sd.Timestamps(s)
			if c := sd.Certificate(s); c != nil {
				_ = s.Check(c, sd.ContentType, make([]byte, s.Digest.Size()))
				_, _ = cms.CheckIssued(c, c)
			}
		}
	})
}
