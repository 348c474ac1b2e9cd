// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1"   // registers crypto.SHA1, which old signatures name
	_ "crypto/sha256" // registers crypto.SHA256
	_ "crypto/sha512" // registers crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Scheme is a way to turn a digest and a key into a signature.
type Scheme string

// The schemes this package checks.
const (
	PKCS1v15 Scheme = "rsa-pkcs1v15" // RFC 8017, section 8.2
	PSS      Scheme = "rsa-pss"      // RFC 8017, section 8.1
	ECDSA    Scheme = "ecdsa"        // RFC 5753, section 2.1
)

// maxRSABits bounds the work that a hostile key can cause.
const maxRSABits = 8192

// Algorithm says how a signature was made.
type Algorithm struct {
	Scheme Scheme
	// Hash is the digest the signature is over, 0 when the identifier does
	// not name one (rsaEncryption, ecPublicKey).
	Hash crypto.Hash
	// SaltLength is the number of salt bytes of PSS.
	SaltLength int
}

// String returns a name such as "rsa-pkcs1v15-sha256".
func (a Algorithm) String() string {
	if a.Hash == 0 {
		return string(a.Scheme)
	}
	return string(a.Scheme) + "-" + HashName(a.Hash)
}

// HashName returns the short lower-case name of h: "sha256".
func HashName(h crypto.Hash) string {
	switch h {
	case crypto.SHA1:
		return "sha1"
	case crypto.SHA224:
		return "sha224"
	case crypto.SHA256:
		return "sha256"
	case crypto.SHA384:
		return "sha384"
	case crypto.SHA512:
		return "sha512"
	}
	return fmt.Sprintf("hash-%d", uint(h))
}

// hashOf maps a digest algorithm to a hash, 0 when it is none we check.
// MD5 and older are left out: nothing that boots today uses them.
func hashOf(oid asn1.ObjectIdentifier) crypto.Hash {
	switch oid.String() {
	case "1.3.14.3.2.26":
		return crypto.SHA1
	case "2.16.840.1.101.3.4.2.4":
		return crypto.SHA224
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256
	case "2.16.840.1.101.3.4.2.2":
		return crypto.SHA384
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512
	}
	return 0
}

// ReadHash reads an AlgorithmIdentifier that names a digest. Parameters must
// be absent or NULL (RFC 5754, section 2).
func ReadHash(s *cryptobyte.String) (crypto.Hash, error) {
	var alg cryptobyte.String
	if !s.ReadASN1(&alg, cbasn1.SEQUENCE) {
		return 0, fmt.Errorf("digest algorithm: %w", ErrSyntax)
	}
	return readHashBody(alg)
}

func readHashBody(alg cryptobyte.String) (crypto.Hash, error) {
	var oid asn1.ObjectIdentifier
	if !alg.ReadASN1ObjectIdentifier(&oid) || !nullOrEmpty(alg) {
		return 0, fmt.Errorf("digest algorithm: %w", ErrSyntax)
	}
	h := hashOf(oid)
	if h == 0 {
		return 0, fmt.Errorf("digest algorithm %v: %w", oid, ErrAlgorithm)
	}
	return h, nil
}

// nullOrEmpty reports whether algorithm parameters are absent or exactly NULL.
func nullOrEmpty(s cryptobyte.String) bool {
	if s.Empty() {
		return true
	}
	var null cryptobyte.String
	return s.ReadASN1(&null, cbasn1.NULL) && null.Empty() && s.Empty()
}

// readAlgorithm reads an AlgorithmIdentifier that names a signature scheme,
// or a bare key type as PKCS #7 writers put there.
func readAlgorithm(s *cryptobyte.String) (Algorithm, error) {
	var alg cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !s.ReadASN1(&alg, cbasn1.SEQUENCE) || !alg.ReadASN1ObjectIdentifier(&oid) {
		return Algorithm{}, fmt.Errorf("signature algorithm: %w", ErrSyntax)
	}
	var a Algorithm
	switch oid.String() {
	case "1.2.840.113549.1.1.1": // rsaEncryption
		a = Algorithm{Scheme: PKCS1v15}
	case "1.2.840.113549.1.1.5":
		a = Algorithm{Scheme: PKCS1v15, Hash: crypto.SHA1}
	case "1.2.840.113549.1.1.14":
		a = Algorithm{Scheme: PKCS1v15, Hash: crypto.SHA224}
	case "1.2.840.113549.1.1.11":
		a = Algorithm{Scheme: PKCS1v15, Hash: crypto.SHA256}
	case "1.2.840.113549.1.1.12":
		a = Algorithm{Scheme: PKCS1v15, Hash: crypto.SHA384}
	case "1.2.840.113549.1.1.13":
		a = Algorithm{Scheme: PKCS1v15, Hash: crypto.SHA512}
	case "1.2.840.113549.1.1.10":
		return readPSS(alg)
	case "1.2.840.10045.4.1":
		a = Algorithm{Scheme: ECDSA, Hash: crypto.SHA1}
	case "1.2.840.10045.4.3.1":
		a = Algorithm{Scheme: ECDSA, Hash: crypto.SHA224}
	case "1.2.840.10045.4.3.2":
		a = Algorithm{Scheme: ECDSA, Hash: crypto.SHA256}
	case "1.2.840.10045.4.3.3":
		a = Algorithm{Scheme: ECDSA, Hash: crypto.SHA384}
	case "1.2.840.10045.4.3.4":
		a = Algorithm{Scheme: ECDSA, Hash: crypto.SHA512}
	case "1.2.840.10045.2.1": // ecPublicKey; the curve may follow and says nothing new
		return Algorithm{Scheme: ECDSA}, nil
	default:
		return Algorithm{}, fmt.Errorf("signature algorithm %v: %w", oid, ErrAlgorithm)
	}
	if !nullOrEmpty(alg) {
		return Algorithm{}, fmt.Errorf("signature algorithm %v: parameters: %w", oid, ErrSyntax)
	}
	return a, nil
}

// readPSS reads RSASSA-PSS-params (RFC 4055, section 3.1).
func readPSS(s cryptobyte.String) (Algorithm, error) {
	bad := func(what string, err error) (Algorithm, error) {
		return Algorithm{}, fmt.Errorf("PSS parameters: %s: %w", what, err)
	}
	a := Algorithm{Scheme: PSS, Hash: crypto.SHA1, SaltLength: 20}
	mgf := crypto.SHA1
	var p, f cryptobyte.String
	var has bool
	if !s.ReadASN1(&p, cbasn1.SEQUENCE) || !s.Empty() {
		return bad("sequence", ErrSyntax)
	}
	tag := func(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }
	if !p.ReadOptionalASN1(&f, &has, tag(0)) {
		return bad("hash", ErrSyntax)
	}
	if has {
		h, err := ReadHash(&f)
		if err != nil || !f.Empty() {
			return bad("hash", ErrAlgorithm)
		}
		a.Hash = h
	}
	if !p.ReadOptionalASN1(&f, &has, tag(1)) {
		return bad("mask generation", ErrSyntax)
	}
	if has {
		var m cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !f.ReadASN1(&m, cbasn1.SEQUENCE) || !f.Empty() || !m.ReadASN1ObjectIdentifier(&oid) ||
			oid.String() != "1.2.840.113549.1.1.8" {
			return bad("mask generation", ErrAlgorithm)
		}
		h, err := ReadHash(&m)
		if err != nil || !m.Empty() {
			return bad("mask generation hash", ErrAlgorithm)
		}
		mgf = h
	}
	if !p.ReadOptionalASN1(&f, &has, tag(2)) {
		return bad("salt length", ErrSyntax)
	}
	if has && (!f.ReadASN1Integer(&a.SaltLength) || !f.Empty()) {
		return bad("salt length", ErrSyntax)
	}
	if !p.ReadOptionalASN1(&f, &has, tag(3)) {
		return bad("trailer", ErrSyntax)
	}
	if has {
		var t int
		if !f.ReadASN1Integer(&t) || !f.Empty() || t != 1 {
			return bad("trailer", ErrAlgorithm)
		}
	}
	if !p.Empty() {
		return bad("trailing bytes", ErrSyntax)
	}
	// crypto/rsa, like every signer in the field, uses one hash for both.
	if mgf != a.Hash {
		return bad("mask generation hash differs from the message hash", ErrAlgorithm)
	}
	if a.SaltLength < 0 || a.SaltLength > 512 {
		return bad("salt length", ErrLimit)
	}
	return a, nil
}

// CheckDigest verifies that sig is a signature with pub over digest, made
// with hash h by scheme a.Scheme. It returns ErrSignature when it is not and
// ErrAlgorithm when key and scheme do not fit together.
func CheckDigest(pub crypto.PublicKey, a Algorithm, h crypto.Hash, digest, sig []byte) error {
	if !h.Available() || len(digest) != h.Size() {
		return fmt.Errorf("digest of %d bytes for %s: %w", len(digest), HashName(h), ErrAlgorithm)
	}
	if a.Hash != 0 && a.Hash != h {
		return fmt.Errorf("signature names %s, digest is %s: %w", HashName(a.Hash), HashName(h), ErrAlgorithm)
	}
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() > maxRSABits {
			return fmt.Errorf("RSA key of %d bits: %w", k.N.BitLen(), ErrLimit)
		}
		var err error
		switch a.Scheme {
		case PKCS1v15:
			err = rsa.VerifyPKCS1v15(k, h, digest, sig)
		case PSS:
			err = rsa.VerifyPSS(k, h, digest, sig, &rsa.PSSOptions{SaltLength: pssSalt(a.SaltLength), Hash: h})
		default:
			return fmt.Errorf("%s with an RSA key: %w", a.Scheme, ErrAlgorithm)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.Scheme, ErrSignature)
		}
		return nil
	case *ecdsa.PublicKey:
		if a.Scheme != ECDSA {
			return fmt.Errorf("%s with an EC key: %w", a.Scheme, ErrAlgorithm)
		}
		if !ecdsa.VerifyASN1(k, digest, sig) {
			return fmt.Errorf("%s: %w", a.Scheme, ErrSignature)
		}
		return nil
	}
	return fmt.Errorf("key of type %T: %w", pub, ErrAlgorithm)
}

// pssSalt keeps a salt length of zero from meaning "automatic" to crypto/rsa,
// which has no way to ask for exactly zero.
func pssSalt(n int) int {
	if n == 0 {
		return rsa.PSSSaltLengthAuto
	}
	return n
}

// CertificateAlgorithm returns how the issuer signed c.
func CertificateAlgorithm(c *x509.Certificate) (Algorithm, []byte, error) {
	s := cryptobyte.String(c.Raw)
	var cert, tbs cryptobyte.String
	if !s.ReadASN1(&cert, cbasn1.SEQUENCE) || !cert.ReadASN1Element(&tbs, cbasn1.SEQUENCE) {
		return Algorithm{}, nil, fmt.Errorf("certificate: %w", ErrSyntax)
	}
	a, err := readAlgorithm(&cert)
	if err != nil {
		return Algorithm{}, nil, fmt.Errorf("certificate: %w", err)
	}
	return a, tbs, nil
}

// CheckIssued verifies that the holder of issuer signed c. It looks at the
// signature only: not at names, dates, purposes or at how weak the digest
// is, which the caller learns from the returned algorithm. crypto/x509 mixes
// these questions, and boot firmware does not ask all of them.
func CheckIssued(c, issuer *x509.Certificate) (Algorithm, error) {
	a, tbs, err := CertificateAlgorithm(c)
	if err != nil {
		return a, err
	}
	if a.Hash == 0 {
		return a, fmt.Errorf("certificate signature without a digest: %w", ErrAlgorithm)
	}
	h := a.Hash.New()
	h.Write(tbs)
	return a, CheckDigest(issuer.PublicKey, a, a.Hash, h.Sum(nil), c.Signature)
}
