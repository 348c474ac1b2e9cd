// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/binary"
	"math"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// kcore writes the head of a /proc/kcore; each program header is type,
// virtual address, physical address, size.
func kcore(headers ...[4]uint64) []byte {
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, elfHeaderSize-7)...)
	le.PutUint16(b[16:], elfTypeCore)
	le.PutUint64(b[elfPhoff:], elfHeaderSize)
	le.PutUint16(b[elfPhentsize:], elfProgramSize)
	le.PutUint16(b[elfPhnum:], uint16(len(headers)))
	for _, h := range headers {
		p := make([]byte, elfProgramSize)
		le.PutUint32(p, uint32(h[0]))
		le.PutUint64(p[16:], h[1])
		le.PutUint64(p[24:], h[2])
		le.PutUint64(p[40:], h[3])
		b = append(b, p...)
	}
	return b
}

func TestMappings(t *testing.T) {
	whole := kcore(
		[4]uint64{4, 0, 0, 0x1000},                                       // notes
		[4]uint64{1, 0xffffffff81000000, 0x1000000, 0x2000000},           // text
		[4]uint64{1, 0xffffc90000000000, math.MaxUint64, 0x200000000000}, // vmalloc
		[4]uint64{1, 0xffff888000001000, 0x1000, 0x9e000},                // RAM
	)
	read := func(b []byte) (*Machine, Fact[[]Mapping]) {
		m := ReadFS(fstest.MapFS{"proc/kcore": {Data: b}})
		return m, m.Memory.Mappings
	}
	// What follows the headers must not be read: it is all of memory.
	m, got := read(append(whole, make([]byte, limitFile)...))
	want := []Mapping{
		{Range{0x1000000, 0x2ffffff}, 0xffffffff81000000},
		{Range{0x1000, 0x9efff}, 0xffff888000001000},
	}
	if diff := cmp.Diff(want, got.Value); diff != "" || !got.Known() {
		t.Errorf("Mappings (-want +got):\n%s, %s %s", diff, got.State, got.Why)
	}
	for _, f := range m.Recording() {
		if f.Path == "proc/kcore" {
			t.Error("the recording holds /proc/kcore, which tells where the kernel lies")
		}
	}

	noCore := kcore()
	noCore[16] = 2
	for name, b := range map[string][]byte{
		"empty":                  nil,
		"truncated":              whole[:len(whole)-1],
		"no core":                noCore,
		"physical address wraps": kcore([4]uint64{1, 0, math.MaxUint64 - 1, 3}),
		"virtual address wraps":  kcore([4]uint64{1, math.MaxUint64 - 1, 0, 3}),
	} {
		if _, got := read(b); got.Known() {
			t.Errorf("%s: Mappings = %v, want them unknown", name, got.Value)
		}
	}
	if got := ReadFS(fstest.MapFS{}).Memory.Mappings; got.Known() || got.Why != whyAbsent {
		t.Errorf("Mappings without /proc/kcore = %+v, want unknown", got)
	}
}

func FuzzMappings(f *testing.F) {
	f.Add(kcore([4]uint64{4, 0, 0, 0x1000}, [4]uint64{1, 0xffffffff81000000, 0x1000000, 0x2000000}))
	f.Add(kcore([4]uint64{1, math.MaxUint64 - 1, 0, 3})[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		got := ReadFS(fstest.MapFS{"proc/kcore": {Data: b}}).Memory.Mappings
		for _, m := range got.Value {
			if m.Last < m.Start || m.Virt+(m.Size()-1) < m.Virt {
				t.Errorf("Mappings of %x: %v at %#x wraps", b, m.Range, m.Virt)
			}
		}
	})
}
