// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sealed

import (
	"bytes"
	"fmt"
)

// writer collects on the heap what seal turns into a Memory.
type writer struct {
	buf  bytes.Buffer
	name string
}

func newWriter(name string) (*writer, error) { return &writer{name: name}, nil }

func (w *writer) Write(p []byte) (int, error) { return w.buf.Write(p) }

func (w *writer) abort() { w.buf = bytes.Buffer{} }

func (w *writer) seal() (*Memory, error) {
	return &Memory{name: w.name, data: w.buf.Bytes()}, nil
}

// Close gives the memory back. No slice of Bytes may be used afterwards.
func (m *Memory) Close() error {
	if m != nil {
		m.data = nil
	}
	return nil
}

// Buffer is writable memory of a fixed capacity that can be sealed.
type Buffer struct {
	name string
	data []byte
}

// NewBuffer returns a Buffer of limit bytes, all zero. limit must be at
// least 1.
func NewBuffer(name string, limit int64) (*Buffer, error) {
	if limit < 1 || int64(int(limit)) != limit {
		return nil, fmt.Errorf("%s: buffer of %d bytes: size out of range", name, limit)
	}
	return &Buffer{name: name, data: make([]byte, limit)}, nil
}

// Bytes returns the writable contents; its length is the limit given to
// NewBuffer. Nil after Seal and Close.
func (b *Buffer) Bytes() []byte { return b.data }

// Expect says that about the first n bytes are going to be written. It does
// nothing here.
func (b *Buffer) Expect(int64) {}

// Seal turns the first n bytes into a Memory and ends the Buffer.
func (b *Buffer) Seal(n int64) (*Memory, error) {
	if b.data == nil {
		return nil, fmt.Errorf("%s: %w", b.name, ErrClosed)
	}
	if n < 0 || n > int64(len(b.data)) {
		size := len(b.data)
		b.Close()
		return nil, fmt.Errorf("%s: seal 0x%x bytes of a buffer of 0x%x: size out of range", b.name, n, size)
	}
	m := &Memory{name: b.name, data: b.data[:n:n]}
	b.data = nil
	return m, nil
}

// Close drops the Buffer and its contents. After Seal it does nothing.
func (b *Buffer) Close() error {
	if b != nil {
		b.data = nil
	}
	return nil
}
