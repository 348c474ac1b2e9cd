// SPDX-License-Identifier: Apache-2.0

package firmware

import "fmt"

// callout is a call of a function of the guest's own, which a service makes
// before it returns: notification functions of events, and the LoadFile2
// protocol that an image has installed to offer what is inside of it.
type callout struct {
	service string
	saved   any
	top     uint64 // of the function's stack
	// back goes on after the function has returned s: it calls the next
	// function by enter and tells that the service is not done, or tells what
	// the service returns.
	back func(o *callout, s Status) (result Status, done bool, err error)
}

const maxCallouts = 4 // of each other

// callOut begins a callout; nil means that there is no room for one, or that
// the platform failed, which c then says.
func (f *Firmware) callOut(c *call, service string, back func(*callout, Status) (Status, bool, error)) *callout {
	if len(f.callouts) >= maxCallouts {
		c.notef("calls of the image's own functions are nested %d deep", maxCallouts)
		return nil
	}
	saved, err := f.p.CPU().Save()
	if err != nil {
		c.bad = fmt.Errorf("%w: %w", ErrPlatform, err)
		return nil
	}
	return &callout{service: service, saved: saved, top: (f.p.CPU().SP() - 256) &^ 15, back: back}
}

// begin makes the callout the one that the guest is in.
func (f *Firmware) begin(c *call, o *callout) {
	f.callouts = append(f.callouts, o)
	c.later = true
}

// enter calls a function of the guest on its stack.
func (f *Firmware) enter(o *callout, function uint64, args ...uint64) error {
	return f.p.CPU().Enter(function, o.top, f.slots+slotSize, args...)
}

// calloutReturned goes on with the service.
func (f *Firmware) calloutReturned(cpu CPU) error {
	if len(f.callouts) == 0 {
		return fmt.Errorf("return of a function that was not called: %w", ErrCall)
	}
	o := f.callouts[len(f.callouts)-1]
	s, done, err := o.back(o, Status(cpu.Result()))
	if err != nil || !done {
		return err
	}
	f.callouts = f.callouts[:len(f.callouts)-1]
	if err := cpu.Restore(o.saved); err != nil {
		return fmt.Errorf("%w: %w", ErrPlatform, err)
	}
	cpu.Return(uint64(s))
	return f.fatal
}
