// SPDX-License-Identifier: Apache-2.0

package inflate

import "encoding/binary"

// SizeHint returns the size in bytes of the output that the stream src
// declares, if its format can say so and src does. Nothing vouches for the
// number; it serves to size a buffer or to report progress.
//
// gzip and xz keep it at the end, so src must be the stream and nothing else
// for these two; for gzip it is modulo 2^32 and of the last member only.
// bzip2 and legacy LZ4 frames never know it: there [SizeTrailer] may help.
func SizeHint(m Method, src []byte) (uint64, bool) {
	switch m {
	case Gzip:
		if len(src) < 18 {
			return 0, false
		}
		n, ok := SizeTrailer(src)
		return uint64(n), ok
	case LZMA:
		if len(src) < lzmaHeaderSize {
			return 0, false
		}
		n := binary.LittleEndian.Uint64(src[5:])
		return n, n != lzmaSizeUnknown
	case XZ:
		return xzSize(src)
	case LZO:
		return lzopSize(src)
	case LZ4:
		return lz4Size(src)
	case Zstd:
		return zstdSize(src)
	}
	return 0, false
}

// ExpectedSize returns about how many bytes of output are worth making ready
// before src is decoded: what the stream declares, but not more than six times
// its own size, whatever it says, and three times without a declaration.
// Kernels shrink to a third in most formats and hardly ever below a sixth.
func ExpectedSize(m Method, src []byte) uint64 {
	const unknown, most = 3, 6
	size := uint64(len(src))
	if n, ok := SizeHint(m, src); ok {
		return min(n, most*size)
	}
	return unknown * size
}

// SizeTrailer returns the little-endian 32-bit number at the end of b: the
// size of the output, which the kernel's build appends to the streams of all
// methods but gzip, whose format ends with it anyway.
func SizeTrailer(b []byte) (uint32, bool) {
	if len(b) < 4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b[len(b)-4:]), true
}
