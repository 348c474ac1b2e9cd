// SPDX-License-Identifier: Apache-2.0

package boot

import "fmt"

// joinInitrd puts Options.InitrdTail behind the RAM disk that the stub has
// prepared: a copy of both in a place of its own, because what follows the RAM
// disk in captured memory may be anything. Without a RAM disk the tail is one.
func (c *captured) joinInitrd(where Want) error {
	if len(c.opts.InitrdTail) == 0 {
		return nil
	}
	var old []byte
	if r := c.plan.HandOver.Initrd; r != nil {
		if old = c.plan.read(r.Start, r.Size()); old == nil {
			return fmt.Errorf("initrd %v is not all there: %w", *r, ErrInvalid)
		}
	}
	// Archives begin at multiples of four bytes (init/initramfs.c).
	size, ok := roundUp(uint64(len(old)), 4)
	if !ok {
		return fmt.Errorf("initrd of %#x bytes: %w", len(old), ErrLimit)
	}
	both := make([]byte, size+uint64(len(c.opts.InitrdTail)))
	copy(both, old)
	copy(both[size:], c.opts.InitrdTail)
	at, err := c.place(Segment{Name: "initrd", Data: both}, where)
	if err != nil {
		return err
	}
	c.plan.HandOver.Initrd = &Range{at, at + uint64(len(both))}
	return nil
}
