// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// readSigner reads one SignerInfo (RFC 5652, section 5.3).
func readSigner(s *cryptobyte.String) (Signer, error) {
	var si Signer
	var body cryptobyte.String
	if !s.ReadASN1(&body, cbasn1.SEQUENCE) || !body.ReadASN1Integer(&si.Version) {
		return si, fmt.Errorf("SignerInfo: %w", ErrSyntax)
	}
	if err := si.readIdentifier(&body); err != nil {
		return si, err
	}
	var err error
	if si.Digest, err = ReadHash(&body); err != nil {
		return si, err
	}
	var attrs cryptobyte.String
	if body.PeekASN1Tag(ctx0) {
		if !body.ReadASN1Element(&attrs, ctx0) {
			return si, fmt.Errorf("signed attributes: %w", ErrSyntax)
		}
		if err := si.readSignedAttrs(attrs); err != nil {
			return si, err
		}
	}
	if si.Algorithm, err = readAlgorithm(&body); err != nil {
		return si, err
	}
	if si.Algorithm.Hash != 0 && si.Algorithm.Hash != si.Digest {
		return si, fmt.Errorf("digest %s, signature %s: %w", HashName(si.Digest), si.Algorithm, ErrAlgorithm)
	}
	var sig, unsigned cryptobyte.String
	var has bool
	if !body.ReadASN1(&sig, cbasn1.OCTET_STRING) || !body.ReadOptionalASN1(&unsigned, &has, ctx1) || !body.Empty() {
		return si, fmt.Errorf("signature value: %w", ErrSyntax)
	}
	si.Signature = sig
	if has {
		if si.UnsignedAttrs, err = readAttributes(unsigned); err != nil {
			return si, fmt.Errorf("unsigned attributes: %w", err)
		}
	}
	return si, nil
}

// readIdentifier reads the SignerIdentifier that goes with the version.
func (si *Signer) readIdentifier(body *cryptobyte.String) error {
	switch si.Version {
	case 1:
		var ias, name cryptobyte.String
		serial := new(big.Int)
		if !body.ReadASN1(&ias, cbasn1.SEQUENCE) || !ias.ReadASN1Element(&name, cbasn1.SEQUENCE) ||
			!ias.ReadASN1Integer(serial) || !ias.Empty() {
			return fmt.Errorf("issuer and serial number: %w", ErrSyntax)
		}
		si.RawIssuer, si.Serial = name, serial
	case 3:
		var id cryptobyte.String
		if !body.ReadASN1(&id, cbasn1.Tag(0).ContextSpecific()) || len(id) == 0 {
			return fmt.Errorf("subject key identifier: %w", ErrSyntax)
		}
		si.SubjectKeyID = id
	default:
		return fmt.Errorf("SignerInfo version %d: %w", si.Version, ErrSyntax)
	}
	return nil
}

func (si *Signer) readSignedAttrs(el cryptobyte.String) error {
	// The signature is over the attributes with the universal SET OF tag in
	// place of the implicit [0] (RFC 5652, section 5.4).
	si.attrs = append([]byte(nil), el...)
	si.attrs[0] = byte(cbasn1.SET)
	var set cryptobyte.String
	if !el.ReadASN1(&set, ctx0) {
		return fmt.Errorf("signed attributes: %w", ErrSyntax)
	}
	var err error
	if si.SignedAttrs, err = readAttributes(set); err != nil {
		return fmt.Errorf("signed attributes: %w", err)
	}
	md, err := single(si.SignedAttrs, attrMessageDigest)
	if err != nil {
		return err
	}
	v := cryptobyte.String(md)
	var digest cryptobyte.String
	if !v.ReadASN1(&digest, cbasn1.OCTET_STRING) || !v.Empty() {
		return fmt.Errorf("message digest attribute: %w", ErrSyntax)
	}
	si.MessageDigest = digest
	if _, err := single(si.SignedAttrs, attrContentType); err != nil {
		return err
	}
	if st, err := single(si.SignedAttrs, attrSigningTime); err == nil {
		si.SigningTime = readTime(st)
	}
	return nil
}

func (si *Signer) checkContentType(want asn1.ObjectIdentifier) error {
	v, err := single(si.SignedAttrs, attrContentType)
	if err != nil {
		return err
	}
	var oid asn1.ObjectIdentifier
	s := cryptobyte.String(v)
	if !s.ReadASN1ObjectIdentifier(&oid) || !s.Empty() {
		return fmt.Errorf("content type attribute: %w", ErrSyntax)
	}
	if !oid.Equal(want) {
		return fmt.Errorf("signed for content type %v, content is %v: %w", oid, want, ErrDigest)
	}
	return nil
}

// readAttributes reads the body of a SET OF Attribute.
func readAttributes(s cryptobyte.String) ([]Attribute, error) {
	out := []Attribute{}
	for !s.Empty() {
		if len(out) == MaxAttributes {
			return nil, fmt.Errorf("more than %d attributes: %w", MaxAttributes, ErrLimit)
		}
		var at, set cryptobyte.String
		var a Attribute
		if !s.ReadASN1(&at, cbasn1.SEQUENCE) || !at.ReadASN1ObjectIdentifier(&a.Type) ||
			!at.ReadASN1(&set, cbasn1.SET) || !at.Empty() {
			return nil, fmt.Errorf("attribute %d: %w", len(out), ErrSyntax)
		}
		for !set.Empty() {
			if len(a.Values) == MaxAttributes {
				return nil, fmt.Errorf("more than %d values: %w", MaxAttributes, ErrLimit)
			}
			var el cryptobyte.String
			var tag cbasn1.Tag
			if !set.ReadAnyASN1Element(&el, &tag) {
				return nil, fmt.Errorf("attribute %v: %w", a.Type, ErrSyntax)
			}
			a.Values = append(a.Values, el)
		}
		out = append(out, a)
	}
	return out, nil
}

// single returns the only value of the only attribute of the given type.
func single(attrs []Attribute, oid string) ([]byte, error) {
	var found []byte
	n := 0
	for _, a := range attrs {
		if a.Type.String() != oid {
			continue
		}
		n++
		if len(a.Values) != 1 {
			return nil, fmt.Errorf("attribute %s with %d values: %w", oid, len(a.Values), ErrSyntax)
		}
		found = a.Values[0]
	}
	if n != 1 {
		return nil, fmt.Errorf("attribute %s %d times: %w", oid, n, ErrSyntax)
	}
	return found, nil
}

// readTime reads a Time choice, UTCTime or GeneralizedTime; zero when it is
// neither. The value is shown, never relied upon.
func readTime(el []byte) time.Time {
	s := cryptobyte.String(el)
	var t time.Time
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		if s.ReadASN1UTCTime(&t) && s.Empty() {
			return t
		}
		return time.Time{}
	}
	if s.ReadASN1GeneralizedTime(&t) && s.Empty() {
		return t
	}
	return time.Time{}
}
