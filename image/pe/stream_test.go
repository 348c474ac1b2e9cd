// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"io"
	"runtime"
	"testing"
)

// TestStreaming lays out and writes an image of 256 MiB: only headers may be
// allocated.
func TestStreaming(t *testing.T) {
	data := make([]byte, 64<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b := NewBuilder(amd64)
	for _, name := range []string{".linux", ".initrd"} {
		if err := b.Add(NewSection{Name: name, Data: [][]byte{data, data}, Characteristics: SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.WriteTo(io.Discard)
	runtime.ReadMemStats(&after)
	if err != nil || n != l.Size() || n < 256<<20 {
		t.Fatalf("WriteTo() = %d, %v, want %d", n, err, l.Size())
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("an image of %d bytes costs %d bytes of heap, want at most 1 MiB", n, used)
	}
}

func BenchmarkLayout(b *testing.B) {
	data := make([]byte, 32<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		nb := NewBuilder(amd64)
		if err := nb.Add(NewSection{Name: ".linux", Data: [][]byte{data}}); err != nil {
			b.Fatal(err)
		}
		l, err := nb.Layout()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	img := sample(b, amd64)
	for b.Loop() {
		if _, err := Parse(img); err != nil {
			b.Fatal(err)
		}
	}
}
