// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// defaultExponent is what exponent 0 stands for (TPM 2.0 Library, part 2,
// section 12.2.3.5).
const defaultExponent = 65537

// public is what is known about a key before the TPM is asked.
type public struct {
	area tpm2.TPM2BPublic
	key  crypto.PublicKey
	// hash is the only one that the key signs with, 0 for any.
	hash crypto.Hash
}

// parsePublic reads TPM2B_PUBLIC.
func parsePublic(b []byte) (public, error) {
	if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(b)-2 {
		return public{}, fmt.Errorf("%w: public part of 0x%x bytes does not have the size it names", ErrFile, len(b))
	}
	area := tpm2.BytesAs2B[tpm2.TPMTPublic](bytes.Clone(b[2:]))
	return publicOf(area)
}

func publicOf(area tpm2.TPM2BPublic) (public, error) {
	p := public{area: area}
	t, err := area.Contents()
	if err != nil {
		return p, fmt.Errorf("%w: public part: %w", ErrFile, err)
	}
	a := t.ObjectAttributes
	switch {
	case !a.SignEncrypt:
		return p, fmt.Errorf("%w: it is not for signing", ErrUnsupported)
	case a.Restricted:
		return p, fmt.Errorf("%w: it is restricted to what the TPM itself says", ErrUnsupported)
	case !a.UserWithAuth:
		return p, fmt.Errorf("%w: it is used under a policy", ErrUnsupported)
	}
	var scheme tpm2.TPMAlgID
	var details *tpm2.TPMUAsymScheme
	switch t.Type {
	case tpm2.TPMAlgRSA:
		parms, err := t.Parameters.RSADetail()
		if err != nil {
			return p, fmt.Errorf("%w: public part: %w", ErrFile, err)
		}
		n, err := t.Unique.RSA()
		if err != nil {
			return p, fmt.Errorf("%w: public part: %w", ErrFile, err)
		}
		k := &rsa.PublicKey{N: new(big.Int).SetBytes(n.Buffer), E: int(parms.Exponent)}
		if k.E == 0 {
			k.E = defaultExponent
		}
		if k.N.BitLen() != int(parms.KeyBits) || k.N.BitLen() < 1024 || k.N.Bit(0) == 0 || k.E < 3 || k.E&1 == 0 || parms.Exponent > 1<<31-1 {
			return p, fmt.Errorf("%w: RSA key of %d bits with a modulus of %d and exponent 0x%x", ErrFile, parms.KeyBits, k.N.BitLen(), k.E)
		}
		p.key, scheme, details = k, parms.Scheme.Scheme, &parms.Scheme.Details
	case tpm2.TPMAlgECC:
		parms, err := t.Parameters.ECCDetail()
		if err != nil {
			return p, fmt.Errorf("%w: public part: %w", ErrFile, err)
		}
		point, err := t.Unique.ECC()
		if err != nil {
			return p, fmt.Errorf("%w: public part: %w", ErrFile, err)
		}
		if p.key, err = ecKey(parms.CurveID, point); err != nil {
			return p, err
		}
		scheme, details = parms.Scheme.Scheme, &parms.Scheme.Details
	default:
		return p, fmt.Errorf("%w: algorithm 0x%x", ErrUnsupported, uint16(t.Type))
	}
	p.hash, err = schemeHash(t.Type, scheme, details)
	return p, err
}

func ecKey(curve tpm2.TPMIECCCurve, at *tpm2.TPMSECCPoint) (*ecdsa.PublicKey, error) {
	var c elliptic.Curve
	switch curve {
	case tpm2.TPMECCNistP256:
		c = elliptic.P256()
	case tpm2.TPMECCNistP384:
		c = elliptic.P384()
	case tpm2.TPMECCNistP521:
		c = elliptic.P521()
	default:
		return nil, fmt.Errorf("%w: curve 0x%x", ErrUnsupported, uint16(curve))
	}
	size := (c.Params().BitSize + 7) / 8
	// A TPM may leave out leading zeros.
	x, y := new(big.Int).SetBytes(at.X.Buffer), new(big.Int).SetBytes(at.Y.Buffer)
	if x.BitLen() > 8*size || y.BitLen() > 8*size {
		return nil, fmt.Errorf("%w: point outside of curve %s", ErrFile, c.Params().Name)
	}
	raw := make([]byte, 1+2*size)
	raw[0] = 4 // uncompressed, SEC 1, section 2.3.3
	x.FillBytes(raw[1 : 1+size])
	y.FillBytes(raw[1+size:])
	k, err := ecdsa.ParseUncompressedPublicKey(c, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: point is not on curve %s: %w", ErrFile, c.Params().Name, err)
	}
	return k, nil
}

// schemeHash returns the hash that a key is bound to, 0 when it is not.
func schemeHash(typ, scheme tpm2.TPMAlgID, details *tpm2.TPMUAsymScheme) (crypto.Hash, error) {
	var id tpm2.TPMIAlgHash
	switch {
	case scheme == tpm2.TPMAlgNull || scheme == 0:
		return 0, nil
	case typ == tpm2.TPMAlgRSA && scheme == tpm2.TPMAlgRSASSA:
		d, err := details.RSASSA()
		if err != nil {
			return 0, fmt.Errorf("%w: scheme: %w", ErrFile, err)
		}
		id = d.HashAlg
	case typ == tpm2.TPMAlgECC && scheme == tpm2.TPMAlgECDSA:
		d, err := details.ECDSA()
		if err != nil {
			return 0, fmt.Errorf("%w: scheme: %w", ErrFile, err)
		}
		id = d.HashAlg
	default:
		return 0, fmt.Errorf("%w: it signs by scheme 0x%x alone", ErrUnsupported, uint16(scheme))
	}
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if a, ok := hashAlg(h); ok && a == id {
			return h, nil
		}
	}
	return 0, fmt.Errorf("%w: it signs with hash 0x%x alone", ErrUnsupported, uint16(id))
}

func hashAlg(h crypto.Hash) (tpm2.TPMIAlgHash, bool) {
	switch h {
	case crypto.SHA1:
		return tpm2.TPMAlgSHA1, true
	case crypto.SHA256:
		return tpm2.TPMAlgSHA256, true
	case crypto.SHA384:
		return tpm2.TPMAlgSHA384, true
	case crypto.SHA512:
		return tpm2.TPMAlgSHA512, true
	}
	return 0, false
}
