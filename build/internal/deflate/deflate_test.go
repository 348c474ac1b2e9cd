// SPDX-License-Identifier: Apache-2.0

package deflate_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/peelboot/peel/build/internal/deflate"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/internal/testkit"
)

// packed returns what data becomes when written in pieces of the given size.
func packed(tb testing.TB, data []byte, piece int) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := deflate.NewWriter(&out)
	for len(data) > 0 {
		n, err := z.Write(data[:min(piece, len(data))])
		if err != nil {
			tb.Fatal(err)
		}
		data = data[n:]
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// check has three decoders unpack b.
func check(t *testing.T, b, want []byte) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the standard library unpacks 0x%x bytes, %v, want the 0x%x packed", len(got), err, len(want))
	}
	dst := make([]byte, len(want))
	res, err := inflate.Decompress(inflate.Gzip, dst, b)
	if err != nil || res.Written != len(want) || res.Read != len(b) || !bytes.Equal(dst, want) {
		t.Fatalf("inflate = %+v, %v, want 0x%x bytes of 0x%x", res, err, len(want), len(b))
	}
	cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "gzip"), "-dc")
	cmd.Stdin = bytes.NewReader(b)
	if got, err := cmd.Output(); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("gzip -d gives 0x%x bytes, %v, want the 0x%x packed", len(got), err, len(want))
	}
}

func random(n int, values uint8) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(uint(values)))
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	page := random(30000, 255)
	for _, c := range []struct {
		name string
		data []byte
		most int // packed
	}{
		{"empty", nil, 20},
		{"one byte", []byte{7}, 21},
		{"three bytes", []byte("aaa"), 23},
		{"one value", bytes.Repeat([]byte{0}, 3<<20), 3300},
		{"random", random(200_000, 255), 200_000 + 60},
		{"random over chunks", random(2<<20+1, 255), 2<<20 + 300},
		{"two values", random(300_000, 2), 43_000},
		{"no matches", random(100, 255), 130},
		{"exactly two chunks", random(1<<20, 3), 1 << 20},
		{"repeat farther than a window's half", bytes.Repeat(page, 4), 31_500},
		{"longest distance", append(append(bytes.Clone(page), make([]byte, 32767-30000)...), page...), 31_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := packed(t, c.data, 1<<30)
			check(t, b, c.data)
			if len(b) > c.most {
				t.Errorf("packed to %d bytes, want at most %d", len(b), c.most)
			}
		})
	}
}

// kernel returns the payload of a real zboot image, and unpacked.
func kernel(tb testing.TB) (stream, data []byte) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "image", "zboot", "testdata", "vmlinuz-arm64-6.12-gzip.efi"))
	if err != nil {
		tb.Fatal(err)
	}
	z, err := zboot.Parse(b)
	if err != nil {
		tb.Fatal(err)
	}
	dst := make([]byte, 8<<20)
	r, err := inflate.Decompress(inflate.Gzip, dst, z.Payload())
	if err != nil {
		tb.Fatal(err)
	}
	return z.Payload(), dst[:r.Written]
}

// TestKernel packs a real kernel: there must be room for signatures in what
// gzip -9 takes, by which the kernel's own build packed it.
func TestKernel(t *testing.T) {
	stream, data := kernel(t)
	b := packed(t, data, 1<<30)
	check(t, b, data)
	cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "gzip"), "-n", "-9", "-c")
	cmd.Stdin = bytes.NewReader(data)
	nine, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("0x%x bytes, gzip -9 0x%x, in the image 0x%x, ours 0x%x", len(data), len(nine), len(stream), len(b))
	if most := min(len(nine), len(stream)) * 97 / 100; len(b) > most {
		t.Errorf("packed to %d bytes, want at most %d, 0.97 of gzip -9", len(b), most)
	}
}

// TestReproducible: nothing but the input shapes the output.
func TestReproducible(t *testing.T) {
	data := append(random(700_000, 5), random(700_000, 60)...)
	want := packed(t, data, 1<<30)
	for _, procs := range []int{1, 3} {
		old := runtime.GOMAXPROCS(procs)
		got := packed(t, data, 99_999)
		runtime.GOMAXPROCS(old)
		if !bytes.Equal(got, want) {
			t.Errorf("with %d processors and small writes the output differs", procs)
		}
	}
}

type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestErrors(t *testing.T) {
	data := random(4<<20, 255)
	for _, left := range []int{0, 1<<20 + 100, 4<<20 - 1<<16} {
		z := deflate.NewWriter(&failing{left})
		_, err := z.Write(data)
		if err == nil {
			err = z.Close()
		}
		if !errors.Is(err, errFull) {
			t.Errorf("writing to a file with 0x%x bytes left = %v, want %v", left, err, errFull)
		}
		if err := z.Close(); !errors.Is(err, errFull) {
			t.Errorf("Close after that = %v, want %v", err, errFull)
		}
	}
	z := deflate.NewWriter(io.Discard)
	for range 2 {
		if err := z.Close(); err != nil {
			t.Errorf("Close = %v, want nil", err)
		}
	}
	if _, err := z.Write(data); err == nil {
		t.Error("Write to a closed writer = nil, want an error")
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte("abcabcabcabcabc"), uint8(0))
	f.Add(random(3000, 255), uint8(3))
	f.Add(bytes.Repeat([]byte{0, 1}, 400), uint8(200))
	f.Add([]byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, times uint8) {
		want := bytes.Repeat(data, 1+int(times)%64)
		if len(want) > 1<<16 {
			return
		}
		b := packed(t, want, 1<<30)
		dst := make([]byte, len(want))
		r, err := inflate.Decompress(inflate.Gzip, dst, b)
		if err != nil || r.Read != len(b) || !bytes.Equal(dst[:r.Written], want) {
			t.Fatalf("inflate = %+v, %v, want 0x%x bytes of 0x%x", r, err, len(want), len(b))
		}
		if most := len(want) + 5*(1+len(want)/65535) + 18; len(b) > most {
			t.Errorf("0x%x bytes packed to 0x%x, want at most 0x%x", len(want), len(b), most)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	_, data := kernel(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		packed(b, data, 1<<30)
	}
}
