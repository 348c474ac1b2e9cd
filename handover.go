// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"fmt"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/sealed"
)

// AppendRAMDisk adds an archive behind the initial RAM disk that Prepare laid
// out: what peel itself has to tell the next kernel, such as an event log. No
// policy is asked; it must not be used for what comes from elsewhere.
func (b *Boot) AppendRAMDisk(p image.Part) error {
	var parts [][]byte
	for _, old := range b.Payload.RAMDisk() {
		parts = append(parts, old.Data)
	}
	m, err := sealed.Concat("initrd", ramdiskAlign, append(parts, p.Data)...)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if b.ramdisk != nil {
		b.ramdisk.Close()
	}
	b.ramdisk = m
	b.Payload.Initrds = append(b.Payload.Initrds, p)
	return nil
}
