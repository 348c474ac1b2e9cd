// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"cmp"
	"slices"
)

// Event, timer and task priority services (UEFI, section 7.1). Time stands
// still for the guest, so a timer that was set has run out when somebody
// waits for it; its notification function is called only when it is signalled
// or waited for. All code runs at TPL_APPLICATION, so that notification
// functions run before the service returns that signals their event.

const eventBase = 0xeff2_0000_0000_0000

// Types of events.
const (
	eventTimer       = 0x80000000
	eventRuntime     = 0x40000000
	eventNotifyWait  = 0x100
	eventNotify      = 0x200
	eventExit        = 0x201      // EVT_SIGNAL_EXIT_BOOT_SERVICES
	eventAddressMap  = 0x60000202 // EVT_SIGNAL_VIRTUAL_ADDRESS_CHANGE
	tplApplication   = 4
	tplHighest       = 31
	timerCancel      = 0
	timerTypes       = 3
	eventKnownTypes  = eventTimer | eventRuntime | eventNotifyWait | eventNotify
	eventNotifyKinds = eventNotifyWait | eventNotify
)

type event struct {
	id                uint64
	kind              uint32
	tpl               uint64
	function, context uint64
	group             GUID // zero for none
	set               bool
}

// newEvent makes an event that nothing has signalled, without a notification
// function.
func (f *Firmware) newEvent() *event {
	f.nextHandle++
	e := &event{id: eventBase | f.nextHandle<<4}
	f.events = append(f.events, e)
	return e
}

func (f *Firmware) event(id uint64) *event {
	for _, e := range f.events {
		if e.id == id {
			return e
		}
	}
	return nil
}

func (f *Firmware) addEvent(c *call, group GUID, at uint64) Status {
	kind, tpl, function, context := uint32(c.args[0]), c.args[1], c.args[2], c.args[3]
	if c.out(at, 8) == nil || c.bad != nil {
		return InvalidParameter
	}
	switch kind {
	case eventExit:
		group, kind = guidExitBootServices(), eventNotify
	case eventAddressMap:
		// Nothing gives the guest another address map, so this never comes.
		group, kind = guidAddressChange(), eventNotify
	}
	notify := kind & eventNotifyKinds
	switch {
	case kind&^eventKnownTypes != 0, notify == eventNotifyKinds:
		return InvalidParameter
	case notify != 0 && (function == 0 || tpl <= tplApplication || tpl >= tplHighest):
		return InvalidParameter
	case len(f.events) >= maxEvents:
		return OutOfResources
	}
	e := f.newEvent()
	e.kind, e.group = kind, group
	if notify != 0 {
		e.tpl, e.function, e.context = tpl, function, context
	}
	c.put64(at, e.id)
	c.notef("%#x", e.id)
	return Success
}

func (f *Firmware) createEvent(c *call) Status { return f.addEvent(c, GUID{}, c.args[4]) }

func (f *Firmware) createEventEx(c *call) Status {
	var group GUID
	if c.args[4] != 0 {
		group = c.guid(c.args[4])
		// The types that stand for a group have no other.
		if k := uint32(c.args[0]); k == eventExit || k == eventAddressMap {
			return InvalidParameter
		}
	}
	return f.addEvent(c, group, c.args[5])
}

// signal marks an event, and all others of its group, and returns those whose
// notification functions are due, highest priority first.
func (f *Firmware) signal(group GUID, one *event) []*event {
	var due []*event
	for _, e := range f.events {
		if e != one && (group == GUID{} || e.group != group) {
			continue
		}
		if e.set {
			continue
		}
		if e.kind&eventNotify != 0 {
			due = append(due, e)
			continue // signalled until its function runs, which is at once
		}
		e.set = true
	}
	slices.SortStableFunc(due, func(a, b *event) int { return cmp.Compare(b.tpl, a.tpl) })
	return due
}

// notify calls notification functions, one after the other, and ends the
// service with what then says; it may also have more of them called, and is
// then asked again.
func (f *Firmware) notify(c *call, service string, due []*event, then func() (Status, []*event)) Status {
	next := func(o *callout) bool {
		for len(due) > 0 {
			e := due[0]
			due = due[1:]
			// An earlier function may have closed it.
			if f.event(e.id) == e && f.enter(o, e.function, e.id, e.context) == nil {
				f.tracef(service, Success, "calls %#x of event %#x", e.function, e.id)
				return true
			}
		}
		return false
	}
	back := func(o *callout) (s Status, done bool) {
		for {
			if next(o) {
				return 0, false
			}
			if s, due = then(); len(due) == 0 {
				return s, true
			}
		}
	}
	var s Status
	for len(due) == 0 {
		if s, due = then(); len(due) == 0 {
			return s
		}
	}
	o := f.callOut(c, service, func(o *callout, _ Status) (Status, bool, error) {
		s, done := back(o)
		if done {
			f.tracef(service, s, "")
		}
		return s, done, nil
	})
	if o == nil {
		if c.bad != nil {
			return DeviceError
		}
		return OutOfResources
	}
	s, done := back(o)
	if done {
		return s
	}
	f.begin(c, o)
	return Success
}

// finally is for services whose answer is known before the functions run.
func finally(s Status) func() (Status, []*event) {
	return func() (Status, []*event) { return s, nil }
}

func (f *Firmware) signalEvent(c *call) Status {
	e := f.event(c.args[0])
	if e == nil {
		return InvalidParameter
	}
	return f.notify(c, "SignalEvent", f.signal(e.group, e), finally(Success))
}

func (f *Firmware) setTimer(c *call) Status {
	e := f.event(c.args[0])
	if e == nil || c.args[1] >= timerTypes || e.kind&eventTimer == 0 {
		return InvalidParameter
	}
	e.set = c.args[1] != timerCancel
	return Success
}

func (f *Firmware) closeEvent(c *call) Status {
	i := slices.IndexFunc(f.events, func(e *event) bool { return e.id == c.args[0] })
	if i < 0 {
		return InvalidParameter
	}
	e := f.events[i]
	f.events = slices.Delete(f.events, i, i+1)
	f.registrations = slices.DeleteFunc(f.registrations, func(r *registration) bool { return r.event == e })
	return Success
}

func (f *Firmware) checkEvent(c *call) Status {
	e := f.event(c.args[0])
	if e == nil || e.kind&eventNotify != 0 {
		return InvalidParameter
	}
	return f.notify(c, "CheckEvent", waiting(e), func() (Status, []*event) {
		if !e.set {
			return NotReady, nil
		}
		e.set = false
		return Success, nil
	})
}

// waiting returns those events of a list whose functions are called when
// somebody waits for them.
func waiting(list ...*event) []*event {
	var due []*event
	for _, e := range list {
		if !e.set && e.kind&eventNotifyWait != 0 {
			due = append(due, e)
		}
	}
	return due
}

func (f *Firmware) waitForEvent(c *call) Status {
	n, at, indexAt := c.args[0], c.args[1], c.args[2]
	if n == 0 || n > maxEvents {
		return InvalidParameter
	}
	var list []*event
	for i := range n {
		e := f.event(c.u64(at + i*8))
		if e == nil || e.kind&eventNotify != 0 {
			c.put64(indexAt, i)
			return InvalidParameter
		}
		list = append(list, e)
	}
	if c.out(indexAt, 8) == nil {
		return InvalidParameter
	}
	return f.notify(c, "WaitForEvent", waiting(list...), func() (Status, []*event) {
		for i, e := range list {
			if e.set {
				e.set = false
				le.PutUint64(f.mem[indexAt:], uint64(i))
				return Success, nil
			}
		}
		// Only a key could end this, and there is no keyboard.
		return Unsupported, nil
	})
}

// exitBootServices (UEFI, section 7.4.6) signals the group of those who want
// to act before, and when the key is right that of those who want to know.
func (f *Firmware) exitBootServices(c *call) Status {
	if f.imageOf(c.args[0]) == nil {
		return InvalidParameter
	}
	key := c.args[1]
	var before []*event
	if !f.leaving {
		f.leaving = true
		before = f.signal(guidBeforeExitBootServices(), nil)
	}
	told := false
	return f.notify(c, "ExitBootServices", before, func() (Status, []*event) {
		if !told && key != f.mapKey {
			c.notef("key %d is wanted", f.mapKey)
			return InvalidParameter, nil
		}
		if !told {
			told = true
			if due := f.signal(guidExitBootServices(), nil); len(due) > 0 {
				return Success, due
			}
		}
		f.exited = true
		f.dropBootServices()
		return Success, nil
	})
}
