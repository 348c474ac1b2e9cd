// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// pack runs a compression tool as a filter over data. command is the tool and
// its arguments, separated by spaces.
func pack(t testing.TB, command string, data []byte) []byte {
	t.Helper()
	args := strings.Fields(command)
	return filter(t, testkit.Tool(t, args[0]), args[1:], bytes.NewReader(data))
}

// packZeros is pack for n zero bytes.
func packZeros(t testing.TB, command string, n int64) []byte {
	t.Helper()
	args := strings.Fields(command)
	return filter(t, testkit.Tool(t, args[0]), args[1:], io.LimitReader(zeros{}, n))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func filter(t testing.TB, tool string, args []string, in io.Reader) []byte {
	t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Stdin = in
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// commands is one way of calling each tool, the way kernel builds do it.
var commands = []struct {
	method  Method
	command string
}{
	{Gzip, "gzip -n -9"},
	{Bzip2, "bzip2 -9"},
	{LZMA, "lzma -9"},
	{XZ, "xz --check=crc32 --x86 --lzma2=dict=1MiB"},
	{XZ, "xz --check=crc64 -6"},
	{LZO, "lzop -9"},
	{LZ4, "lz4 -l -9"},
	{LZ4, "lz4 -9 --content-size -BX"},
	{Zstd, "zstd --ultra -22 --long=27"},
}

// text is data of the given size that compresses like machine code: words from
// a small vocabulary with a skewed choice, made from seed.
func text(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	vocabulary := make([][]byte, 512)
	for i := range vocabulary {
		w := make([]byte, 1+r.IntN(12))
		for j := range w {
			w[j] = byte(r.IntN(256))
		}
		vocabulary[i] = w
	}
	var b []byte
	for len(b) < size {
		i := r.IntN(len(vocabulary))
		b = append(b, vocabulary[i&r.IntN(len(vocabulary))]...)
		if r.IntN(500) == 0 {
			b = append(b, make([]byte, r.IntN(600))...)
		}
	}
	return b[:size]
}

// guarded returns a slice of n bytes inside a larger one whose other bytes have
// the value 0xA5, and a function that fails the test if any of them changed.
func guarded(t testing.TB, n int) ([]byte, func()) {
	t.Helper()
	const guard = 64 << 10
	b := bytes.Repeat([]byte{0xA5}, n+2*guard)
	return b[guard : guard+n], func() {
		t.Helper()
		whole := bytes.Repeat([]byte{0xA5}, guard)
		if !bytes.Equal(b[:guard], whole) || !bytes.Equal(b[guard+n:], whole) {
			t.Fatalf("Decompress changed bytes outside its %d bytes of output", n)
		}
	}
}

// want fails the test unless src decodes to data.
func want(t testing.TB, m Method, src, data []byte) {
	t.Helper()
	dst, check := guarded(t, len(data)+150<<10)
	r, err := Decompress(m, dst, src)
	if err != nil {
		t.Fatalf("Decompress(%v): %v", m, err)
	}
	check()
	if r != (Result{Written: len(data), Read: len(src)}) {
		t.Fatalf("Decompress(%v) = %+v, want %d written, %d read", m, r, len(data), len(src))
	}
	wantBytes(t, dst[:r.Written], data)
	tail := dst[r.Written:]
	if rest := tail[overrun:]; !bytes.Equal(rest, bytes.Repeat([]byte{0xA5}, len(rest))) {
		t.Fatalf("Decompress(%v) wrote far behind its output", m)
	}
	for i, c := range tail[:overrun] {
		if c != 0xA5 && c != 0 {
			t.Fatalf("Decompress(%v) left 0x%02x behind its output, at +%d", m, c, i)
		}
	}
}

func wantBytes(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		i := 0
		for i < len(got) && i < len(want) && got[i] == want[i] {
			i++
		}
		t.Fatalf("output of %d bytes differs from the %d wanted at 0x%x", len(got), len(want), i)
	}
}

// wantErr fails the test unless err is one of kinds.
func wantErr(t testing.TB, what string, err error, kinds ...error) {
	t.Helper()
	for _, k := range kinds {
		if errors.Is(err, k) {
			return
		}
	}
	t.Fatalf("%s = %v, want one of %v", what, err, kinds)
}

// allocated returns how many bytes f allocates on the heap, freed or not: its
// peak memory is no larger.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func sha(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
