// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// Errors of this package.
var (
	// ErrTooLarge means that the source holds more bytes than the limit.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrClosed means that a Buffer was used after Seal or Close.
	ErrClosed = errors.New("buffer already sealed or closed")
)

// copyChunk is the size of the buffer between source and memory: small enough
// to stay in the processor's cache between the read and the write.
const copyChunk = 256 << 10

// Memory is a run of bytes that cannot change. Its methods may be called by
// several goroutines at once, except Close.
type Memory struct {
	name string
	data []byte
	file *os.File
	unit []byte // the whole mapping that data is part of, nil on the heap
}

// Bytes returns the contents. The slice is a view: it must not be written to
// (on Linux that is a fault) and must not be used after Close.
func (m *Memory) Bytes() []byte { return m.data }

// Name returns the name of the source, for messages.
func (m *Memory) Name() string { return m.name }

// Size returns the number of bytes.
func (m *Memory) Size() int64 { return int64(len(m.data)) }

// File returns the sealed memfd, or nil where the system has none. It belongs
// to m: the caller must not close it. Its file offset is 0 at first.
func (m *Memory) File() *os.File { return m.file }

// Open reads the file at path, or standard input when path is "-", into a
// Memory. It fails with ErrTooLarge when there are more than limit bytes.
func Open(path string, limit int64) (*Memory, error) {
	if path == "-" {
		return OpenFile(os.Stdin, "stdin", limit)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return OpenFile(f, path, limit)
}

// OpenFile reads f from its current offset to its end into a Memory. It does
// not close f. It fails with ErrTooLarge when there are more than limit bytes.
func OpenFile(f *os.File, name string, limit int64) (*Memory, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if st.IsDir() {
		return nil, fmt.Errorf("%s: is a directory", name)
	}
	if st.Mode().IsRegular() {
		// An early answer for what is plainly too large; the copy below
		// counts what is really read.
		off, err := f.Seek(0, io.SeekCurrent)
		if err == nil && st.Size()-off > limit {
			return nil, tooLarge(name, st.Size()-off, limit)
		}
	}
	return ReadAll(f, name, limit)
}

// ReadAll reads r to its end into a Memory. It fails with ErrTooLarge when
// there are more than limit bytes; no more than limit+1 bytes are read.
func ReadAll(r io.Reader, name string, limit int64) (*Memory, error) {
	if limit < 0 {
		return nil, fmt.Errorf("%s: negative limit %d", name, limit)
	}
	w, err := newWriter(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	over := limit
	if over < math.MaxInt64 {
		over++
	}
	n, err := io.CopyBuffer(onlyWriter{w}, onlyReader{io.LimitReader(r, over)}, make([]byte, copyChunk))
	if err != nil {
		w.abort()
		return nil, fmt.Errorf("read %s at byte 0x%x: %w", name, n, err)
	}
	if n > limit {
		w.abort()
		return nil, fmt.Errorf("%s: %w of %d bytes", name, ErrTooLarge, limit)
	}
	return w.seal()
}

// Concat copies the parts into one Memory, each beginning at a multiple of
// align bytes; the gaps are zeros, and nothing follows the last part. align 0
// and 1 mean no padding; other values must be powers of two.
func Concat(name string, align int, parts ...[]byte) (*Memory, error) {
	if align < 0 || align&(align-1) != 0 {
		return nil, fmt.Errorf("%s: alignment %d is not a power of two", name, align)
	}
	mask := uint64(max(align, 1)) - 1
	var total uint64
	for _, p := range parts {
		total = (total+mask)&^mask + uint64(len(p))
		if total > math.MaxInt64/2 {
			return nil, fmt.Errorf("%s: %w of %d bytes", name, ErrTooLarge, int64(math.MaxInt64/2))
		}
	}
	w, err := newWriter(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var at uint64
	for _, p := range parts {
		gap := (at+mask)&^mask - at
		for gap > 0 {
			var zeros [4096]byte
			n := min(gap, uint64(len(zeros)))
			if _, err := w.Write(zeros[:n]); err != nil {
				w.abort()
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			gap -= n
			at += n
		}
		if _, err := w.Write(p); err != nil {
			w.abort()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		at += uint64(len(p))
	}
	return w.seal()
}

func tooLarge(name string, size, limit int64) error {
	return fmt.Errorf("%s: %d bytes: %w of %d bytes", name, size, ErrTooLarge, limit)
}

// onlyReader and onlyWriter hide every other method, so that io.CopyBuffer
// uses the buffer it is given and reads its source exactly once.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
