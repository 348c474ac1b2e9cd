// SPDX-License-Identifier: Apache-2.0

package cpio

import (
	"bytes"
	"fmt"
	"io"
)

// Reader goes through the entries of concatenated archives.
type Reader struct {
	b        []byte
	at       uint64
	open     bool // inside an archive, whose trailer is still to come
	archives int
}

// NewReader returns a Reader over b, which must not change meanwhile.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Archives returns how many archives were read to their trailers.
func (r *Reader) Archives() int { return r.archives }

// Offset returns how far the Reader got, in bytes.
func (r *Reader) Offset() uint64 { return r.at }

// Next returns the next entry; trailers and the zero padding between archives
// are passed over. It returns io.EOF at the end. What is neither padding nor
// an entry, such as a compressed archive, gives ErrNotCPIO, and what does not
// begin at a multiple of four bytes gives ErrPadding; Offset then tells where
// it begins.
func (r *Reader) Next() (*Entry, error) {
	for {
		if !r.open {
			for r.at < uint64(len(r.b)) && r.b[r.at] == 0 {
				r.at++
			}
			if r.at == uint64(len(r.b)) {
				return nil, io.EOF
			}
			if r.at%4 != 0 {
				return nil, fmt.Errorf("%w: at 0x%x", ErrPadding, r.at)
			}
		}
		e, next, err := r.entry()
		if err != nil {
			return nil, err
		}
		r.at = next
		if e.Name == trailer && e.Mode&ModeType == 0 {
			r.open = false
			r.archives++
			continue
		}
		r.open = true
		return e, nil
	}
}

// entry decodes the entry at r.at and returns the offset after it.
func (r *Reader) entry() (*Entry, uint64, error) {
	b, size := r.b[r.at:], uint64(len(r.b))
	if len(b) >= len(magicNewc) && string(b[:6]) != magicNewc && string(b[:6]) != magicCRC ||
		len(b) < len(magicNewc) && !bytes.HasPrefix([]byte(magicNewc), b) {
		return nil, 0, fmt.Errorf("%w: %q at 0x%x", ErrNotCPIO, b[:min(len(b), 6)], r.at)
	}
	if len(b) < headerSize {
		return nil, 0, fmt.Errorf("%w: header 0x%x+0x%x in an archive of 0x%x bytes", ErrTruncated, r.at, headerSize, size)
	}
	var f [13]uint32
	for i := range f {
		v, ok := hex8(b[6+8*i:])
		if !ok {
			return nil, 0, fmt.Errorf("%w: %q at 0x%x is no number", ErrHeader, b[6+8*i:14+8*i], r.at+6+8*uint64(i))
		}
		f[i] = v
	}
	e := &Entry{Offset: r.at, Header: Header{
		Inode: f[0], Mode: f[1], UID: f[2], GID: f[3], NLink: f[4], MTime: f[5],
		DevMajor: f[7], DevMinor: f[8], RDevMajor: f[9], RDevMinor: f[10],
	}}
	nameSize, dataSize := uint64(f[11]), uint64(f[6])
	if nameSize == 0 || nameSize > maxName {
		return nil, 0, fmt.Errorf("%w: name of 0x%x bytes at 0x%x", ErrHeader, nameSize, r.at)
	}
	nameEnd := r.at + headerSize + nameSize
	data := pad4(nameEnd)
	end := data + dataSize
	if end > size {
		return nil, 0, fmt.Errorf("%w: entry 0x%x-0x%x in an archive of 0x%x bytes", ErrTruncated, r.at, end, size)
	}
	name := r.b[r.at+headerSize : nameEnd]
	if bytes.IndexByte(name, 0) != len(name)-1 {
		return nil, 0, fmt.Errorf("%w: name %q at 0x%x does not end with its only NUL", ErrHeader, name[:min(len(name), 64)], r.at+headerSize)
	}
	e.Name = string(name[:len(name)-1])
	e.Data = r.b[data:end:end]
	if string(b[:6]) == magicCRC {
		var sum uint32
		for _, c := range e.Data {
			sum += uint32(c)
		}
		if sum != f[12] && e.Mode&ModeType == ModeRegular {
			return nil, 0, fmt.Errorf("%w: %q at 0x%x: sum 0x%x, header has 0x%x", ErrChecksum, e.Name, r.at, sum, f[12])
		}
	}
	return e, min(pad4(end), size), nil
}

// hex8 decodes eight hexadecimal digits.
func hex8(b []byte) (v uint32, ok bool) {
	for _, c := range b[:8] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint32(c)
	}
	return v, true
}

func pad4(n uint64) uint64 { return (n + 3) &^ 3 }

// Is reports whether b begins with an entry of a newc archive.
func Is(b []byte) bool {
	return len(b) >= headerSize && (string(b[:6]) == magicNewc || string(b[:6]) == magicCRC)
}
