// SPDX-License-Identifier: Apache-2.0

package firmware

import "io"

// EFI_RNG_PROTOCOL (UEFI, section 37.5).

func (f *Firmware) rngInfo(c *call) Status {
	have := c.u64(c.args[1])
	c.put64(c.args[1], 16)
	if have < 16 {
		return BufferTooSmall
	}
	g := guidRNGRaw()
	copy(c.out(c.args[2], 16), g[:])
	return Success
}

func (f *Firmware) rngGet(c *call) Status {
	if c.args[1] != 0 && c.guid(c.args[1]) != guidRNGRaw() {
		return Unsupported
	}
	if c.args[2] == 0 || c.args[2] > 1<<20 {
		return InvalidParameter
	}
	b := c.out(c.args[3], c.args[2])
	if c.bad != nil {
		return InvalidParameter
	}
	if f.cfg.Random == nil {
		return Unsupported
	}
	if _, err := io.ReadFull(f.cfg.Random, b); err != nil {
		clear(b)
		return DeviceError
	}
	return Success
}
