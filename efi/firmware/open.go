// SPDX-License-Identifier: Apache-2.0

package firmware

import "slices"

// Who uses a protocol (UEFI, sections 7.3.9 to 7.3.11). There are no drivers
// here to be disconnected: what one user has for itself alone stays with it
// until it closes it.

// opened is an EFI_OPEN_PROTOCOL_INFORMATION_ENTRY.
type opened struct {
	protocol          GUID
	agent, controller uint64
	attributes        uint32
	count             uint32
}

// Attributes of OpenProtocol.
const (
	openByHandle  = 1
	openGet       = 2
	openTest      = 4
	openByChild   = 8
	openByDriver  = 0x10
	openExclusive = 0x20

	maxOpens = 256 // of a handle
)

// inUse tells whether a driver or a child relies on a protocol.
func (h *handle) inUse(g GUID) bool {
	return slices.ContainsFunc(h.opens, func(o opened) bool {
		return o.protocol == g && o.attributes&(openByChild|openByDriver|openExclusive) != 0
	})
}

func (f *Firmware) openProtocol(c *call) Status {
	h, g := f.handle(c.args[0]), c.guid(c.args[1])
	agent, controller, attributes := c.args[3], c.args[4], uint32(c.args[5])
	if h == nil || c.bad != nil {
		return InvalidParameter
	}
	if c.args[2] == 0 && attributes != openTest {
		return InvalidParameter
	}
	driver := attributes & (openByDriver | openExclusive)
	switch {
	case attributes == openByChild:
		if f.handle(agent) == nil || f.handle(controller) == nil || controller == h.id {
			return InvalidParameter
		}
	case driver != 0 && attributes == driver:
		if f.handle(agent) == nil || driver&openByDriver != 0 && f.handle(controller) == nil {
			return InvalidParameter
		}
	case attributes != openByHandle && attributes != openGet && attributes != openTest:
		return InvalidParameter
	}
	if _, ok := h.find(g); ok && driver != 0 {
		for _, o := range h.opens {
			switch {
			case o.protocol != g || o.attributes&(openByDriver|openExclusive) == 0:
			case o.agent == agent && o.controller == controller && o.attributes == attributes:
				return AlreadyStarted
			default:
				return AccessDenied
			}
		}
	}
	if attributes == openTest {
		if _, ok := h.find(g); !ok {
			return Unsupported
		}
		return Success
	}
	s := f.getProtocol(c)
	if s == Success && c.bad == nil {
		return h.open(opened{g, agent, controller, attributes, 1})
	}
	return s
}

// open keeps account of a user; more than the limit are served and not told.
func (h *handle) open(n opened) Status {
	for i := range h.opens {
		o := &h.opens[i]
		if o.protocol == n.protocol && o.agent == n.agent && o.controller == n.controller && o.attributes == n.attributes {
			o.count++
			return Success
		}
	}
	if len(h.opens) < maxOpens {
		h.opens = append(h.opens, n)
	}
	return Success
}

func (f *Firmware) closeProtocol(c *call) Status {
	h, g := f.handle(c.args[0]), c.guid(c.args[1])
	if h == nil || c.bad != nil || f.handle(c.args[2]) == nil || c.args[3] != 0 && f.handle(c.args[3]) == nil {
		return InvalidParameter
	}
	if _, ok := h.find(g); !ok {
		return NotFound
	}
	n := len(h.opens)
	h.opens = slices.DeleteFunc(h.opens, func(o opened) bool {
		return o.protocol == g && o.agent == c.args[2] && o.controller == c.args[3]
	})
	if len(h.opens) == n && n < maxOpens {
		return NotFound
	}
	return Success
}

// openInformation gives the list in pool memory of the guest's.
func (f *Firmware) openInformation(c *call) Status {
	h, g, at, countAt := f.handle(c.args[0]), c.guid(c.args[1]), c.args[2], c.args[3]
	if h == nil || c.out(at, 8) == nil || c.out(countAt, 8) == nil {
		return InvalidParameter
	}
	if _, ok := h.find(g); !ok {
		return NotFound
	}
	var b []byte
	n := uint64(0)
	for _, o := range h.opens {
		if o.protocol != g {
			continue
		}
		b = le.AppendUint64(b, o.agent)
		b = le.AppendUint64(b, o.controller)
		b = le.AppendUint32(b, o.attributes)
		b = le.AppendUint32(b, o.count)
		n++
	}
	buf, ok := f.newPool(b)
	if !ok {
		return OutOfResources
	}
	c.put64(at, buf)
	c.put64(countAt, n)
	c.notef("%d users", n)
	return Success
}
