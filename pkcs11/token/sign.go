// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/hex"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/peelboot/peel/pkcs11/serve"
)

// digestInfo returns what stands before a digest in PKCS #1 v1.5 (RFC 8017,
// section 9.2, note 1), and the digest's length.
func digestInfo(hash string) (prefix []byte, size int, ok bool) {
	p := map[string]struct {
		prefix string
		size   int
	}{
		"sha1":   {"3021300906052b0e03021a05000414", 20},
		"sha256": {"3031300d060960864801650304020105000420", 32},
		"sha384": {"3041300d060960864801650304020205000430", 48},
		"sha512": {"3051300d060960864801650304020305000440", 64},
	}[hash]
	prefix, err := hex.DecodeString(p.prefix)
	return prefix, p.size, err == nil && p.size > 0
}

// Sign signs a digest in the token.
func (k *Key) Sign(scheme, hash string, digest []byte) ([]byte, error) {
	prefix, size, ok := digestInfo(hash)
	if !ok || len(digest) != size {
		return nil, serve.Errorf(serve.CodeUnsupported, "hash %q with a digest of %d bytes", hash, len(digest))
	}
	switch pub := k.pub.(type) {
	case *rsa.PublicKey:
		if scheme == "rsa-pkcs1v15" {
			return k.sign(pkcs11.CKM_RSA_PKCS, append(prefix, digest...))
		}
	case *ecdsa.PublicKey:
		if scheme == "ecdsa" {
			return k.signEC(pub, digest)
		}
	}
	return nil, serve.Errorf(serve.CodeUnsupported, "scheme %q with a key of type %T", scheme, k.pub)
}

func (k *Key) signEC(pub *ecdsa.PublicKey, digest []byte) ([]byte, error) {
	// Tokens need not shorten a digest themselves (FIPS 186-5, section 6.4.1).
	if n := (pub.Curve.Params().N.BitLen() + 7) / 8; len(digest) > n {
		digest = digest[:n]
	}
	raw, err := k.sign(pkcs11.CKM_ECDSA, digest)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, serve.Errorf("", "the token made a signature of %d bytes", len(raw))
	}
	half := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}

func (k *Key) sign(mechanism uint, data []byte) ([]byte, error) {
	if k.always && k.pin == "" {
		// To try nothing as a PIN would count as a wrong one.
		return nil, serve.Errorf(serve.CodePIN, "the key wants a PIN for each signature")
	}
	if err := k.ctx.SignInit(k.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, k.handle); err != nil {
		return nil, explain("sign", err)
	}
	if k.always {
		if err := k.ctx.Login(k.session, pkcs11.CKU_CONTEXT_SPECIFIC, k.pin); err != nil {
			return nil, explain("log in for a signature", err)
		}
	}
	sig, err := k.ctx.Sign(k.session, data)
	if err != nil {
		return nil, explain("sign", err)
	}
	return sig, nil
}
