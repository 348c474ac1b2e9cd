// SPDX-License-Identifier: Apache-2.0

package firmware

// Load file 2 (UEFI, section 13.2), at the device path by which Linux finds
// its initrd (Documentation/admin-guide/efi-stub.rst).

func (f *Firmware) loadFile(c *call) Status {
	pathAt, policy, sizeAt, at := c.args[1], c.args[2], c.args[3], c.args[4]
	if policy&0xff != 0 {
		return Unsupported
	}
	if pathAt == 0 || sizeAt == 0 {
		return InvalidParameter
	}
	have := c.u64(sizeAt)
	c.put64(sizeAt, f.initrd)
	// Without a buffer the size means nothing: stubs leave it unset.
	if at == 0 || have < f.initrd {
		return BufferTooSmall
	}
	b := c.out(at, f.initrd)
	if c.bad != nil {
		return InvalidParameter
	}
	n := 0
	for _, i := range f.cfg.Initrds {
		end := (n + 3) &^ 3
		clear(b[n:end])
		n = end + copy(b[end:], i)
	}
	c.notef("%d bytes", n)
	return Success
}
