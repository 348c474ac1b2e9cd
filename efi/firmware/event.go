// SPDX-License-Identifier: Apache-2.0

package firmware

// Event, timer and task priority services (UEFI, section 7.1). Time stands
// still for the guest, so a timer that was set has run out when somebody
// waits for it; nothing ever calls a notification function.

const eventBase = 0xeff2_0000_0000_0000

// newEvent makes an event that nothing has signalled.
func (f *Firmware) newEvent() uint64 {
	f.nextHandle++
	id := eventBase | f.nextHandle<<4
	f.events[id] = false
	return id
}

func (f *Firmware) addEvent(c *call, at uint64) Status {
	if c.out(at, 8) == nil {
		return InvalidParameter
	}
	if len(f.events) >= maxEvents {
		return OutOfResources
	}
	c.put64(at, f.newEvent())
	return Success
}

func (f *Firmware) createEvent(c *call) Status   { return f.addEvent(c, c.args[4]) }
func (f *Firmware) createEventEx(c *call) Status { return f.addEvent(c, c.args[5]) }

func (f *Firmware) knownEvent(c *call) Status {
	if _, ok := f.events[c.args[0]]; !ok {
		return InvalidParameter
	}
	f.events[c.args[0]] = true
	return Success
}

func (f *Firmware) setTimer(c *call) Status {
	if _, ok := f.events[c.args[0]]; !ok || c.args[1] > 2 {
		return InvalidParameter
	}
	f.events[c.args[0]] = c.args[1] != 0 // TimerCancel
	return Success
}

func (f *Firmware) closeEvent(c *call) Status {
	if _, ok := f.events[c.args[0]]; !ok {
		return InvalidParameter
	}
	delete(f.events, c.args[0])
	return Success
}

func (f *Firmware) checkEvent(c *call) Status {
	set, ok := f.events[c.args[0]]
	switch {
	case !ok:
		return InvalidParameter
	case !set:
		return NotReady
	}
	f.events[c.args[0]] = false
	return Success
}

func (f *Firmware) waitForEvent(c *call) Status {
	n, at := c.args[0], c.args[1]
	if n == 0 || n > maxEvents {
		return InvalidParameter
	}
	for i := range n {
		id := c.u64(at + i*8)
		set, ok := f.events[id]
		if !ok {
			return InvalidParameter
		}
		if set {
			f.events[id] = false
			c.put64(c.args[2], i)
			return Success
		}
	}
	// Only a key could end this, and there is no keyboard.
	return Unsupported
}
