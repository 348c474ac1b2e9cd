// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// zeros is what padding is written from; nobody writes to it.
const zeroChunk = 32 << 10

// WriteTo writes the image to w: headers, sections and padding, in the order
// of the file.
func (l *Layout) WriteTo(w io.Writer) (int64, error) {
	var n uint64
	pad := func(to uint64) error {
		zeros := make([]byte, min(zeroChunk, to-n))
		for n < to {
			k, err := w.Write(zeros[:min(uint64(len(zeros)), to-n)])
			n += uint64(k)
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range l.all() {
		if err := pad(c.off); err != nil {
			return int64(n), err
		}
		k, err := w.Write(c.data)
		n += uint64(k)
		if err != nil {
			return int64(n), err
		}
	}
	return int64(n), pad(l.size)
}

// all returns the header and the contents as chunks in the order of the file.
func (l *Layout) all() []chunk {
	return append([]chunk{{0, l.Header}}, l.chunks...)
}

// UpdateCheckSum sets the CheckSum field: the 16-bit words of the file added
// with end-around carry, the field itself taken as zero, plus the size of the
// file. Firmware ignores it and the Authenticode digest leaves it out.
func (l *Layout) UpdateCheckSum() {
	le.PutUint32(l.Header[l.checksum:], 0)
	var sum uint64
	for _, c := range l.all() {
		sum += wordSum(c.data, c.off&1 == 1)
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	le.PutUint32(l.Header[l.checksum:], uint32(sum)+uint32(l.size))
}

// CheckSumOf returns what the CheckSum field of f should hold.
func CheckSumOf(f *File) uint32 {
	at := f.optional + offChecksum
	sum := wordSum(f.Raw[:at], false) + wordSum(f.Raw[at+4:], at&1 == 1)
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(len(f.Raw))
}

// wordSum adds the little-endian 16-bit words of b; odd tells that b begins
// with the upper half of a word. The sum cannot wrap below 2^48 words.
func wordSum(b []byte, odd bool) (sum uint64) {
	if odd && len(b) > 0 {
		sum = uint64(b[0]) << 8
		b = b[1:]
	}
	// Four words at a time: the carries between 16-bit lanes come out right
	// when the lanes are folded, because 2^16 is 1 modulo 0xffff.
	var wide, carry uint64
	for ; len(b) >= 8; b = b[8:] {
		v := le.Uint64(b)
		wide += v
		if wide < v {
			carry++
		}
	}
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(le.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0])
	}
	for wide > 0xffff {
		wide = wide&0xffff + wide>>16
	}
	return sum + wide + carry
}

// sortChunks brings the contents into the order of the file.
func sortChunks(l *Layout) error {
	l.chunks = slices.DeleteFunc(l.chunks, func(c chunk) bool { return len(c.data) == 0 })
	slices.SortStableFunc(l.chunks, func(a, b chunk) int { return cmp.Compare(a.off, b.off) })
	for i, c := range l.chunks {
		if i > 0 && c.off < l.chunks[i-1].off+uint64(len(l.chunks[i-1].data)) {
			return fmt.Errorf("%w: contents at offset 0x%x", ErrSectionOverlap, c.off)
		}
	}
	return nil
}

// replace puts data over the contents at offset off, which must lie in one
// chunk.
func (l *Layout) replace(off uint64, data []byte) error {
	for i, c := range l.chunks {
		end := off + uint64(len(data))
		if off < c.off || end > c.off+uint64(len(c.data)) {
			continue
		}
		parts := []chunk{
			{c.off, c.data[:off-c.off]},
			{off, data},
			{end, c.data[end-c.off:]},
		}
		l.chunks = slices.Replace(l.chunks, i, i+1, parts...)
		return sortChunks(l)
	}
	return fmt.Errorf("%w: no contents at offset 0x%x+0x%x", ErrBuild, off, len(data))
}

// Padding returns how many zero bytes a signing tool appends to an image of
// size bytes before it hashes it, so that the certificate table that follows
// is aligned.
func Padding(size int64) int { return int(-size & (certAlign - 1)) }

func alignUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }
