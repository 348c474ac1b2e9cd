// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"fmt"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/kexec"
)

// Load loads the kernel through kexec_file_load. It fails with ErrArch before
// it asks the running kernel when the kernel is for another machine, and with
// a *kexec.Error that explains what the running kernel said.
func (b *Boot) Load(c *kexec.Client, f kexec.FileFlags) error {
	if a := b.Payload.Arch; a != image.HostArch() {
		return fmt.Errorf("%s: %w: %s, this machine is %s", b.Payload.Kernel.Origin, ErrArch, a, image.HostArch())
	}
	return c.LoadFile(b.Kernel(), b.RAMDisk(), b.Cmdline, f)
}
