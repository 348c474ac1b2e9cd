// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"fmt"

	"github.com/peelboot/peel/image"
)

// AppendRAMDisk adds an archive behind the initial RAM disk that Prepare laid
// out: what peel itself has to tell the next kernel, such as an event log. No
// policy is asked; it must not be used for what comes from elsewhere.
func (b *Boot) AppendRAMDisk(p image.Part) error {
	if b.ramdisk != nil {
		// Made anew when it is asked for again.
		if err := b.ramdisk.Close(); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		b.ramdisk = nil
	}
	b.Payload.Initrds = append(b.Payload.Initrds, p)
	return nil
}
