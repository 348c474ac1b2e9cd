// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Timestamp is a statement by somebody else about when a signature existed.
type Timestamp struct {
	// Kind is "rfc3161" or "countersignature".
	Kind string
	// Time as stated.
	Time time.Time
	// Certificate that the statement's signature verified with, nil when
	// Err is set. Whether that certificate is trusted to tell the time is
	// the caller's question.
	Certificate *x509.Certificate
	// Certificates that came along, for building a chain.
	Certificates []*x509.Certificate
	// Err tells why the statement is not a valid one over this signature.
	Err error
}

// maxTimestamps bounds the tokens looked at per signature.
const maxTimestamps = 8

// Timestamps reads the time stamps among the unsigned attributes of s, a
// signer of sd, and checks that each is over the signature value of s.
func (sd *SignedData) Timestamps(s *Signer) []Timestamp {
	var out []Timestamp
	for _, a := range s.UnsignedAttrs {
		for _, v := range a.Values {
			if len(out) == maxTimestamps {
				return out
			}
			switch a.Type.String() {
			case attrMSTimestampToken, attrTimestampToken:
				out = append(out, readToken(v, s.Signature))
			case attrCounterSignature:
				out = append(out, sd.readCounterSignature(v, s.Signature))
			}
		}
	}
	return out
}

// readToken reads a TimeStampToken (RFC 3161, section 2.4.2) over signature.
func readToken(der, signature []byte) Timestamp {
	t := Timestamp{Kind: "rfc3161"}
	sd, err := Parse(der)
	if err != nil {
		t.Err = fmt.Errorf("time-stamp token: %w", err)
		return t
	}
	t.Certificates = sd.Certificates
	if t.Err = t.readInfo(sd, signature); t.Err != nil {
		return t
	}
	if len(sd.Signers) != 1 {
		t.Err = fmt.Errorf("time-stamp token with %d signers: %w", len(sd.Signers), ErrSyntax)
		return t
	}
	s := &sd.Signers[0]
	c := sd.Certificate(s)
	if c == nil {
		t.Err = fmt.Errorf("time-stamp token without its signer's certificate: %w", ErrSignature)
		return t
	}
	h := s.Digest.New()
	h.Write(sd.Content)
	if t.Err = s.Check(c, OIDTSTInfo(), h.Sum(nil)); t.Err == nil {
		t.Certificate = c
	}
	return t
}

// readInfo reads TSTInfo and compares its imprint with signature.
func (t *Timestamp) readInfo(sd *SignedData, signature []byte) error {
	bad := func(what string, err error) error { return fmt.Errorf("time-stamp token: %s: %w", what, err) }
	if !sd.ContentType.Equal(OIDTSTInfo()) {
		return bad(fmt.Sprintf("content type %v", sd.ContentType), ErrSyntax)
	}
	el := cryptobyte.String(sd.ContentElement)
	var octets, info, imprint, digest cryptobyte.String
	if !el.ReadASN1(&octets, cbasn1.OCTET_STRING) || !octets.ReadASN1(&info, cbasn1.SEQUENCE) || !octets.Empty() {
		return bad("TSTInfo", ErrSyntax)
	}
	var version int
	var policy asn1.ObjectIdentifier
	if !info.ReadASN1Integer(&version) || version != 1 || !info.ReadASN1ObjectIdentifier(&policy) ||
		!info.ReadASN1(&imprint, cbasn1.SEQUENCE) {
		return bad("TSTInfo", ErrSyntax)
	}
	h, err := ReadHash(&imprint)
	if err != nil {
		return bad("imprint", err)
	}
	if !imprint.ReadASN1(&digest, cbasn1.OCTET_STRING) || !imprint.Empty() {
		return bad("imprint", ErrSyntax)
	}
	w := h.New()
	w.Write(signature)
	if string(digest) != string(w.Sum(nil)) {
		return bad("imprint", ErrDigest)
	}
	serial := new(big.Int)
	var gt cryptobyte.String
	if !info.ReadASN1Integer(serial) || !info.ReadASN1(&gt, cbasn1.GeneralizedTime) {
		return bad("time", ErrSyntax)
	}
	if t.Time, err = parseGenTime(string(gt)); err != nil {
		return bad("time", err)
	}
	return nil
}

// parseGenTime reads a GeneralizedTime that may carry fractions of a second
// (RFC 3161, section 2.4.2), which cryptobyte does not read.
func parseGenTime(s string) (time.Time, error) {
	for _, layout := range []string{"20060102150405Z", "20060102150405.999999999Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: %w", s, ErrSyntax)
}

// readCounterSignature reads a PKCS #9 countersignature (RFC 5652, section
// 11.4) over signature, the form time stamps had before RFC 3161.
func (sd *SignedData) readCounterSignature(der, signature []byte) Timestamp {
	t := Timestamp{Kind: "countersignature", Certificates: sd.Certificates}
	str := cryptobyte.String(der)
	s, err := readSigner(&str)
	if err != nil || !str.Empty() {
		t.Err = fmt.Errorf("countersignature: %w", ErrSyntax)
		return t
	}
	t.Time = s.SigningTime
	c := sd.Certificate(&s)
	if c == nil {
		t.Err = fmt.Errorf("countersignature without its signer's certificate: %w", ErrSignature)
		return t
	}
	if s.attrs == nil || t.Time.IsZero() {
		t.Err = fmt.Errorf("countersignature without a signed time: %w", ErrSyntax)
		return t
	}
	h := s.Digest.New()
	h.Write(signature)
	if t.Err = s.Check(c, OIDData(), h.Sum(nil)); t.Err == nil {
		t.Certificate = c
	}
	return t
}
