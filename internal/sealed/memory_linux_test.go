// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/unix"
)

// TestSealed tries to change a Memory through its file in every way there is.
func TestSealed(t *testing.T) {
	read := func() *Memory {
		m, err := ReadAll(strings.NewReader("verified"), "a", 100)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	buffer := func() *Memory {
		b, err := NewBuffer("b", 4096)
		if err != nil {
			t.Fatal(err)
		}
		copy(b.Bytes(), "verified")
		m, err := b.Seal(8)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, m := range map[string]*Memory{"ReadAll": read(), "Buffer": buffer()} {
		f := m.File()
		if ok, err := unix.Sealed(f); !ok || err != nil {
			t.Errorf("%s: Sealed() = %v, %v, want true", name, ok, err)
		}
		if b, err := io.ReadAll(io.NewSectionReader(f, 0, 100)); string(b) != "verified" || err != nil {
			t.Errorf("%s: file holds %q, %v, want %q", name, b, err, "verified")
		}
		if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: WriteAt() = %v, want %v", name, err, unix.EPERM)
		}
		for _, n := range []int64{0, 100} {
			if err := f.Truncate(n); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: Truncate(%d) = %v, want %v", name, n, err, unix.EPERM)
			}
		}
		if _, err := unix.MapShared(f, 8); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: a shared writable mapping = %v, want %v", name, err, unix.EPERM)
		}
		again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
		if err == nil {
			if _, err := again.Write([]byte("x")); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: writing through a new descriptor = %v, want %v", name, err, unix.EPERM)
			}
			again.Close()
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSparse has a buffer far larger than what is touched of it: only that
// may cost memory.
func TestSparse(t *testing.T) {
	b, err := NewBuffer("sparse", 64<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Bytes()[32<<30] = 1
	used, err := unix.AllocatedBytes(b.file)
	if err != nil {
		t.Fatal(err)
	}
	if used > 4<<20 {
		t.Errorf("one byte touched of 64 GiB costs %d bytes, want at most 4 MiB", used)
	}
}

func BenchmarkOpen(b *testing.B) {
	path := b.TempDir() + "/image"
	const size = 64 << 20
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		m, err := Open(path, size)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}

// TestExpect: memory is made ready as announced, contents are as written, and
// nothing beyond the sealed bytes stays.
func TestExpect(t *testing.T) {
	const size = 8 << 20
	b, err := NewBuffer("expected", 64<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Expect(size)
	b.Expect(32 << 30) // only the first counts
	for i := range b.Bytes()[:size/2] {
		b.Bytes()[i] = byte(i >> 12)
	}
	if b.ahead != nil {
		<-b.ahead
		used, err := unix.AllocatedBytes(b.file)
		if err != nil {
			t.Fatal(err)
		}
		if used < size || used > size+4<<20 {
			t.Errorf("0x%x bytes are ready, want 0x%x", used, size)
		}
	}
	file := b.file
	m, err := b.Seal(size / 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i, c := range m.Bytes() {
		if c != byte(i>>12) {
			t.Fatalf("byte 0x%x is 0x%02x, want 0x%02x", i, c, byte(i>>12))
		}
	}
	if used, err := unix.AllocatedBytes(file); err != nil || used > size/2+4<<20 {
		t.Errorf("0x%x bytes are kept, %v, want 0x%x", used, err, size/2)
	}
}

// TestExpectStops: Close and Seal do not wait for what was announced in vain.
func TestExpectStops(t *testing.T) {
	for range 20 {
		b, err := NewBuffer("expected", 64<<30)
		if err != nil {
			t.Fatal(err)
		}
		b.Expect(64 << 30)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b.Expect(1)
	}
}
