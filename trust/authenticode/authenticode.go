// SPDX-License-Identifier: Apache-2.0

package authenticode

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/trust/cms"
)

var (
	// ErrNone: the image has no certificate table or only foreign entries.
	ErrNone = errors.New("image is not signed")
	// ErrSyntax: an entry is not an Authenticode signature.
	ErrSyntax = errors.New("malformed Authenticode signature")
	// ErrDigest: the signature is over another image.
	ErrDigest = errors.New("signature is over another image digest")
)

// maxSignatures bounds the entries that are verified per image.
const maxSignatures = 32

// OIDIndirectData is SPC_INDIRECT_DATA_OBJID, the content type.
func OIDIndirectData() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
}

// oidPEImageData is SPC_PE_IMAGE_DATA_OBJID.
const oidPEImageData = "1.3.6.1.4.1.311.2.1.15"

// Signature is one embedded signature.
type Signature struct {
	// Index of the entry in the certificate table, from 0.
	Index int
	// Offset of the entry in the file, in bytes.
	Offset uint64
	// Raw is the CMS message, a view of the file.
	Raw []byte
	// Hash and Digest are the signed image digest.
	Hash   crypto.Hash
	Digest []byte
	// Message is the CMS message.
	Message *cms.SignedData
	// Signer is its only signer.
	Signer *cms.Signer
	// PageHashes tells that the signed data carries page hashes, which
	// firmware does not look at.
	PageHashes bool
	// Nested counts signatures hidden in an unsigned attribute; firmware
	// does not look at them and neither does peel.
	Nested int
}

// Entry is a certificate-table entry: a signature, or the reason it is none.
type Entry struct {
	*Signature
	Index  int
	Offset uint64
	Err    error
}

// Read returns the entries of the certificate table. One malformed entry
// does not hide the others. The error is for the table as a whole: ErrNone
// when it is empty, or what pe says about a table that lies.
func Read(f *pe.File) ([]Entry, error) {
	certs, err := f.Certificates()
	if err != nil {
		return nil, err
	}
	var out []Entry
	for i, c := range certs {
		if i == maxSignatures {
			out = append(out, Entry{Index: i, Offset: c.Offset,
				Err: fmt.Errorf("more than %d entries: %w", maxSignatures, cms.ErrLimit)})
			break
		}
		e := Entry{Index: i, Offset: c.Offset}
		switch {
		case c.Type != pe.CertTypePKCS:
			e.Err = fmt.Errorf("entry %d at 0x%x: type 0x%x is not PKCS#7: %w", i, c.Offset, c.Type, ErrSyntax)
		case c.Revision != pe.CertRevision2:
			e.Err = fmt.Errorf("entry %d at 0x%x: revision 0x%x, want 0x%x: %w", i, c.Offset, c.Revision, pe.CertRevision2, ErrSyntax)
		case !padded(f, c):
			e.Err = fmt.Errorf("entry %d at 0x%x: padding is not zero: %w", i, c.Offset, ErrSyntax)
		default:
			s, err := Parse(c.Data)
			if err != nil {
				e.Err = fmt.Errorf("entry %d at 0x%x: %w", i, c.Offset, err)
				break
			}
			s.Index, s.Offset = i, c.Offset
			e.Signature = s
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, ErrNone
	}
	return out, nil
}

// padded reports whether the bytes between the end of c and the next entry,
// at most seven, are zero. No signature covers them.
func padded(f *pe.File, c pe.Certificate) bool {
	end := c.Offset + 8 + uint64(len(c.Data))
	next := min((end+7)&^7, f.CertTable.End(), uint64(len(f.Raw)))
	for _, b := range f.Raw[min(end, next):next] {
		if b != 0 {
			return false
		}
	}
	return true
}

// Parse reads the data of one PKCS#7 certificate-table entry, which may end
// in up to seven zero bytes of padding.
func Parse(data []byte) (*Signature, error) {
	sd, err := cms.ParsePadded(data)
	if err != nil {
		return nil, err
	}
	if !sd.ContentType.Equal(OIDIndirectData()) {
		return nil, fmt.Errorf("content type %v: %w", sd.ContentType, ErrSyntax)
	}
	// PKCS #7 version 1 with exactly one signer, as the specification says;
	// EDK2 and shim expect the same.
	if sd.Version != 1 || len(sd.Signers) != 1 || sd.Signers[0].Version != 1 {
		return nil, fmt.Errorf("version %d, %d signers: %w", sd.Version, len(sd.Signers), ErrSyntax)
	}
	s := &Signature{Raw: data, Message: sd, Signer: &sd.Signers[0]}
	if err := s.readContent(sd.Content, sd.ContentElement); err != nil {
		return nil, err
	}
	for _, a := range s.Signer.UnsignedAttrs {
		if a.Type.String() == cms.AttrNestedSignature {
			s.Nested += len(a.Values)
		}
	}
	return s, nil
}

// readContent reads SpcIndirectDataContent.
func (s *Signature) readContent(content, element []byte) error {
	bad := func(what string) error { return fmt.Errorf("signed content: %s: %w", what, ErrSyntax) }
	if len(element) == 0 || element[0] != byte(cbasn1.SEQUENCE) {
		return bad("no sequence")
	}
	c := cryptobyte.String(content)
	var data, info, digest cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !c.ReadASN1(&data, cbasn1.SEQUENCE) || !c.ReadASN1(&info, cbasn1.SEQUENCE) || !c.Empty() {
		return bad("structure")
	}
	if !data.ReadASN1ObjectIdentifier(&oid) {
		return bad("data")
	}
	if oid.String() != oidPEImageData {
		return bad(fmt.Sprintf("data type %v is not a PE image", oid))
	}
	// SpcPeImageData: flags and an obsolete file name, or page hashes in a
	// serialized object. None of it takes part in the decision.
	s.PageHashes = bytes.Contains(data, []byte{0xa6, 0xb5, 0x86, 0xd5, 0xb4, 0xa1, 0x24, 0x66,
		0xae, 0x05, 0xa2, 0x17, 0xda, 0x8e, 0x60, 0xd6})
	h, err := cms.ReadHash(&info)
	if err != nil {
		return fmt.Errorf("signed content: %w", err)
	}
	if !info.ReadASN1(&digest, cbasn1.OCTET_STRING) || !info.Empty() {
		return bad("digest")
	}
	if len(digest) != h.Size() {
		return bad(fmt.Sprintf("%s digest of %d bytes", cms.HashName(h), len(digest)))
	}
	s.Hash, s.Digest = h, digest
	return nil
}

// CheckImage compares the signed digest with digest, the image's own
// Authenticode digest made with s.Hash, and the message digest with the
// signed content. Both are needed: the first binds the content to the image,
// the second the signer to the content.
func (s *Signature) CheckImage(digest []byte) error {
	if !bytes.Equal(s.Digest, digest) {
		return fmt.Errorf("signed %s %x, image %x: %w", cms.HashName(s.Hash), s.Digest, digest, ErrDigest)
	}
	return s.Signer.CheckContent(s.contentDigest())
}

// CheckSigner verifies that the holder of c made the signature.
func (s *Signature) CheckSigner(c *x509.Certificate) error {
	return s.Signer.Check(c, OIDIndirectData(), s.contentDigest())
}

// contentDigest is over the value of the content, without tag and length.
func (s *Signature) contentDigest() []byte {
	h := s.Signer.Digest.New()
	h.Write(s.Message.Content)
	return h.Sum(nil)
}
