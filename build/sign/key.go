// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// MaxKeyFile is the size in bytes of the largest key or certificate file that
// the functions of this package read.
const MaxKeyFile = 1 << 20

// Key is what signs. Signer may be anything: a key in memory, a token behind
// PKCS #11, a TPM.
type Key struct {
	Signer crypto.Signer
	// Certificate holds the public half and the names of its holder.
	Certificate *x509.Certificate
	// Chain are further certificates to put into messages, those of issuers.
	Chain []*x509.Certificate
}

// Check reports whether signer and certificate belong together and are of a
// kind this package can sign with. It fails with ErrKey or ErrAlgorithm.
func (k Key) Check() error {
	if k.Signer == nil || k.Certificate == nil {
		return fmt.Errorf("%w: no private key or no certificate", ErrKey)
	}
	pub := k.Signer.Public()
	cmp, ok := pub.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return fmt.Errorf("%w: public key of type %T", ErrAlgorithm, pub)
	}
	if !cmp.Equal(k.Certificate.PublicKey) {
		return fmt.Errorf("%w: the certificate of %q is for another key", ErrKey, k.Certificate.Subject)
	}
	switch p := pub.(type) {
	case *rsa.PublicKey:
		if p.Size() < 128 {
			return fmt.Errorf("%w: RSA key of %d bits", ErrAlgorithm, p.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() && p.Curve != elliptic.P384() && p.Curve != elliptic.P521() {
			return fmt.Errorf("%w: curve %s", ErrAlgorithm, p.Curve.Params().Name)
		}
	default:
		return fmt.Errorf("%w: public key of type %T", ErrAlgorithm, pub)
	}
	return nil
}

// sign signs a digest. A nil source of random numbers makes crypto/ecdsa sign
// deterministically; others decide for themselves.
func (k Key) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	sig, err := k.sign1(digest, h)
	if err != nil {
		return nil, fmt.Errorf("sign with the key of %q: %w", k.Certificate.Subject, err)
	}
	return sig, nil
}

// ParseKey reads a private key, PEM or DER: PKCS #8, PKCS #1 or SEC 1. An
// encrypted key fails with ErrKey: openssl pkcs8 decrypts it.
func ParseKey(b []byte) (crypto.Signer, error) {
	if len(b) > MaxKeyFile {
		return nil, fmt.Errorf("%w: private key of 0x%x bytes, at most 0x%x", ErrKey, len(b), MaxKeyFile)
	}
	der := b
	if isPEM(b) {
		der = nil
		for rest := b; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			switch block.Type {
			case "ENCRYPTED PRIVATE KEY":
				return nil, fmt.Errorf("%w: the private key is encrypted", ErrKey)
			case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
				if block.Headers["DEK-Info"] != "" {
					return nil, fmt.Errorf("%w: the private key is encrypted", ErrKey)
				}
				der = block.Bytes
			}
			if der != nil {
				break
			}
		}
		if der == nil {
			return nil, fmt.Errorf("%w: no private key among the PEM blocks", ErrKey)
		}
	}
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		s, ok := k.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%w: a %T cannot sign", ErrAlgorithm, k)
		}
		return s, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: neither PKCS #8 nor PKCS #1 nor SEC 1", ErrKey)
}

// ParseCertificates reads certificates: one in DER, or any number in PEM, the
// signer's own first.
func ParseCertificates(b []byte) ([]*x509.Certificate, error) {
	if len(b) > MaxKeyFile {
		return nil, fmt.Errorf("%w: certificates of 0x%x bytes, at most 0x%x", ErrKey, len(b), MaxKeyFile)
	}
	if !isPEM(b) {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate: %w", ErrKey, err)
		}
		return []*x509.Certificate{c}, nil
	}
	var list []*x509.Certificate
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrKey, len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no certificate among the PEM blocks", ErrKey)
	}
	return list, nil
}

// ParsePair reads a private key and certificates and checks that they belong
// together. The first certificate is the key's own.
func ParsePair(key, certificates []byte) (Key, error) {
	s, err := ParseKey(key)
	if err != nil {
		return Key{}, err
	}
	certs, err := ParseCertificates(certificates)
	if err != nil {
		return Key{}, err
	}
	k := Key{Signer: s, Certificate: certs[0], Chain: certs[1:]}
	return k, k.Check()
}

func isPEM(b []byte) bool { return bytes.Contains(b, []byte("-----BEGIN ")) }
