// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/internal/magic"
)

var (
	// ErrLimit: the stream holds more than the output slice can take.
	ErrLimit = errors.New("output exceeds the limit")
	// ErrTruncated: the input ends before the stream does.
	ErrTruncated = errors.New("stream is truncated")
	// ErrCorrupt: the input breaks a rule of its format, or a checksum differs.
	ErrCorrupt = errors.New("stream is corrupt")
	// ErrUnsupported: the stream uses a feature, named in the message, that
	// this package does not have.
	ErrUnsupported = errors.New("not supported")
	// ErrDictionary: the stream asks for a larger dictionary (window) than
	// [Options.MaxDictionary].
	ErrDictionary = errors.New("dictionary exceeds the bound")
)

// Method is a compression format.
type Method uint8

// The methods, in the order in which the kernel's decompressor table grew.
const (
	None  Method = iota // not compressed, or not recognised
	Gzip                // RFC 1952 around RFC 1951
	Bzip2               // bzip2
	LZMA                // .lzma ("LZMA alone")
	XZ                  // .xz
	LZO                 // lzop files holding LZO1X
	LZ4                 // legacy frames (lz4 -l) and LZ4 frames
	Zstd                // RFC 8878
)

// String returns the name of the tool that makes the format, "none" for None.
func (m Method) String() string {
	switch m {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Bzip2:
		return "bzip2"
	case LZMA:
		return "lzma"
	case XZ:
		return "xz"
	case LZO:
		return "lzo"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// Detect tells the method by the leading bytes of a stream. 16 bytes are
// enough, unless the stream begins with a skippable frame: zstd and LZ4 share
// their number, so Detect looks at what follows and takes zstd if it cannot
// see that far.
func Detect(head []byte) Method {
	name := magic.Method(head)
	for m := Gzip; m <= Zstd; m++ {
		if m.String() == name {
			return m
		}
	}
	return None
}

// Result says how far a decoder came.
type Result struct {
	Written int // bytes of output that are valid, from the start of dst
	Read    int // bytes of input the stream took; what follows is not part of it
}

// DefaultMaxDictionary is the dictionary bound in bytes when Options has none:
// 128 MiB, the window of zstd --ultra -22 --long=27 kernels.
const DefaultMaxDictionary = 128 << 20

// Options adjusts a decoder. The zero value is what [Decompress] uses.
type Options struct {
	// MaxDictionary is the largest dictionary (window) in bytes that a stream
	// may declare; 0 stands for DefaultMaxDictionary. It applies to lzma, xz
	// and zstd, the other formats have small fixed windows. A zstd frame that
	// is a single segment declares its content, not a window, so that the
	// bound applies only if such a frame has to be decoded through a window.
	MaxDictionary uint64

	// AllowMissingSize accepts a gzip stream whose last four bytes, the size
	// of the output, are cut off. Callers that take the kernel's size trailer
	// for part of every zboot payload lose these.
	AllowMissingSize bool
}

func (o Options) maxDictionary() uint64 {
	if o.MaxDictionary == 0 {
		return DefaultMaxDictionary
	}
	return o.MaxDictionary
}

// Decompress decodes with the default options; see [Options.Decompress].
func Decompress(m Method, dst, src []byte) (Result, error) {
	return Options{}.Decompress(m, dst, src)
}

// Decompress decodes the stream at the start of src into dst. Streams that
// follow each other directly (gzip members, zstd and LZ4 frames, xz streams
// with their padding, bzip2 and lzop files) are decoded as one. Bytes behind
// them that begin no further stream are left alone: Result.Read is smaller
// than len(src) then, and the caller decides what that means.
//
// All checksums a format carries are verified. dst beyond Result.Written is as
// it was, but for up to 32 bytes of zeros. After an error dst[:Written] holds
// what was decoded before it, unverified.
//
// Errors: ErrLimit, ErrTruncated, ErrCorrupt, ErrUnsupported, ErrDictionary.
// src and dst must not overlap.
func (o Options) Decompress(m Method, dst, src []byte) (Result, error) {
	var (
		r   Result
		err error
	)
	dst = dst[:len(dst):len(dst)]
	switch m {
	case Gzip:
		r, err = o.gzip(dst, src)
	case Bzip2:
		r, err = o.bzip2(dst, src)
	case LZMA:
		r, err = o.lzma(dst, src)
	case XZ:
		r, err = o.xz(dst, src)
	case LZO:
		r, err = o.lzop(dst, src)
	case LZ4:
		r, err = o.lz4(dst, src)
	case Zstd:
		r, err = o.zstd(dst, src)
	default:
		return Result{}, fmt.Errorf("inflate: %v: %w", m, ErrUnsupported)
	}
	if err != nil {
		return r, fmt.Errorf("inflate: %v: %w", m, err)
	}
	return r, nil
}

// errAt makes an error of the given kind about the input at offset off.
func errAt(kind error, off int, format string, args ...any) error {
	return fmt.Errorf("input 0x%x: %s: %w", off, fmt.Sprintf(format, args...), kind)
}

// errLimit is errAt for an output that does not fit.
func errLimit(off, limit int) error {
	return errAt(ErrLimit, off, "more than 0x%x bytes", limit)
}

// overrun is how far behind its output a library's decoder may have written.
const overrun = 32

// clearOverrun zeroes what a decoder that copies in large words may have left
// behind the n bytes it produced.
func clearOverrun(dst []byte, n int) {
	clear(dst[n:min(len(dst), n+overrun)])
}
