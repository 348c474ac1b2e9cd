// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
)

// windowSize is the largest distance of a match in bytes, plus one (RFC 1951,
// section 2).
const windowSize = 32 << 10

// chunkSize is how many bytes are packed at once, each chunk on its own but
// for the window before it. It is part of what defines the output.
const chunkSize = 512 << 10

// maxWorkers bounds the chunks that are packed at the same time, each of which
// takes up to 40 MiB.
const maxWorkers = 4

// errClosed is what writing to a closed Writer gives.
var errClosed = errors.New("deflate: writer is closed")

// Writer packs what is written to it. It must be closed.
type Writer struct {
	w       io.Writer
	bits    bitWriter
	buf     []byte // window before the chunk, then the chunk so far
	window  int    // bytes of the window in buf
	crc     uint32 // IEEE, of all input
	size    uint32 // of all input, modulo 2^32
	pending []chan []block
	workers int
	err     error
}

// NewWriter begins a gzip member without a name or a time on w. Packing runs
// in up to as many goroutines as there are processors, none of which outlives
// the work it has begun, so that a Writer may be dropped without Close.
func NewWriter(w io.Writer) *Writer {
	z := &Writer{w: w, workers: min(runtime.GOMAXPROCS(0), maxWorkers)}
	// RFC 1952, 2.3.1: deflate, no flags, no time, "slowest algorithm", Unix.
	z.bits.out = append(z.bits.out, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3)
	return z
}

// Write packs b. It returns an error only if the underlying writer did.
func (z *Writer) Write(b []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, b)
	z.size += uint32(len(b))
	n := len(b)
	for len(b) > 0 {
		// The chunk before this one is begun only when more follows, because
		// the last one is marked.
		if len(z.buf)-z.window == chunkSize {
			if z.err = z.begin(false); z.err != nil {
				return n - len(b), z.err
			}
		}
		k := min(len(b), chunkSize-(len(z.buf)-z.window))
		if z.buf == nil {
			z.buf = make([]byte, 0, chunkSize)
		}
		z.buf = append(z.buf, b[:k]...)
		b = b[k:]
	}
	return n, nil
}

// begin has the chunk in the buffer packed, after waiting for older ones if
// there are too many.
func (z *Writer) begin(last bool) error {
	for len(z.pending) >= z.workers {
		if err := z.finish(); err != nil {
			return err
		}
	}
	done := make(chan []block, 1)
	buf, window := z.buf, z.window
	go func() { done <- pack(buf, window, last) }()
	z.pending = append(z.pending, done)
	if last {
		z.buf = nil
		return nil
	}
	tail := buf[len(buf)-windowSize:]
	z.buf = append(make([]byte, 0, windowSize+chunkSize), tail...)
	z.window = windowSize
	return nil
}

// finish writes the oldest chunk.
func (z *Writer) finish() error {
	blocks := <-z.pending[0]
	z.pending = z.pending[1:]
	for i := range blocks {
		blocks[i].emit(&z.bits)
	}
	_, err := z.w.Write(z.bits.out)
	z.bits.out = z.bits.out[:0]
	return err
}

// Close packs what is left and writes the end of the member. It does not close
// the underlying writer.
func (z *Writer) Close() error {
	if z.err != nil {
		if errors.Is(z.err, errClosed) {
			return nil
		}
		return z.err
	}
	z.err = z.begin(true)
	for z.err == nil && len(z.pending) > 0 {
		z.err = z.finish()
	}
	if z.err != nil {
		return z.err
	}
	z.bits.align()
	z.bits.out = binary.LittleEndian.AppendUint32(z.bits.out, z.crc)
	z.bits.out = binary.LittleEndian.AppendUint32(z.bits.out, z.size)
	if _, z.err = z.w.Write(z.bits.out); z.err != nil {
		return z.err
	}
	z.err = errClosed
	return nil
}

// bitWriter writes numbers of bits, the least significant first (RFC 1951,
// 3.1.1).
type bitWriter struct {
	out []byte
	acc uint64
	n   uint // bits in acc
}

// put writes the low n bits of v, at most 32.
func (w *bitWriter) put(v uint32, n uint8) {
	w.acc |= uint64(v) << w.n
	for w.n += uint(n); w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// align fills the last byte with zeros.
func (w *bitWriter) align() {
	if w.n > 0 {
		w.put(0, uint8(8-w.n))
	}
}
