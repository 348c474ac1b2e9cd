// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// MaxFile is the size in bytes of the largest key file that is read. A file
// with an RSA key of 4096 bits has about 2 KiB.
const MaxFile = 64 << 10

// PEMType stands between BEGIN and END of a key file.
const PEMType = "TSS2 PRIVATE KEY"

// Handles that a File may name as its parent (TPM 2.0 Library, part 2,
// sections 7.2 and 7.4).
const (
	// OwnerHierarchy: the parent is the storage key that is made anew out of
	// the hierarchy's seed each time.
	OwnerHierarchy = 0x40000001
	// StorageRootKey is where systems keep a storage key for everybody.
	StorageRootKey = 0x81000001

	firstPersistent = 0x81000000
	lastPersistent  = 0x81ffffff
)

// File is a key that only its TPM can open.
type File struct {
	// EmptyAuth means that the key has no password.
	EmptyAuth bool
	// Parent is OwnerHierarchy or a persistent key, 0x81000000 to 0x81ffffff.
	Parent uint32
	// RSAParent means that the storage key of the hierarchy is RSA, where it
	// usually is ECC.
	RSAParent bool
	// Description is for people.
	Description string
	// Public and Private are TPM2B_PUBLIC and TPM2B_PRIVATE with their
	// leading sizes, big-endian.
	Public, Private []byte
}

// loadable is TPMKEY_LOADABLE, id-loadablekey: what TPM2_Load takes.
const loadable = "2.23.133.10.1.3"

// IsFile reports whether b looks like a key file in PEM.
func IsFile(b []byte) bool { return bytes.Contains(b, []byte("-----BEGIN "+PEMType+"-----")) }

// ParseFile reads a key file, PEM or DER. It fails with ErrFile, and with
// ErrUnsupported for a key that this package cannot use.
func ParseFile(b []byte) (*File, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%w: 0x%x bytes, at most 0x%x", ErrFile, len(b), MaxFile)
	}
	der := b
	if IsFile(b) {
		der = nil
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == PEMType {
				der = block.Bytes
				break
			}
		}
		if der == nil {
			return nil, fmt.Errorf("%w: damaged PEM", ErrFile)
		}
	}
	var f File
	if err := f.unmarshal(der); err != nil {
		return nil, err
	}
	return &f, nil
}

func explicit(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

func (f *File) unmarshal(der []byte) error {
	in := cryptobyte.String(der)
	var s cryptobyte.String
	var typ asn1.ObjectIdentifier
	if !in.ReadASN1(&s, cbasn1.SEQUENCE) || !in.Empty() || !s.ReadASN1ObjectIdentifier(&typ) {
		return fmt.Errorf("%w: no TPMKey", ErrFile)
	}
	if typ.String() != loadable {
		return fmt.Errorf("%w: type %s, want a loadable key, %s", ErrUnsupported, typ, loadable)
	}
	optional := func(n uint8) (cryptobyte.String, bool, error) {
		var v cryptobyte.String
		var there bool
		if !s.ReadOptionalASN1(&v, &there, explicit(n)) {
			return nil, false, fmt.Errorf("%w: field [%d]", ErrFile, n)
		}
		return v, there, nil
	}
	flag := func(n uint8, to *bool) error {
		v, there, err := optional(n)
		if err != nil || !there {
			return err
		}
		// OpenSSL writes DER; others wrote any value that is not zero.
		var b cryptobyte.String
		if !v.ReadASN1(&b, cbasn1.BOOLEAN) || len(b) != 1 || !v.Empty() {
			return fmt.Errorf("%w: field [%d] is no BOOLEAN", ErrFile, n)
		}
		*to = b[0] != 0
		return nil
	}
	if err := flag(0, &f.EmptyAuth); err != nil {
		return err
	}
	// A policy, the secret of an importable key, an authorized policy.
	for n := range uint8(3) {
		_, there, err := optional(n + 1)
		if err != nil {
			return err
		}
		if there {
			return fmt.Errorf("%w: it is used under a policy or to be imported, field [%d]", ErrUnsupported, n+1)
		}
	}
	if v, there, err := optional(4); err != nil {
		return err
	} else if there {
		var text cryptobyte.String
		if !v.ReadASN1(&text, cbasn1.UTF8String) || !v.Empty() {
			return fmt.Errorf("%w: field [4] is no UTF8String", ErrFile)
		}
		f.Description = string(text)
	}
	if err := flag(5, &f.RSAParent); err != nil {
		return err
	}
	var parent uint64
	var pub, priv cryptobyte.String
	if !s.ReadASN1Integer(&parent) || !s.ReadASN1(&pub, cbasn1.OCTET_STRING) || !s.ReadASN1(&priv, cbasn1.OCTET_STRING) || !s.Empty() {
		return fmt.Errorf("%w: parent, public or private part", ErrFile)
	}
	if parent == 0 {
		parent = OwnerHierarchy // the first versions of the format
	}
	if parent != OwnerHierarchy && (parent < firstPersistent || parent > lastPersistent) {
		return fmt.Errorf("%w: parent 0x%x is neither the owner hierarchy nor a persistent key", ErrUnsupported, parent)
	}
	f.Parent, f.Public, f.Private = uint32(parent), pub, priv
	return nil
}

// MarshalPEM writes the file. It fails with ErrFile when Private or Public
// are too long for the format.
func (f *File) MarshalPEM() ([]byte, error) {
	var typ asn1.ObjectIdentifier = []int{2, 23, 133, 10, 1, 3}
	flag := func(b *cryptobyte.Builder, n uint8, v bool) {
		b.AddASN1(explicit(n), func(b *cryptobyte.Builder) { b.AddASN1Boolean(v) })
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(typ)
		if f.EmptyAuth {
			flag(b, 0, true)
		}
		if f.Description != "" {
			b.AddASN1(explicit(4), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(f.Description)) })
			})
		}
		if f.RSAParent {
			flag(b, 5, true)
		}
		b.AddASN1Uint64(uint64(f.Parent))
		b.AddASN1OctetString(f.Public)
		b.AddASN1OctetString(f.Private)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: der}), nil
}
