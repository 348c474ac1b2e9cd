// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"encoding/binary"
	"math/bits"
)

// Primes of XXH32 (xxHash specification, doc/xxhash_spec.md).
const (
	xxPrime1 = 0x9E3779B1
	xxPrime2 = 0x85EBCA77
	xxPrime3 = 0xC2B2AE3D
	xxPrime4 = 0x27D4EB2F
	xxPrime5 = 0x165667B1
)

// xxh32 returns the XXH32 of b with seed 0.
func xxh32(b []byte) uint32 {
	n := uint32(uint64(len(b)))
	var h uint32
	if len(b) >= 16 {
		var (
			s1 uint32 = (xxPrime1 + xxPrime2) & (1<<32 - 1)
			s2 uint32 = xxPrime2
			s3 uint32
			s4 uint32 = 1<<32 - xxPrime1
		)
		for ; len(b) >= 16; b = b[16:] {
			s1 = xxRound(s1, binary.LittleEndian.Uint32(b[0:4]))
			s2 = xxRound(s2, binary.LittleEndian.Uint32(b[4:8]))
			s3 = xxRound(s3, binary.LittleEndian.Uint32(b[8:12]))
			s4 = xxRound(s4, binary.LittleEndian.Uint32(b[12:16]))
		}
		h = bits.RotateLeft32(s1, 1) + bits.RotateLeft32(s2, 7) + bits.RotateLeft32(s3, 12) + bits.RotateLeft32(s4, 18)
	} else {
		h = xxPrime5
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*xxPrime3, 17) * xxPrime4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*xxPrime5, 11) * xxPrime1
	}
	h ^= h >> 15
	h *= xxPrime2
	h ^= h >> 13
	h *= xxPrime3
	return h ^ h>>16
}

func xxRound(s, v uint32) uint32 {
	return bits.RotateLeft32(s+v*xxPrime2, 13) * xxPrime1
}
