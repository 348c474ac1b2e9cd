// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	// ErrSyntax: the bytes are not the DER structure they should be.
	ErrSyntax = errors.New("malformed CMS")
	// ErrLimit: a count or size is beyond what this package reads.
	ErrLimit = errors.New("CMS limit exceeded")
	// ErrAlgorithm: a digest or signature algorithm is unknown, or does not
	// fit the key or the rest of the message.
	ErrAlgorithm = errors.New("unsupported algorithm")
	// ErrSignature: the signature value does not verify with the key.
	ErrSignature = errors.New("signature does not verify")
	// ErrDigest: the signed message digest is not the digest of the content.
	ErrDigest = errors.New("message digest does not match the content")
)

// Limits on one message. Real ones carry fewer than ten certificates and one
// or two signers; page hashes in Authenticode content set the size.
const (
	MaxSize         = 4 << 20
	MaxCertificates = 64
	MaxSigners      = 16
	MaxAttributes   = 64
)

// SignedData is one parsed message. All byte slices are views of the input.
type SignedData struct {
	// Version is 1 (PKCS #7, or plain data) or 3.
	Version int
	// DigestAlgorithms are the digests that the message announces; unknown
	// ones are left out.
	DigestAlgorithms []crypto.Hash
	// ContentType of the encapsulated content.
	ContentType asn1.ObjectIdentifier
	// ContentElement is the DER element inside the explicit [0] tag, tag
	// and length included; empty for a detached signature.
	ContentElement []byte
	// Content is the value of ContentElement without tag and length: what a
	// digest is taken over (RFC 5652, section 5.4: the octets of the value,
	// not its tag and length. PKCS #7 says the same).
	Content []byte
	// Certificates that crypto/x509 can read, in message order.
	Certificates []*x509.Certificate
	// Unreadable holds the certificates it cannot read.
	Unreadable [][]byte
	// Signers in message order.
	Signers []Signer
}

// Detached reports whether the signed content is outside the message.
func (sd *SignedData) Detached() bool { return len(sd.ContentElement) == 0 }

// Attribute is a signed or unsigned attribute.
type Attribute struct {
	Type asn1.ObjectIdentifier
	// Values are the DER elements of the set.
	Values [][]byte
}

// Signer is one SignerInfo.
type Signer struct {
	Version int
	// RawIssuer and Serial name the certificate in version 1.
	RawIssuer []byte
	Serial    *big.Int
	// SubjectKeyID names it in version 3.
	SubjectKeyID []byte
	// Digest is the hash over content and attributes.
	Digest crypto.Hash
	// Algorithm of the signature value.
	Algorithm Algorithm
	// SignedAttrs is nil when the signature is over the content directly.
	SignedAttrs   []Attribute
	UnsignedAttrs []Attribute
	// MessageDigest and SigningTime come from the signed attributes.
	MessageDigest []byte
	SigningTime   time.Time
	Signature     []byte

	// attrs is the SignedAttrs element as it is hashed: with tag SET OF.
	attrs []byte
}

const (
	ctx0 = cbasn1.Tag(0 | 0x80 | 0x20)
	ctx1 = cbasn1.Tag(1 | 0x80 | 0x20)
	ctx3 = cbasn1.Tag(3 | 0x80 | 0x20)
)

// Parse reads one ContentInfo holding SignedData. Bytes after it are an
// error.
func Parse(der []byte) (*SignedData, error) {
	if len(der) > MaxSize {
		return nil, fmt.Errorf("message of %d bytes, at most %d: %w", len(der), MaxSize, ErrLimit)
	}
	s := cryptobyte.String(der)
	sd, err := parseContentInfo(&s)
	if err != nil {
		return nil, err
	}
	if !s.Empty() {
		return nil, fmt.Errorf("%d bytes after the message: %w", len(s), ErrSyntax)
	}
	return sd, nil
}

// ParsePadded is Parse for a message that the container pads with zero
// bytes, at most 7: WIN_CERTIFICATE entries are rounded up to 8.
func ParsePadded(der []byte) (*SignedData, error) {
	s := cryptobyte.String(der)
	var el cryptobyte.String
	if s.ReadAnyASN1Element(&el, new(cbasn1.Tag)) && len(s) > 0 && len(s) < 8 && allZero(s) {
		der = el
	}
	return Parse(der)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func parseContentInfo(s *cryptobyte.String) (*SignedData, error) {
	var ci, explicit, body cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !s.ReadASN1(&ci, cbasn1.SEQUENCE) || !ci.ReadASN1ObjectIdentifier(&oid) {
		return nil, fmt.Errorf("ContentInfo: %w", ErrSyntax)
	}
	if !oid.Equal(oidSignedData()) {
		return nil, fmt.Errorf("content type %v is not SignedData: %w", oid, ErrSyntax)
	}
	if !ci.ReadASN1(&explicit, ctx0) || !ci.Empty() ||
		!explicit.ReadASN1(&body, cbasn1.SEQUENCE) || !explicit.Empty() {
		return nil, fmt.Errorf("SignedData: %w", ErrSyntax)
	}
	sd := &SignedData{}
	if err := sd.parse(body); err != nil {
		return nil, err
	}
	return sd, sd.checkVersions()
}

func (sd *SignedData) parse(s cryptobyte.String) error {
	var algs, encap, certs, signers cryptobyte.String
	var has bool
	if !s.ReadASN1Integer(&sd.Version) || !s.ReadASN1(&algs, cbasn1.SET) ||
		!s.ReadASN1(&encap, cbasn1.SEQUENCE) {
		return fmt.Errorf("SignedData: %w", ErrSyntax)
	}
	for n := 0; !algs.Empty(); n++ {
		if n == MaxSigners {
			return fmt.Errorf("more than %d digest algorithms: %w", MaxSigners, ErrLimit)
		}
		h, err := ReadHash(&algs)
		if errors.Is(err, ErrAlgorithm) {
			continue
		}
		if err != nil {
			return err
		}
		sd.DigestAlgorithms = append(sd.DigestAlgorithms, h)
	}
	if err := sd.parseEncap(encap); err != nil {
		return err
	}
	if !s.ReadOptionalASN1(&certs, &has, ctx0) {
		return fmt.Errorf("certificates: %w", ErrSyntax)
	}
	if err := sd.parseCertificates(certs); err != nil {
		return err
	}
	// Revocation lists travel along in some messages; peel has deny lists of
	// its own and does not read them.
	if !s.SkipOptionalASN1(ctx1) || !s.ReadASN1(&signers, cbasn1.SET) || !s.Empty() {
		return fmt.Errorf("signer infos: %w", ErrSyntax)
	}
	for !signers.Empty() {
		if len(sd.Signers) == MaxSigners {
			return fmt.Errorf("more than %d signers: %w", MaxSigners, ErrLimit)
		}
		si, err := readSigner(&signers)
		if err != nil {
			return fmt.Errorf("signer %d: %w", len(sd.Signers), err)
		}
		sd.Signers = append(sd.Signers, si)
	}
	return nil
}

func (sd *SignedData) parseEncap(s cryptobyte.String) error {
	var explicit, el cryptobyte.String
	var has bool
	if !s.ReadASN1ObjectIdentifier(&sd.ContentType) || !s.ReadOptionalASN1(&explicit, &has, ctx0) || !s.Empty() {
		return fmt.Errorf("encapsulated content: %w", ErrSyntax)
	}
	if !has {
		return nil
	}
	var tag cbasn1.Tag
	if !explicit.ReadAnyASN1Element(&el, &tag) || !explicit.Empty() {
		return fmt.Errorf("encapsulated content: %w", ErrSyntax)
	}
	sd.ContentElement = el
	var val cryptobyte.String
	if !el.ReadAnyASN1(&val, &tag) {
		return fmt.Errorf("encapsulated content: %w", ErrSyntax)
	}
	sd.Content = val
	return nil
}

func (sd *SignedData) parseCertificates(s cryptobyte.String) error {
	for n := 0; !s.Empty(); n++ {
		if n == MaxCertificates {
			return fmt.Errorf("more than %d certificates: %w", MaxCertificates, ErrLimit)
		}
		var el cryptobyte.String
		var tag cbasn1.Tag
		if !s.ReadAnyASN1Element(&el, &tag) {
			return fmt.Errorf("certificate %d: %w", n, ErrSyntax)
		}
		if tag >= ctx0 && tag <= ctx3 {
			// The other choices of CertificateSet (RFC 5652, section
			// 10.2.2) are attribute certificates and obsolete forms.
			// Microsoft's time-stamp tokens have one; nothing uses it.
			continue
		}
		if tag != cbasn1.SEQUENCE {
			return fmt.Errorf("certificate %d: tag 0x%02x: %w", n, uint8(tag), ErrSyntax)
		}
		c, err := x509.ParseCertificate(el)
		if err != nil {
			sd.Unreadable = append(sd.Unreadable, el)
			continue
		}
		sd.Certificates = append(sd.Certificates, c)
	}
	return nil
}

// checkVersions enforces RFC 5652, section 5.1 and 5.3, with the one leave
// that PKCS #7 writers take: version 1 for any content type.
func (sd *SignedData) checkVersions() error {
	want3 := !sd.ContentType.Equal(OIDData())
	for i := range sd.Signers {
		want3 = want3 || sd.Signers[i].Version == 3
	}
	if sd.Version != 1 && (sd.Version != 3 || !want3) {
		return fmt.Errorf("SignedData version %d: %w", sd.Version, ErrSyntax)
	}
	for i := range sd.Signers {
		if !sd.announces(sd.Signers[i].Digest) {
			return fmt.Errorf("signer %d uses %s, which the message does not announce: %w",
				i, HashName(sd.Signers[i].Digest), ErrSyntax)
		}
	}
	return nil
}

func (sd *SignedData) announces(h crypto.Hash) bool {
	for _, a := range sd.DigestAlgorithms {
		if a == h {
			return true
		}
	}
	return false
}

// Names reports whether s names certificate c as its signer.
func (s *Signer) Names(c *x509.Certificate) bool {
	if s.Serial != nil {
		return c.SerialNumber != nil && s.Serial.Cmp(c.SerialNumber) == 0 && bytes.Equal(s.RawIssuer, c.RawIssuer)
	}
	return len(s.SubjectKeyID) > 0 && bytes.Equal(s.SubjectKeyID, c.SubjectKeyId)
}

// Certificate returns the certificate in the message that s names, or nil.
func (sd *SignedData) Certificate(s *Signer) *x509.Certificate {
	for _, c := range sd.Certificates {
		if s.Names(c) {
			return c
		}
	}
	return nil
}

// CheckContent compares contentDigest, made with s.Digest over the content,
// with the signed attribute. A signature without signed attributes has
// nothing to compare; Check covers the content then.
func (s *Signer) CheckContent(contentDigest []byte) error {
	if s.attrs == nil {
		return nil
	}
	if !bytes.Equal(s.MessageDigest, contentDigest) {
		return fmt.Errorf("signed %x, content %x: %w", s.MessageDigest, contentDigest, ErrDigest)
	}
	return nil
}

// Check verifies that the holder of c signed content with the digest
// contentDigest (made with s.Digest) and type contentType.
func (s *Signer) Check(c *x509.Certificate, contentType asn1.ObjectIdentifier, contentDigest []byte) error {
	digest := contentDigest
	if s.attrs != nil {
		if err := s.CheckContent(contentDigest); err != nil {
			return err
		}
		if err := s.checkContentType(contentType); err != nil {
			return err
		}
		h := s.Digest.New()
		h.Write(s.attrs)
		digest = h.Sum(nil)
	} else if !contentType.Equal(OIDData()) {
		// RFC 5652, section 5.3: attributes are required for other types.
		// Without them content of one type could pass for another.
		return fmt.Errorf("content type %v without signed attributes: %w", contentType, ErrSyntax)
	}
	return CheckDigest(c.PublicKey, s.Algorithm, s.Digest, digest, s.Signature)
}
