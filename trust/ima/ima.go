// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/trust/cms"
)

// MaxSize is the most bytes of an attribute that are read; the kernel's own
// bound for signatures is 1024 (MAX_SIGNATURE_SIZE).
const MaxSize = 1024

var (
	// ErrSyntax: the bytes are no security.ima value.
	ErrSyntax = errors.New("malformed security.ima value")
	// ErrDigest: the value's digest is not the file's.
	ErrDigest = errors.New("IMA digest does not match the file")
	// ErrSignature: the signature does not verify with the key.
	ErrSignature = errors.New("IMA signature does not verify")
)

// Type is the first byte of a value (enum evm_ima_xattr_type).
type Type uint8

// The types that files carry.
const (
	TypeDigest   Type = 0x01 // a SHA-1 or MD5 digest without a name
	TypeDigSig   Type = 0x03 // EVM_IMA_XATTR_DIGSIG
	TypeDigestNG Type = 0x04 // IMA_XATTR_DIGEST_NG
	TypeVerity   Type = 0x06 // IMA_VERITY_DIGSIG
)

// Value is one parsed attribute.
type Value struct {
	Type Type
	// Version of a signature: 2 or 3; 0 for digests.
	Version uint8
	Hash    crypto.Hash
	// KeyID is the end of the signer's key identifier, for signatures.
	KeyID uint32
	// Data is the digest or the signature.
	Data []byte
}

// Signature reports whether v is a digital signature.
func (v *Value) Signature() bool { return v.Version != 0 }

// hashOf maps enum hash_algo (include/uapi/linux/hash_info.h).
func hashOf(a byte) crypto.Hash {
	switch a {
	case 2:
		return crypto.SHA1
	case 4:
		return crypto.SHA256
	case 5:
		return crypto.SHA384
	case 6:
		return crypto.SHA512
	case 7:
		return crypto.SHA224
	}
	return 0
}

// algoOf is the inverse of hashOf.
func algoOf(h crypto.Hash) byte {
	for a := byte(2); a < 8; a++ {
		if hashOf(a) == h {
			return a
		}
	}
	return 0
}

// Parse reads the bytes of a security.ima attribute.
func Parse(b []byte) (*Value, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes, at most %d: %w", len(b), MaxSize, ErrSyntax)
	}
	if len(b) < 2 {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrSyntax)
	}
	v := &Value{Type: Type(b[0])}
	switch v.Type {
	case TypeDigest:
		if len(b) != 1+20 {
			return nil, fmt.Errorf("digest of %d bytes, want 20 (SHA-1): %w", len(b)-1, ErrSyntax)
		}
		v.Hash, v.Data = crypto.SHA1, b[1:]
	case TypeDigestNG:
		v.Hash, v.Data = hashOf(b[1]), b[2:]
		if v.Hash == 0 {
			return nil, fmt.Errorf("hash algorithm %d: %w", b[1], ErrSyntax)
		}
		if len(v.Data) != v.Hash.Size() {
			return nil, fmt.Errorf("digest of %d bytes, want %d: %w", len(v.Data), v.Hash.Size(), ErrSyntax)
		}
	case TypeDigSig, TypeVerity:
		return v, v.parseSignature(b[1:])
	default:
		return nil, fmt.Errorf("type 0x%02x: %w", b[0], ErrSyntax)
	}
	return v, nil
}

// parseSignature reads struct signature_v2_hdr after the type byte: u8
// version, u8 hash, be32 key id, be16 size, signature.
func (v *Value) parseSignature(b []byte) error {
	const header = 8
	if len(b) < header {
		return fmt.Errorf("signature header of %d bytes, want %d: %w", len(b), header, ErrSyntax)
	}
	v.Version, v.Hash = b[0], hashOf(b[1])
	switch {
	case v.Version != 2 && v.Version != 3:
		return fmt.Errorf("signature version %d: %w", b[0], ErrSyntax)
	case v.Version == 2 && v.Type == TypeVerity:
		return fmt.Errorf("signature version 2 over an fs-verity digest: %w", ErrSyntax)
	case v.Hash == 0:
		return fmt.Errorf("hash algorithm %d: %w", b[1], ErrSyntax)
	}
	v.KeyID = binary.BigEndian.Uint32(b[2:])
	size := int(binary.BigEndian.Uint16(b[6:]))
	if size == 0 || size != len(b)-header {
		return fmt.Errorf("signature of %d bytes, %d follow: %w", size, len(b)-header, ErrSyntax)
	}
	v.Data = b[header:]
	return nil
}

// KeyIDs returns the identifiers by which c may be named: the end of its
// subject key identifier, and of the SHA-1 of its key bits, which tools take
// that see no certificate.
func KeyIDs(c *x509.Certificate) []uint32 {
	var ids []uint32
	if n := len(c.SubjectKeyId); n >= 4 {
		ids = append(ids, binary.BigEndian.Uint32(c.SubjectKeyId[n-4:]))
	}
	s := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	var spki, bits cryptobyte.String
	if s.ReadASN1(&spki, cbasn1.SEQUENCE) && spki.SkipASN1(cbasn1.SEQUENCE) && spki.ReadASN1(&bits, cbasn1.BIT_STRING) && len(bits) > 1 {
		sum := sha1.Sum(bits[1:])
		ids = append(ids, binary.BigEndian.Uint32(sum[16:]))
	}
	return ids
}

// Names reports whether v may have been signed with the key of c.
func (v *Value) Names(c *x509.Certificate) bool {
	for _, id := range KeyIDs(c) {
		if id == v.KeyID {
			return true
		}
	}
	return false
}

// Check compares v with digest, the file's digest made with v.Hash (for type
// TypeVerity the fs-verity digest), and, for signatures, verifies that the
// holder of c made it. For plain digests c is not used.
func (v *Value) Check(c *x509.Certificate, digest []byte) error {
	if len(digest) != v.Hash.Size() {
		return fmt.Errorf("digest of %d bytes for %s: %w", len(digest), cms.HashName(v.Hash), ErrDigest)
	}
	if !v.Signature() {
		if !bytes.Equal(v.Data, digest) {
			return fmt.Errorf("recorded %x, file %x: %w", v.Data, digest, ErrDigest)
		}
		return nil
	}
	signed := digest
	if v.Version == 3 {
		// struct ima_file_id: type, algorithm, digest.
		h := v.Hash.New()
		h.Write([]byte{byte(v.Type), algoOf(v.Hash)})
		h.Write(digest)
		signed = h.Sum(nil)
	}
	alg := cms.Algorithm{Hash: v.Hash}
	switch c.PublicKey.(type) {
	case *rsa.PublicKey:
		alg.Scheme = cms.PKCS1v15
	case *ecdsa.PublicKey:
		alg.Scheme = cms.ECDSA
	default:
		return fmt.Errorf("key of type %T: %w", c.PublicKey, cms.ErrAlgorithm)
	}
	if err := cms.CheckDigest(c.PublicKey, alg, v.Hash, signed, v.Data); err != nil {
		return fmt.Errorf("%w (%w)", ErrSignature, err)
	}
	return nil
}
