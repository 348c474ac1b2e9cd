// SPDX-License-Identifier: Apache-2.0

package firmware

import "slices"

// RegisterProtocolNotify (UEFI, section 7.3.5): an event is signalled when the
// guest installs a protocol.

// registration is what somebody waits for.
type registration struct {
	key      uint64
	protocol GUID
	event    *event
	// fresh are handles that got the protocol and were not told yet.
	fresh []uint64
}

const registrationBase = 0xeff3_0000_0000_0000

func (f *Firmware) registerNotify(c *call) Status {
	g, e, at := c.guid(c.args[0]), f.event(c.args[1]), c.args[2]
	if c.out(at, 8); c.bad != nil || e == nil {
		return InvalidParameter
	}
	if len(f.registrations) >= maxEvents {
		return OutOfResources
	}
	f.nextHandle++
	r := &registration{key: registrationBase | f.nextHandle<<4, protocol: g, event: e}
	f.registrations = append(f.registrations, r)
	c.put64(at, r.key)
	c.notef("%#x", r.key)
	return Success
}

// installed tells those who wait for a protocol that a handle got it, and
// returns the events whose functions are due.
func (f *Firmware) installed(h *handle, g GUID) []*event {
	var due []*event
	for _, r := range f.registrations {
		if r.protocol != g {
			continue
		}
		if len(r.fresh) < maxHandles && !slices.Contains(r.fresh, h.id) {
			r.fresh = append(r.fresh, h.id)
		}
		for _, e := range f.signal(GUID{}, r.event) {
			if !slices.Contains(due, e) {
				due = append(due, e)
			}
		}
	}
	return due
}

// nextFresh returns the next handle for the holder of a registration; those
// that lost the protocol meanwhile are passed over.
func (f *Firmware) nextFresh(key uint64) (*handle, GUID, Status) {
	for _, r := range f.registrations {
		if r.key != key {
			continue
		}
		for len(r.fresh) > 0 {
			h := f.handle(r.fresh[0])
			r.fresh = r.fresh[1:]
			if h == nil {
				continue
			}
			if _, ok := h.find(r.protocol); ok {
				return h, r.protocol, Success
			}
		}
		return nil, GUID{}, NotFound
	}
	return nil, GUID{}, InvalidParameter
}
