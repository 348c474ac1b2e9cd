// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"errors"
	"fmt"
)

// ErrReset means that the guest asked for a reset of the machine.
var ErrReset = errors.New("the image asked for a reset")

func isPlatform(err error) bool { return errors.Is(err, ErrPlatform) }

// Miscellaneous boot services (UEFI, section 7.5).

// ErrHalted means that the guest waits for longer than anybody would.
var ErrHalted = errors.New("the image has halted itself")

// maxStall is what a guest may wait in all, in microseconds: some seconds
// after each error message are usual, waiting for ever is how programs halt.
const maxStall = 120e6

// stall takes no time.
func (f *Firmware) stall(c *call) Status {
	if f.stalled += min(c.args[0], maxStall+1); f.stalled > maxStall {
		f.fatal = fmt.Errorf("%w: it stalled for more than %d s", ErrHalted, uint64(maxStall/1e6))
	}
	return Success
}

func (f *Firmware) nextMonotonic(c *call) Status {
	f.monotonic++
	c.put64(c.args[0], f.monotonic)
	return Success
}
