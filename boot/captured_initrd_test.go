// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"testing"

	"github.com/peelboot/peel/efi/capture"
)

// What is added lies behind the stub's RAM disk, from a multiple of four bytes
// on, and the kernel is told of both.
func TestCapturedInitrdTail(t *testing.T) {
	tail := []byte("070701 an archive")
	for _, tt := range []struct {
		name   string
		change func(*capture.State)
		want   []byte // before the tail
	}{
		{"aligned", func(s *capture.State) {}, make([]byte, 0x1800)},
		{"not aligned", func(s *capture.State) {
			le.PutUint32(s.Runs[2].Data[bpRamdiskSize:], 5)
			copy(s.Runs[3].Data, "disk!")
		}, []byte("disk!\x00\x00\x00")},
		{"none", func(s *capture.State) { le.PutUint32(s.Runs[2].Data[bpRamdiskSize:], 0) }, nil},
	} {
		s, h := capturedState(), capturedHost()
		tt.change(s)
		p, err := Captured(s, h, Options{InitrdTail: tail})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r := p.HandOver.Initrd
		if r == nil || *r != p.HandOver.BootParams.Ramdisk {
			t.Fatalf("%s: initrd %v, boot_params say %v", tt.name, r, p.HandOver.BootParams.Ramdisk)
		}
		if got, want := p.read(r.Start, r.Size()), append(bytes.Clone(tt.want), tail...); !bytes.Equal(got, want) {
			t.Errorf("%s: initrd of %d bytes, want %d", tt.name, len(got), len(want))
		}
		if err := p.Validate(h); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
