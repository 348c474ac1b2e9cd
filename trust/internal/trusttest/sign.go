// SPDX-License-Identifier: Apache-2.0

package trusttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/image/pe"
)

// Options say how a message is to be made; the zero value of each field is
// what the specifications ask for.
type Options struct {
	Signer crypto.Signer
	Cert   *x509.Certificate
	// Extra certificates go into the message after Cert.
	Extra []*x509.Certificate
	// NoCerts leaves all certificates out, as sign-file does.
	NoCerts bool
	// Hash for content and attributes; 0 is SHA-256.
	Hash crypto.Hash
	PSS  bool
	// KeyID names the signer by its subject key identifier (version 3).
	KeyID bool
	// NoAttrs signs the content directly.
	NoAttrs bool

	// ContentType is id-data when nil. Content goes into the message when
	// it is not nil; Detached is digested and left out.
	ContentType asn1.ObjectIdentifier
	Content     []byte
	Detached    []byte

	// Wrong ways.
	DigestOverTLV     bool // message digest over tag and length as well
	MessageDigest     []byte
	AttrContentType   asn1.ObjectIdentifier
	DoubleDigestAttr  bool
	Version           int
	SignerVersion     int
	AnnounceHash      crypto.Hash
	CorruptSignature  bool
	SigningTime       time.Time
	Unsigned          func(signature []byte) []Attribute
	SignatureOID      asn1.ObjectIdentifier
	TrailingInMessage []byte
}

// Attribute is an unsigned attribute to add.
type Attribute struct {
	Type  asn1.ObjectIdentifier
	Value []byte
}

// Object identifiers used by several makers.
var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidPSS           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	// IndirectData is SPC_INDIRECT_DATA_OBJID.
	IndirectData = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	// TimestampToken and CounterSignature are types of unsigned attributes.
	TimestampToken   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 3, 3, 1}
	CounterSignature = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 6}
	// NestedSignature is SPC_NESTED_SIGNATURE_OBJID.
	NestedSignature = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 4, 1}
	peImageData     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

func hashOID(h crypto.Hash) asn1.ObjectIdentifier {
	switch h {
	case crypto.SHA1:
		return asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	case crypto.SHA384:
		return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	case crypto.SHA512:
		return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	}
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
}

func ecdsaOID(h crypto.Hash) asn1.ObjectIdentifier {
	last := map[crypto.Hash]int{crypto.SHA256: 2, crypto.SHA384: 3, crypto.SHA512: 4}[h]
	if last == 0 {
		return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	}
	return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, last}
}

func addHash(b *cryptobyte.Builder, h crypto.Hash) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(hashOID(h))
		b.AddASN1NULL()
	})
}

func sum(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// value returns the contents of a DER element without tag and length.
func value(t testing.TB, el []byte) []byte {
	t.Helper()
	var raw asn1.RawValue
	if rest, err := asn1.Unmarshal(el, &raw); err != nil || len(rest) > 0 {
		t.Fatalf("content is not one DER element: %v", err)
	}
	return raw.Bytes
}

// Message returns the DER of a SignedData message made as o says.
func Message(t testing.TB, o Options) []byte {
	t.Helper()
	if o.Hash == 0 {
		o.Hash = crypto.SHA256
	}
	typ := o.ContentType
	if typ == nil {
		typ = oidData
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(ctx(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				version := 1
				if o.KeyID {
					version = 3
				}
				if o.Version != 0 {
					version = o.Version
				}
				b.AddASN1Int64(int64(version))
				announce := o.Hash
				if o.AnnounceHash != 0 {
					announce = o.AnnounceHash
				}
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { addHash(b, announce) })
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(typ)
					if o.Content != nil {
						b.AddASN1(ctx(0), func(b *cryptobyte.Builder) { b.AddBytes(o.Content) })
					}
				})
				if !o.NoCerts {
					b.AddASN1(ctx(0), func(b *cryptobyte.Builder) {
						b.AddBytes(o.Cert.Raw)
						for _, c := range o.Extra {
							b.AddBytes(c.Raw)
						}
					})
				}
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(SignerInfo(t, o, typ)) })
				b.AddBytes(o.TrailingInMessage)
			})
		})
	})
	return mustBytes(t, &b)
}

func ctx(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

func mustBytes(t testing.TB, b *cryptobyte.Builder) []byte {
	t.Helper()
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// SignerInfo returns one SignerInfo.
func SignerInfo(t testing.TB, o Options, typ asn1.ObjectIdentifier) []byte {
	t.Helper()
	content := o.Detached
	if o.Content != nil {
		content = value(t, o.Content)
		if o.DigestOverTLV {
			content = o.Content
		}
	}
	digest := sum(o.Hash, content)
	var attrs []byte
	signed := digest
	if !o.NoAttrs {
		attrs = signedAttrs(t, o, typ, digest)
		set := append([]byte(nil), attrs...)
		set[0] = 0x31
		signed = sum(o.Hash, set)
	}
	sig := rawSign(t, o, signed)
	if o.CorruptSignature {
		sig[len(sig)/2] ^= 1
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		version := 1
		if o.KeyID {
			version = 3
		}
		if o.SignerVersion != 0 {
			version = o.SignerVersion
		}
		b.AddASN1Int64(int64(version))
		if o.KeyID {
			b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(o.Cert.SubjectKeyId) })
		} else {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(o.Cert.RawIssuer)
				b.AddASN1BigInt(o.Cert.SerialNumber)
			})
		}
		addHash(b, o.Hash)
		b.AddBytes(attrs)
		addSignatureAlgorithm(b, o)
		b.AddASN1OctetString(sig)
		if o.Unsigned != nil {
			b.AddASN1(ctx(1), func(b *cryptobyte.Builder) {
				for _, a := range o.Unsigned(sig) {
					addAttr(b, a.Type, a.Value)
				}
			})
		}
	})
	return mustBytes(t, &b)
}

func addAttr(b *cryptobyte.Builder, typ asn1.ObjectIdentifier, values ...[]byte) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(typ)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			for _, v := range values {
				b.AddBytes(v)
			}
		})
	})
}

func signedAttrs(t testing.TB, o Options, typ asn1.ObjectIdentifier, digest []byte) []byte {
	t.Helper()
	if o.AttrContentType != nil {
		typ = o.AttrContentType
	}
	if o.MessageDigest != nil {
		digest = o.MessageDigest
	}
	der := func(f func(*cryptobyte.Builder)) []byte {
		var b cryptobyte.Builder
		f(&b)
		return mustBytes(t, &b)
	}
	var b cryptobyte.Builder
	b.AddASN1(ctx(0), func(b *cryptobyte.Builder) {
		addAttr(b, oidContentType, der(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(typ) }))
		if !o.SigningTime.IsZero() {
			addAttr(b, oidSigningTime, der(func(b *cryptobyte.Builder) { b.AddASN1UTCTime(o.SigningTime) }))
		}
		md := der(func(b *cryptobyte.Builder) { b.AddASN1OctetString(digest) })
		addAttr(b, oidMessageDigest, md)
		if o.DoubleDigestAttr {
			addAttr(b, oidMessageDigest, md)
		}
	})
	return mustBytes(t, &b)
}

func rawSign(t testing.TB, o Options, digest []byte) []byte {
	t.Helper()
	var opts crypto.SignerOpts = o.Hash
	if o.PSS {
		opts = &rsa.PSSOptions{SaltLength: o.Hash.Size(), Hash: o.Hash}
	}
	sig, err := o.Signer.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func addSignatureAlgorithm(b *cryptobyte.Builder, o Options) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if o.SignatureOID != nil {
			b.AddASN1ObjectIdentifier(o.SignatureOID)
			b.AddASN1NULL()
			return
		}
		if _, ok := o.Signer.Public().(*ecdsa.PublicKey); ok {
			b.AddASN1ObjectIdentifier(ecdsaOID(o.Hash))
			return
		}
		if !o.PSS {
			b.AddASN1ObjectIdentifier(oidRSA)
			b.AddASN1NULL()
			return
		}
		b.AddASN1ObjectIdentifier(oidPSS)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(ctx(0), func(b *cryptobyte.Builder) { addHash(b, o.Hash) })
			b.AddASN1(ctx(1), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidMGF1)
					addHash(b, o.Hash)
				})
			})
			b.AddASN1(ctx(2), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(o.Hash.Size())) })
		})
	})
}

// Indirect returns SpcIndirectDataContent for a digest.
func Indirect(t testing.TB, h crypto.Hash, digest []byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(peImageData)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1BitString(nil)
				b.AddASN1(ctx(0), func(b *cryptobyte.Builder) {
					b.AddASN1(ctx(2), func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) {})
					})
				})
			})
		})
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addHash(b, h)
			b.AddASN1OctetString(digest)
		})
	})
	return mustBytes(t, &b)
}

// Authenticode returns a message over the image's digest. The image's length
// must be a multiple of 8.
func Authenticode(t testing.TB, image []byte, o Options) []byte {
	t.Helper()
	if o.Hash == 0 {
		o.Hash = crypto.SHA256
	}
	f, err := pe.Parse(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.Digest(o.Hash)
	if err != nil {
		t.Fatal(err)
	}
	o.ContentType = IndirectData
	if o.Content == nil {
		o.Content = Indirect(t, o.Hash, d)
	}
	return Message(t, o)
}

// SignPE returns image with one signature added.
func SignPE(t testing.TB, image []byte, o Options) []byte {
	t.Helper()
	for len(image)%8 != 0 {
		image = append(image[:len(image):len(image)], 0)
	}
	return Attach(image, Authenticode(t, image, o))
}

// Token returns an RFC 3161 time-stamp token over signature.
func Token(t testing.TB, o Options, at time.Time, signature []byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 3})
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addHash(b, crypto.SHA256)
			b.AddASN1OctetString(sum(crypto.SHA256, signature))
		})
		b.AddASN1Int64(7)
		b.AddASN1GeneralizedTime(at.UTC())
	})
	info := mustBytes(t, &b)
	var c cryptobyte.Builder
	c.AddASN1OctetString(info)
	o.ContentType, o.Content, o.Version = oidTSTInfo, mustBytes(t, &c), 3
	return Message(t, o)
}

// Counter returns a PKCS #9 countersignature over signature.
func Counter(t testing.TB, o Options, at time.Time, signature []byte) []byte {
	t.Helper()
	if o.Hash == 0 {
		o.Hash = crypto.SHA256
	}
	o.Detached, o.Content, o.SigningTime = signature, nil, at.UTC()
	return SignerInfo(t, o, oidData)
}
