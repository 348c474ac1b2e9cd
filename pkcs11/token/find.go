// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/peelboot/peel/pkcs11/serve"
	"github.com/peelboot/peel/pkcs11/uri"
)

// maxObjects is how many objects of a kind are looked at.
const maxObjects = 64

// findKey finds the private key, its public half and its certificate.
func (k *Key) findKey(u *uri.URI, info pkcs11.TokenInfo) error {
	var want []*pkcs11.Attribute
	if v, ok := u.Get(uri.Object); ok {
		want = append(want, pkcs11.NewAttribute(pkcs11.CKA_LABEL, v))
	}
	if v, ok := u.Get(uri.ID); ok {
		want = append(want, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(v)))
	}
	keys, err := k.find(pkcs11.CKO_PRIVATE_KEY, want)
	if err != nil {
		return err
	}
	switch len(keys) {
	case 0:
		return serve.Errorf(serve.CodeKey, "token %q has no private key that the URI fits", info.Label)
	case 1:
		k.handle = keys[0]
	default:
		return serve.Errorf(serve.CodeKey, "token %q has %d private keys that the URI fits; name one by object or id", info.Label, len(keys))
	}
	id, _ := k.bytes(k.handle, pkcs11.CKA_ID)
	always, _ := k.bytes(k.handle, pkcs11.CKA_ALWAYS_AUTHENTICATE)
	k.always = len(always) == 1 && always[0] != 0
	if signs, ok := k.bytes(k.handle, pkcs11.CKA_SIGN); ok && len(signs) == 1 && signs[0] == 0 {
		return serve.Errorf(serve.CodeUnsupported, "token %q: the key is not for signing", info.Label)
	}
	same := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, id)}
	if len(id) == 0 {
		// Without an identifier the label ties the objects together.
		label, _ := k.bytes(k.handle, pkcs11.CKA_LABEL)
		same = []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}
	}
	publics, err := k.find(pkcs11.CKO_PUBLIC_KEY, same)
	if err != nil {
		return err
	}
	// Some tokens tell all about a public key by its private object.
	for _, o := range append([]pkcs11.ObjectHandle{k.handle}, publics...) {
		if pub, err := k.publicKey(o); err == nil {
			k.pub = pub
			break
		}
	}
	return k.findCertificate(info, same)
}

// findCertificate finds the certificate, which also knows the public key.
func (k *Key) findCertificate(info pkcs11.TokenInfo, same []*pkcs11.Attribute) error {
	list, err := k.find(pkcs11.CKO_CERTIFICATE, same)
	if err != nil {
		return err
	}
	for _, o := range list {
		der, ok := k.bytes(o, pkcs11.CKA_VALUE)
		if !ok {
			continue
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue // not X.509, or one that nobody could verify with
		}
		if k.pub == nil {
			k.pub = c.PublicKey
		}
		if eq, ok := k.pub.(interface{ Equal(crypto.PublicKey) bool }); ok && eq.Equal(c.PublicKey) {
			k.certs = [][]byte{der}
			return nil
		}
	}
	if k.pub == nil {
		return serve.Errorf(serve.CodeUnsupported, "token %q has neither public key nor certificate for the private key, RSA or on P-256, P-384 or P-521", info.Label)
	}
	return nil
}

// find returns the objects of a class that have the attributes.
func (k *Key) find(class uint, want []*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := k.ctx.FindObjectsInit(k.session, append([]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}, want...)); err != nil {
		return nil, explain("find objects", err)
	}
	list, _, err := k.ctx.FindObjects(k.session, maxObjects)
	if err = errors.Join(err, k.ctx.FindObjectsFinal(k.session)); err != nil {
		return nil, explain("find objects", err)
	}
	return list, nil
}

// bytes returns an attribute of an object, if the token tells it.
func (k *Key) bytes(o pkcs11.ObjectHandle, typ uint) ([]byte, bool) {
	a, err := k.ctx.GetAttributeValue(k.session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(typ, nil)})
	if err != nil || len(a) != 1 {
		return nil, false
	}
	return a[0].Value, true
}

// publicKey reads a public key out of the attributes of an object.
func (k *Key) publicKey(o pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	if n, ok := k.bytes(o, pkcs11.CKA_MODULUS); ok && len(n) > 0 {
		e, ok := k.bytes(o, pkcs11.CKA_PUBLIC_EXPONENT)
		if !ok {
			return nil, errors.New("no exponent")
		}
		exp := new(big.Int).SetBytes(e)
		if exp.BitLen() > 31 || exp.BitLen() < 2 {
			return nil, fmt.Errorf("exponent of %d bits", exp.BitLen())
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())}, nil
	}
	params, ok1 := k.bytes(o, pkcs11.CKA_EC_PARAMS)
	point, ok2 := k.bytes(o, pkcs11.CKA_EC_POINT)
	if !ok1 || !ok2 {
		return nil, errors.New("neither RSA nor EC")
	}
	return ecKey(params, point)
}

// ecKey reads a named curve and a point, which is wrapped into an OCTET STRING
// by some modules and not by others.
func ecKey(params, point []byte) (*ecdsa.PublicKey, error) {
	var oid asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(params, &oid); err != nil {
		return nil, fmt.Errorf("curve: %w", err)
	}
	var curve elliptic.Curve
	switch oid.String() {
	case "1.2.840.10045.3.1.7":
		curve = elliptic.P256()
	case "1.3.132.0.34":
		curve = elliptic.P384()
	case "1.3.132.0.35":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("curve %s", oid)
	}
	var raw []byte
	if rest, err := asn1.Unmarshal(point, &raw); err != nil || len(rest) != 0 {
		raw = point
	}
	return ecdsa.ParseUncompressedPublicKey(curve, raw)
}
