// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"crypto"
	_ "crypto/sha1"   // for Hash.Sum
	_ "crypto/sha256" // for Hash.Sum
	_ "crypto/sha3"   // for Hash.Sum
	_ "crypto/sha512" // for Hash.Sum
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash is the algorithm of a bank of registers, a TPM_ALG_ID (TCG Algorithm
// Registry, table 3).
type Hash uint16

// Algorithms that banks have.
const (
	SHA1     Hash = 0x0004
	SHA256   Hash = 0x000b
	SHA384   Hash = 0x000c
	SHA512   Hash = 0x000d
	SM3      Hash = 0x0012
	SHA3_256 Hash = 0x0027
	SHA3_384 Hash = 0x0028
	SHA3_512 Hash = 0x0029
)

// Banks returns the algorithms that peel computes for, in the order of their
// numbers.
func Banks() []Hash { return []Hash{SHA1, SHA256, SHA384, SHA512} }

// algorithm is a row of the table of algorithms.
type algorithm struct {
	hash Hash
	name string
	size int
	impl crypto.Hash
}

func algorithms() []algorithm {
	return []algorithm{
		{SHA1, "sha1", 20, crypto.SHA1},
		{SHA256, "sha256", 32, crypto.SHA256},
		{SHA384, "sha384", 48, crypto.SHA384},
		{SHA512, "sha512", 64, crypto.SHA512},
		{SM3, "sm3_256", 32, 0},
		{SHA3_256, "sha3_256", 32, crypto.SHA3_256},
		{SHA3_384, "sha3_384", 48, crypto.SHA3_384},
		{SHA3_512, "sha3_512", 64, crypto.SHA3_512},
	}
}

func (h Hash) row() (algorithm, bool) {
	for _, a := range algorithms() {
		if a.hash == h {
			return a, true
		}
	}
	return algorithm{}, false
}

// String returns the name, "sha256", or the number of an unknown algorithm.
func (h Hash) String() string {
	if a, ok := h.row(); ok {
		return a.name
	}
	return fmt.Sprintf("alg-0x%04x", uint16(h))
}

// Size returns the length of a digest in bytes, 0 for an unknown algorithm.
func (h Hash) Size() int {
	a, _ := h.row()
	return a.size
}

// Available reports whether Sum and Extend can compute it.
func (h Hash) Available() bool {
	a, ok := h.row()
	return ok && a.impl != 0
}

// Crypto returns the algorithm as the standard library names it, 0 if it has
// none.
func (h Hash) Crypto() crypto.Hash {
	a, _ := h.row()
	return a.impl
}

// Sum returns the digest of the concatenated parts, nil when the algorithm is
// not available.
func (h Hash) Sum(parts ...[]byte) []byte {
	if !h.Available() {
		return nil
	}
	d := h.Crypto().New()
	for _, p := range parts {
		d.Write(p)
	}
	return d.Sum(nil)
}

// Extend returns the value of a register after an extend: the digest of its
// old value and the digest that it is extended with (TPM 2.0 Library, part 1,
// section 17.2).
func (h Hash) Extend(old, digest []byte) []byte { return h.Sum(old, digest) }

// ParseHash reads a name such as "sha256" or "SHA-256".
func ParseHash(s string) (Hash, error) {
	n := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
	for _, a := range algorithms() {
		if n == strings.ReplaceAll(a.name, "_", "") {
			return a.hash, nil
		}
	}
	return 0, fmt.Errorf("%w: %.20q", ErrHash, s)
}

// MarshalText returns String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is ParseHash.
func (h *Hash) UnmarshalText(b []byte) error {
	v, err := ParseHash(string(b))
	*h = v
	return err
}

// Bytes are bytes that text formats show in hexadecimal.
type Bytes []byte

// String returns the bytes in hexadecimal.
func (b Bytes) String() string { return hex.EncodeToString(b) }

// MarshalText returns String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads hexadecimal digits.
func (b *Bytes) UnmarshalText(t []byte) error {
	v, err := hex.DecodeString(string(t))
	*b = v
	return err
}
