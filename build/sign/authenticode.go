// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto"
	"fmt"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/image/pe"
)

// Authenticode returns the DER of an Authenticode signature over f, ready for
// Attach. The signature is over the image as Attach will write it, padded to
// a multiple of eight bytes; signatures that f has do not matter to it.
func Authenticode(f *pe.File, k Key, o Options) ([]byte, error) {
	h, err := o.hash()
	if err != nil {
		return nil, err
	}
	if err := k.Check(); err != nil {
		return nil, err
	}
	digest, err := f.SigningDigest(h)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	value, err := indirectData(h, digest)
	if err != nil {
		return nil, err
	}
	element, err := wrap(cbasn1.SEQUENCE, value)
	if err != nil {
		return nil, err
	}
	w := h.New()
	w.Write(value)
	o.NoAttributes, o.KeyID = false, false
	return message(content{typ: oid(dottedIndirectData), element: element, digest: w.Sum(nil)}, k, o, h)
}

// indirectData returns the value of SpcIndirectDataContent without its tag,
// over which the message digest goes (Authenticode, "SpcIndirectDataContent").
func indirectData(h crypto.Hash, digest []byte) ([]byte, error) {
	// The specification wants this text where a file name once was.
	var obsolete []byte
	for _, u := range utf16.Encode([]rune("<<<Obsolete>>>")) {
		obsolete = append(obsolete, byte(u>>8), byte(u))
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid(dottedPEImageData))
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) { b.AddUint8(0) })
			b.AddASN1(tagged(0), func(b *cryptobyte.Builder) {
				b.AddASN1(tagged(2), func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(obsolete) })
				})
			})
		})
	})
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addHash(b, h, true)
		b.AddASN1OctetString(digest)
	})
	return b.Bytes()
}
