// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"   // registers crypto.SHA1 for IMA's digests
	_ "crypto/sha256" // registers crypto.SHA256
	_ "crypto/sha512" // registers crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Options say how a message is made. The zero value is SHA-256 without a
// time, which every verifier takes.
type Options struct {
	// Hash is SHA-256, SHA-384 or SHA-512; 0 is SHA-256. It is used for the
	// content and for the signature.
	Hash crypto.Hash
	// Time goes into the message as the signing time, which nobody vouches
	// for; the zero Time leaves it out.
	Time time.Time
	// NoCertificates leaves all certificates out, for a verifier that has
	// them, such as the kernel with its keyrings.
	NoCertificates bool
	// NoAttributes signs the content directly, as the kernel's sign-file
	// does. Authenticode always has attributes.
	NoAttributes bool
	// KeyID names the signer by the certificate's subject key identifier
	// instead of issuer and serial number. Only for detached messages.
	KeyID bool
}

func (o Options) hash() (crypto.Hash, error) {
	switch o.Hash {
	case 0:
		return crypto.SHA256, nil
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
		return o.Hash, nil
	}
	return 0, fmt.Errorf("%w: hash %v", ErrAlgorithm, o.Hash)
}

// Object identifiers in dotted form, with where they are defined.
const (
	dottedSignedData    = "1.2.840.113549.1.7.2"   // RFC 5652, section 5.1
	dottedData          = "1.2.840.113549.1.7.1"   // RFC 5652, section 4
	dottedContentType   = "1.2.840.113549.1.9.3"   // RFC 5652, section 11.1
	dottedMessageDigest = "1.2.840.113549.1.9.4"   // RFC 5652, section 11.2
	dottedSigningTime   = "1.2.840.113549.1.9.5"   // RFC 5652, section 11.3
	dottedRSA           = "1.2.840.113549.1.1.1"   // RFC 8017, appendix C
	dottedSHA256        = "2.16.840.1.101.3.4.2.1" // RFC 5754, section 2
	dottedSHA384        = "2.16.840.1.101.3.4.2.2"
	dottedSHA512        = "2.16.840.1.101.3.4.2.3"
	dottedECDSA256      = "1.2.840.10045.4.3.2" // RFC 5754, section 3.3
	dottedECDSA384      = "1.2.840.10045.4.3.3"
	dottedECDSA512      = "1.2.840.10045.4.3.4"
	dottedIndirectData  = "1.3.6.1.4.1.311.2.1.4"  // Authenticode, SPC_INDIRECT_DATA_OBJID
	dottedPEImageData   = "1.3.6.1.4.1.311.2.1.15" // Authenticode, SPC_PE_IMAGE_DATAOBJ
)

// oid turns one of the constants above into an identifier.
func oid(dotted string) asn1.ObjectIdentifier {
	var id asn1.ObjectIdentifier
	n := 0
	for _, c := range []byte(dotted) {
		if c == '.' {
			id, n = append(id, n), 0
			continue
		}
		n = n*10 + int(c-'0')
	}
	return append(id, n)
}

func hashOID(h crypto.Hash) asn1.ObjectIdentifier {
	switch h {
	case crypto.SHA384:
		return oid(dottedSHA384)
	case crypto.SHA512:
		return oid(dottedSHA512)
	}
	return oid(dottedSHA256)
}

// content is what a message is about.
type content struct {
	typ asn1.ObjectIdentifier
	// element is the DER element inside the explicit tag, nil for a detached
	// message.
	element []byte
	// digest of the content's value.
	digest []byte
}

// message returns the DER of a ContentInfo with SignedData around c.
func message(c content, k Key, o Options, h crypto.Hash) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	if o.KeyID && len(k.Certificate.SubjectKeyId) == 0 {
		return nil, fmt.Errorf("%w: the certificate of %q has no subject key identifier", ErrKey, k.Certificate.Subject)
	}
	info, err := signerInfo(c, k, o, h)
	if err != nil {
		return nil, err
	}
	version := int64(1)
	if o.KeyID {
		version = 3
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid(dottedSignedData))
		b.AddASN1(tagged(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(version)
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { addHash(b, h, c.element != nil) })
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(c.typ)
					if c.element != nil {
						b.AddASN1(tagged(0), func(b *cryptobyte.Builder) { b.AddBytes(c.element) })
					}
				})
				if !o.NoCertificates {
					b.AddASN1(tagged(0), func(b *cryptobyte.Builder) {
						for _, der := range certificates(k) {
							b.AddBytes(der)
						}
					})
				}
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(info) })
			})
		})
	})
	return b.Bytes()
}

// certificates returns the encoded certificates in the order of DER's SET OF.
func certificates(k Key) [][]byte {
	list := [][]byte{k.Certificate.Raw}
	for _, c := range k.Chain {
		if !slices.ContainsFunc(list, func(b []byte) bool { return bytes.Equal(b, c.Raw) }) {
			list = append(list, c.Raw)
		}
	}
	slices.SortFunc(list, bytes.Compare)
	return list
}

func signerInfo(c content, k Key, o Options, h crypto.Hash) ([]byte, error) {
	var attrs []byte
	signed := c.digest
	if !o.NoAttributes {
		var err error
		if attrs, err = attributes(c, o); err != nil {
			return nil, err
		}
		// The signature is over the attributes as a SET OF, the message
		// holds them under an implicit tag (RFC 5652, section 5.4).
		set, err := wrap(cbasn1.SET, attrs)
		if err != nil {
			return nil, err
		}
		w := h.New()
		w.Write(set)
		signed = w.Sum(nil)
	}
	sig, err := k.sign(signed, h)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if o.KeyID {
			b.AddASN1Int64(3)
			b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(k.Certificate.SubjectKeyId) })
		} else {
			b.AddASN1Int64(1)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(k.Certificate.RawIssuer)
				b.AddASN1BigInt(k.Certificate.SerialNumber)
			})
		}
		addHash(b, h, c.element != nil)
		if attrs != nil {
			b.AddASN1(tagged(0), func(b *cryptobyte.Builder) { b.AddBytes(attrs) })
		}
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { addScheme(b, k.Certificate, h) })
		b.AddASN1OctetString(sig)
	})
	return b.Bytes()
}

// attributes returns the signed attributes in the order of DER's SET OF.
func attributes(c content, o Options) ([]byte, error) {
	var list [][]byte
	add := func(typ string, value func(b *cryptobyte.Builder)) error {
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oid(typ))
			b.AddASN1(cbasn1.SET, value)
		})
		der, err := b.Bytes()
		list = append(list, der)
		return err
	}
	err := add(dottedContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(c.typ) })
	if err == nil && !o.Time.IsZero() {
		err = add(dottedSigningTime, func(b *cryptobyte.Builder) {
			// RFC 5652, section 11.3: UTCTime from 1950 to 2049.
			if t := o.Time.UTC().Truncate(time.Second); t.Year() >= 1950 && t.Year() < 2050 {
				b.AddASN1UTCTime(t)
			} else {
				b.AddASN1GeneralizedTime(t)
			}
		})
	}
	if err == nil {
		err = add(dottedMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(c.digest) })
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, bytes.Compare)
	return bytes.Join(list, nil), nil
}

// addHash writes the AlgorithmIdentifier of a digest: with NULL parameters
// for Authenticode, as every tool for it does, without any for CMS, as RFC
// 5754, section 2, asks for. Readers take both.
func addHash(b *cryptobyte.Builder, h crypto.Hash, null bool) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(hashOID(h))
		if null {
			b.AddASN1NULL()
		}
	})
}

// addScheme writes what the signature was made with: for RSA the kind of key
// alone, as every Authenticode tool does, for ECDSA the hash as well.
func addScheme(b *cryptobyte.Builder, c *x509.Certificate, h crypto.Hash) {
	if _, ok := c.PublicKey.(*rsa.PublicKey); ok {
		b.AddASN1ObjectIdentifier(oid(dottedRSA))
		b.AddASN1NULL()
		return
	}
	switch h {
	case crypto.SHA384:
		b.AddASN1ObjectIdentifier(oid(dottedECDSA384))
	case crypto.SHA512:
		b.AddASN1ObjectIdentifier(oid(dottedECDSA512))
	default:
		b.AddASN1ObjectIdentifier(oid(dottedECDSA256))
	}
}

func tagged(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

func wrap(tag cbasn1.Tag, value []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(value) })
	return b.Bytes()
}

func (k Key) sign1(digest []byte, h crypto.Hash) ([]byte, error) {
	if p, ok := k.Signer.(*ecdsa.PrivateKey); ok {
		return p.Sign(nil, digest, h)
	}
	return k.Signer.Sign(rand.Reader, digest, h)
}
