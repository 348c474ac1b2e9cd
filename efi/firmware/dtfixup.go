// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"encoding/binary"
)

// EFI_DT_FIXUP_PROTOCOL (U-Boot, include/efi_dt_fixup.h, revision 1.0): a stub
// that brings its own device tree lets firmware put into it what only firmware
// knows.

// Flags of Fixup.
const (
	fixupApply   = 1
	fixupReserve = 2
	fixupInstall = 4

	maxTree = 8 << 20 // bytes
)

// Fixup is what a device tree needs to describe this machine: the caller's,
// because firmware knows no device trees. apply and reserve are the flags of
// the same meaning.
type Fixup func(tree []byte, apply, reserve bool) ([]byte, error)

func (f *Firmware) fixTree(c *call) Status {
	at, sizeAt, flags := c.args[1], c.args[2], uint32(c.args[3])
	have := c.u64(sizeAt)
	head := c.in(at, 8)
	if c.bad != nil || flags == 0 || flags&^(fixupApply|fixupReserve|fixupInstall) != 0 ||
		binary.BigEndian.Uint32(head) != 0xd00dfeed {
		return InvalidParameter
	}
	size := uint64(binary.BigEndian.Uint32(head[4:]))
	if size > have || size > maxTree {
		return InvalidParameter
	}
	tree := bytes.Clone(c.in(at, size))
	if c.bad != nil {
		return InvalidParameter
	}
	if flags&(fixupApply|fixupReserve) != 0 && f.cfg.Fixup != nil {
		out, err := f.cfg.Fixup(tree, flags&fixupApply != 0, flags&fixupReserve != 0)
		if err != nil {
			c.notef("%v", err)
			return InvalidParameter
		}
		if uint64(len(out)) > have {
			c.put64(sizeAt, uint64(len(out)))
			return BufferTooSmall
		}
		copy(c.out(at, uint64(len(out))), out)
		c.notef("%d bytes became %d", len(tree), len(out))
	}
	if c.bad == nil && flags&fixupInstall != 0 {
		return f.setTable(guidDTBTable(), at)
	}
	return Success
}
