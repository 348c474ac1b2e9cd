// SPDX-License-Identifier: Apache-2.0

package zboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of this package.
var (
	// ErrNotZboot means that the file lacks "MZ" or "zimg".
	ErrNotZboot = errors.New("not a zboot image")
	// ErrTruncated means that the file ends inside the header.
	ErrTruncated = errors.New("file ends inside the zboot header")
	// ErrPayload means that the payload lies outside of the file or over
	// the header.
	ErrPayload = errors.New("bad zboot payload")
	// ErrMethod means that the name of the compression method is empty, too
	// long or not printable.
	ErrMethod = errors.New("bad zboot compression name")
)

const (
	// HeaderSize is the size of the header in bytes: it takes the place of
	// the DOS header in front of the PE header.
	HeaderSize = 64

	offMagic   = 4
	offOffset  = 8
	offSize    = 12
	offMethod  = 24
	offPEMagic = 0x38
	offPE      = 0x3c
	maxMethod  = offPEMagic - offMethod - 1

	// PEMagic is LINUX_PE_MAGIC, found at 0x38 from Linux 6.2 on.
	PEMagic = 0x818223cd
)

var le = binary.LittleEndian

// Header is the header of a zboot image. Numbers are little endian in the
// file.
type Header struct {
	// PayloadOffset is where the compressed kernel begins, in bytes from the
	// start of the file (offset 8).
	PayloadOffset uint32
	// PayloadSize is the size of the compressed kernel in bytes (offset 12).
	// For gzip that is the whole stream; for every other method four bytes
	// with the uncompressed size follow, which are not counted.
	PayloadSize uint32
	// Method is the compression method as the header spells it: gzip, lz4,
	// lzma, lzo, xzkern or zstd22 (offset 24, NUL-terminated).
	Method string
	// Magic is the field at 0x38: PEMagic, or 0 up to Linux 6.1.
	Magic uint32
	// PEOffset is where the PE header begins (offset 0x3c).
	PEOffset uint32
}

// File is a zboot image whose header was checked by Parse.
type File struct {
	Header
	// Raw is the whole file.
	Raw []byte
}

// Is reports whether b begins like a zboot image.
func Is(b []byte) bool {
	return len(b) >= offMagic+4 && b[0] == 'M' && b[1] == 'Z' && string(b[offMagic:offMagic+4]) == "zimg"
}

// Parse decodes and checks the header of b. It fails with ErrNotZboot,
// ErrTruncated, ErrMethod or ErrPayload.
func Parse(b []byte) (*File, error) {
	if !Is(b) {
		return nil, fmt.Errorf("%w: no MZ at 0x0 or no \"zimg\" at 0x%x", ErrNotZboot, offMagic)
	}
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("%w: 0x%x bytes of 0x%x", ErrTruncated, len(b), HeaderSize)
	}
	f := &File{Raw: b, Header: Header{
		PayloadOffset: le.Uint32(b[offOffset:]),
		PayloadSize:   le.Uint32(b[offSize:]),
		Magic:         le.Uint32(b[offPEMagic:]),
		PEOffset:      le.Uint32(b[offPE:]),
	}}
	name := b[offMethod:offPEMagic]
	end := bytes.IndexByte(name, 0)
	if end < 0 {
		return nil, fmt.Errorf("%w: no NUL in the %d bytes at 0x%x", ErrMethod, len(name), offMethod)
	}
	f.Method = string(name[:end])
	if err := checkMethod(f.Method); err != nil {
		return nil, err
	}
	off, size := uint64(f.PayloadOffset), uint64(f.PayloadSize)
	switch {
	case size == 0:
		return nil, fmt.Errorf("%w: size 0 at offset 0x%x", ErrPayload, off)
	case off < HeaderSize:
		return nil, fmt.Errorf("%w: at 0x%x, inside the header of 0x%x bytes", ErrPayload, off, HeaderSize)
	case off+size > uint64(len(b)):
		return nil, fmt.Errorf("%w: 0x%x+0x%x exceeds file of 0x%x bytes", ErrPayload, off, size, len(b))
	}
	return f, nil
}

func checkMethod(name string) error {
	if name == "" || len(name) > maxMethod {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrMethod, len(name), maxMethod)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("%w: %q", ErrMethod, name)
		}
	}
	return nil
}

// Payload returns the compressed kernel: PayloadSize bytes, a view of Raw.
func (f *File) Payload() []byte {
	end := uint64(f.PayloadOffset) + uint64(f.PayloadSize)
	return f.Raw[f.PayloadOffset:end:end]
}

// UncompressedSize returns the size in bytes that the image claims for its
// decompressed kernel: the last four bytes of a gzip stream, or the four
// bytes after any other one. ok is false when the file does not have them.
// The number is only a hint: nothing says that it is true.
func (f *File) UncompressedSize() (n uint32, ok bool) {
	end := uint64(f.PayloadOffset) + uint64(f.PayloadSize)
	if f.Method == "gzip" {
		if f.PayloadSize < 4 {
			return 0, false
		}
		return le.Uint32(f.Raw[end-4:]), true
	}
	if end+4 > uint64(len(f.Raw)) {
		return 0, false
	}
	return le.Uint32(f.Raw[end:]), true
}

// Encode returns the HeaderSize bytes of h, to stand in front of the PE
// header. It fails with ErrMethod.
func (h *Header) Encode() ([]byte, error) {
	if err := checkMethod(h.Method); err != nil {
		return nil, err
	}
	b := make([]byte, HeaderSize)
	copy(b, "MZ")
	copy(b[offMagic:], "zimg")
	le.PutUint32(b[offOffset:], h.PayloadOffset)
	le.PutUint32(b[offSize:], h.PayloadSize)
	copy(b[offMethod:], h.Method)
	le.PutUint32(b[offPEMagic:], h.Magic)
	le.PutUint32(b[offPE:], h.PEOffset)
	return b, nil
}

// SetPayload rewrites the payload's offset and size in the header that b
// begins with: a tool that moves sections about loses them otherwise. It
// fails with ErrNotZboot or ErrTruncated.
func SetPayload(b []byte, offset, size uint32) error {
	if !Is(b) {
		return fmt.Errorf("%w: no MZ at 0x0 or no \"zimg\" at 0x%x", ErrNotZboot, offMagic)
	}
	if len(b) < HeaderSize {
		return fmt.Errorf("%w: 0x%x bytes of 0x%x", ErrTruncated, len(b), HeaderSize)
	}
	le.PutUint32(b[offOffset:], offset)
	le.PutUint32(b[offSize:], size)
	return nil
}
