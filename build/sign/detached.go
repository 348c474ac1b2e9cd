// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto"
	"fmt"
	"io"

	"github.com/peelboot/peel/trust/appended"
)

// Digest returns the digest of what r holds, made with o.Hash, for
// DetachedDigest.
func Digest(r io.Reader, o Options) ([]byte, error) {
	h, err := o.hash()
	if err != nil {
		return nil, err
	}
	w := h.New()
	if _, err := io.Copy(w, r); err != nil {
		return nil, err
	}
	return w.Sum(nil), nil
}

// Detached returns the DER of a CMS SignedData message over data, which is not
// part of it.
func Detached(data []byte, k Key, o Options) ([]byte, error) {
	h, err := o.hash()
	if err != nil {
		return nil, err
	}
	w := h.New()
	w.Write(data)
	return DetachedDigest(w.Sum(nil), k, o)
}

// DetachedDigest is Detached for data that has this digest, made with o.Hash.
func DetachedDigest(digest []byte, k Key, o Options) ([]byte, error) {
	h, err := o.hash()
	if err != nil {
		return nil, err
	}
	if len(digest) != h.Size() {
		return nil, fmt.Errorf("%w: digest of %d bytes for %v", ErrAlgorithm, len(digest), h)
	}
	return message(content{typ: oid(dottedData), digest: digest}, k, o, h)
}

// AppendedOptions are the options with which the kernel's sign-file signs
// modules: neither certificates nor attributes. The kernel takes messages with
// attributes too, but no certificate in them makes a key trusted.
func AppendedOptions(h crypto.Hash) Options {
	return Options{Hash: h, NoCertificates: true, NoAttributes: true}
}

// AppendedTrailer returns what is to follow data to make it a file with an
// appended signature: the message, the block and the marker.
func AppendedTrailer(data []byte, k Key, o Options) ([]byte, error) {
	m, err := Detached(data, k, o)
	if err != nil {
		return nil, err
	}
	return appended.Append(nil, m)
}

// Appended returns data with a module-style signature appended. A signature
// that data ends with already becomes part of what is signed: strip it first
// with appended.Split to replace it.
func Appended(data []byte, k Key, o Options) ([]byte, error) {
	m, err := Detached(data, k, o)
	if err != nil {
		return nil, err
	}
	return appended.Append(data, m)
}
