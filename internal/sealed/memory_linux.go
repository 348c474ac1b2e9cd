// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/peelboot/peel/internal/unix"
)

// writer fills a memfd that seal turns into a Memory.
type writer struct {
	file *os.File
	name string
	size int64
}

func newWriter(name string) (*writer, error) {
	f, err := unix.MemfdCreate("peel:" + name)
	if err != nil {
		return nil, err
	}
	return &writer{file: f, name: name}, nil
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}

func (w *writer) abort() { w.file.Close() }

func (w *writer) seal() (*Memory, error) {
	m := &Memory{name: w.name, file: w.file, data: []byte{}}
	if int64(int(w.size)) != w.size {
		w.abort()
		return nil, fmt.Errorf("%s: %d bytes: %w of the address space", w.name, w.size, ErrTooLarge)
	}
	if err := unix.SealAll(w.file); err != nil {
		w.abort()
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	// A child that inherits the memfd as its standard input starts here.
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		w.abort()
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	if w.size > 0 {
		b, err := unix.MapRead(w.file, int(w.size))
		if err != nil {
			w.abort()
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		m.data, m.unit = b, b
	}
	return m, nil
}

// Close gives the memory back and closes the memfd. No slice of Bytes may be
// used afterwards. A second call does nothing.
func (m *Memory) Close() error {
	if m == nil || m.file == nil {
		return nil
	}
	err := unix.Unmap(m.unit)
	if cerr := m.file.Close(); err == nil {
		err = cerr
	}
	m.data, m.unit, m.file = nil, nil, nil
	return err
}

// Buffer is writable memory that can be sealed: a sparse memfd of a fixed
// capacity of which only the touched pages cost memory.
type Buffer struct {
	name string
	file *os.File
	data []byte
	// ahead is closed by the goroutine of Expect when it ends, which stop asks
	// it to do.
	ahead chan struct{}
	stop  atomic.Bool
}

// NewBuffer returns a Buffer of limit bytes, all zero. limit must be at
// least 1.
func NewBuffer(name string, limit int64) (*Buffer, error) {
	if limit < 1 || int64(int(limit)) != limit {
		return nil, fmt.Errorf("%s: buffer of %d bytes: size out of range", name, limit)
	}
	f, err := unix.MemfdCreate("peel:" + name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := f.Truncate(limit); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: buffer of %d bytes: %w", name, limit, err)
	}
	b, err := unix.MapShared(f, int(limit))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: buffer of %d bytes: %w", name, limit, err)
	}
	return &Buffer{name: name, file: f, data: b}, nil
}

// Bytes returns the writable contents; its length is the limit given to
// NewBuffer. Nil after Seal and Close.
func (b *Buffer) Bytes() []byte { return b.data }

// populateStep is how many bytes are made ready at a time: little enough that
// Seal and Close need not wait long.
const populateStep = 1 << 20

// Expect says that about the first n bytes are going to be written. Their
// memory is made ready meanwhile, on another processor if there is one: page
// by page, at the first write, that takes a good part of the time that a fast
// decoder needs. n may be wrong, but costs memory until Seal. A second call
// does nothing.
func (b *Buffer) Expect(n int64) {
	if b.file == nil || b.ahead != nil || n <= 0 || runtime.GOMAXPROCS(0) < 2 {
		return
	}
	data := b.data[:min(n, int64(len(b.data)))]
	ahead := make(chan struct{})
	b.ahead = ahead
	go func() {
		defer close(ahead)
		for len(data) > 0 && !b.stop.Load() {
			k := min(len(data), populateStep)
			// No error matters: the writes will tell.
			if unix.Populate(data[:k]) != nil {
				return
			}
			data = data[k:]
		}
	}()
}

// settle waits until nothing touches the mapping any more.
func (b *Buffer) settle() {
	if b.ahead != nil {
		b.stop.Store(true)
		<-b.ahead
	}
}

// Seal turns the first n bytes into a Memory and ends the Buffer. Slices of
// Bytes taken before stay readable within the first n bytes until the Memory
// is closed; writing to them is a fault. On an error the Buffer is closed.
func (b *Buffer) Seal(n int64) (*Memory, error) {
	if b.file == nil {
		return nil, fmt.Errorf("%s: %w", b.name, ErrClosed)
	}
	if n < 0 || n > int64(len(b.data)) {
		size := len(b.data)
		b.Close()
		return nil, fmt.Errorf("%s: seal 0x%x bytes of a buffer of 0x%x: size out of range", b.name, n, size)
	}
	b.settle()
	// The writable mapping has to go before the kernel accepts the seal.
	err := unix.Remap(b.file, b.data)
	if err == nil {
		err = b.file.Truncate(n)
	}
	if err == nil {
		err = unix.SealAll(b.file)
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("%s: %w", b.name, err)
	}
	m := &Memory{name: b.name, file: b.file, data: b.data[:n:n], unit: b.data}
	b.file, b.data = nil, nil
	return m, nil
}

// Close drops the Buffer and its contents. After Seal it does nothing.
func (b *Buffer) Close() error {
	if b == nil || b.file == nil {
		return nil
	}
	b.settle()
	err := unix.Unmap(b.data)
	if cerr := b.file.Close(); err == nil {
		err = cerr
	}
	b.file, b.data = nil, nil
	return err
}
