// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"crypto"
	"encoding/binary"
	"fmt"
)

// verityBlock is the block size fs-verity uses by default and nearly always.
const verityBlock = 4096

// VerityDigest returns the fs-verity file digest of data with blocks of 4096
// bytes and no salt (Documentation/filesystems/fsverity.rst, "File digest
// computation"): the hash of a 256-byte descriptor that holds the root of a
// Merkle tree. h is SHA-256 or SHA-512, the two that fs-verity knows.
func VerityDigest(h crypto.Hash, data []byte) ([]byte, error) {
	var alg byte
	switch h {
	case crypto.SHA256:
		alg = 1
	case crypto.SHA512:
		alg = 2
	default:
		return nil, fmt.Errorf("fs-verity with %v: %w", h, ErrSyntax)
	}
	size := h.Size()
	d := make([]byte, 256)
	d[0], d[1], d[2] = 1, alg, 12 // version, hash algorithm, log2 of the block size
	binary.LittleEndian.PutUint64(d[8:], uint64(len(data)))
	if len(data) > 0 {
		level := data
		for first := true; first || len(level) > size; first = false {
			level = verityLevel(h, level)
		}
		copy(d[16:80], level)
	}
	w := h.New()
	w.Write(d)
	return w.Sum(nil), nil
}

// verityLevel hashes each zero-padded block of b.
func verityLevel(h crypto.Hash, b []byte) []byte {
	out := make([]byte, 0, (len(b)/verityBlock+1)*h.Size())
	pad := make([]byte, verityBlock)
	w := h.New()
	for len(b) > 0 {
		n := min(len(b), verityBlock)
		w.Reset()
		w.Write(b[:n])
		w.Write(pad[:verityBlock-n])
		out = w.Sum(out)
		b = b[n:]
	}
	return out
}
