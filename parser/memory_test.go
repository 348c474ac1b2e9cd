// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/peelboot/peel/bpf"
)

// statusKiB reads a field of /proc/self/status.
func statusKiB(t *testing.T, name string) uint64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			var n uint64
			if _, err := fmt.Sscan(v, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc/self/status", name)
	return 0
}

// peak runs f and returns by how many bytes the memory of the process rose
// meanwhile, at most.
func peak(t *testing.T, f func()) uint64 {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // VmHWM = VmRSS
		t.Fatal(err)
	}
	before := statusKiB(t, "VmRSS")
	f()
	after := statusKiB(t, "VmHWM")
	return (max(after, before) - before) << 10
}

// TestMemory: what a program makes real in memory stays within twice the image
// and 64 MiB, though it may ask for more: parsers of the series reserve a
// record for the largest image there is.
func TestMemory(t *testing.T) {
	const mib = 1 << 20
	img := makeImage(48 * mib)
	for i := 64; i < len(img); i += 64 {
		img[i] = byte(i >> 6) // no page is the zero page
	}
	uki := makeUKI(t, peOptions, section(".linux", img[:16*mib]), section(".initrd", img[16*mib:]))
	small := []byte("made up format")
	const writes = `for (unsigned long i = 0; i < MAX_RECORD_SIZE; i += 512) ((volatile char *)rec)[i] = 1;`
	for _, c := range []struct {
		name    string
		object  []byte
		img     []byte
		o       Options
		want    error // nil: the image is taken apart
		bounded bool  // by Limits.Touched
	}{
		{name: "by references", img: uki},
		{name: "by copies", img: uki, o: Options{seriesOnly: true}},
		{name: "writes its whole record", object: compile(t, program(writes)), img: small, want: ErrProgram, bounded: true},
		{name: "reads its whole record", object: compile(t, program(`for (unsigned long i = 0; i < MAX_RECORD_SIZE; i += 512) dummy_bss += ((volatile char *)rec)[i];`)), img: small, want: ErrProgram, bounded: true},
		{name: "writes its last byte", object: compile(t, program(`((volatile char *)rec)[MAX_RECORD_SIZE - 1] = 1;`)), img: small, want: ErrProgram, bounded: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			limit := uint64(2*len(c.img) + 64*mib)
			c.o.Programs, c.o.NoStock = c.object, c.object != nil
			var err error
			rise := peak(t, func() { _, err = Run(context.Background(), c.img, c.o) })
			if !errors.Is(err, c.want) {
				t.Errorf("Run: %v, want %v", err, c.want)
			}
			if c.bounded && !errors.Is(err, bpf.ErrMemory) {
				t.Errorf("Run: %v, want %v", err, bpf.ErrMemory)
			}
			// The kernel accounts pages by processor in batches, and the test has its own.
			if rise > limit+mib {
				t.Errorf("%d MiB became real, want at most %d", rise>>20, limit>>20)
			}
			t.Logf("%d MiB of %d", rise>>20, limit>>20)
		})
	}
	if !bytes.Equal(small, []byte("made up format")) {
		t.Error("the image was changed")
	}
}
