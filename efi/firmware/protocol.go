// SPDX-License-Identifier: Apache-2.0

package firmware

import "slices"

// Protocol handler services (UEFI, section 7.3). Interfaces are addresses
// that the guest gave or that firmware made; they are handed back and never
// followed.

type proto struct {
	guid  GUID
	iface uint64
}

type handle struct {
	id     uint64
	protos []proto
	opens  []opened
}

// handleBase makes handles addresses that are nowhere, so that none is taken
// for a pointer.
const handleBase = 0xeff1_0000_0000_0000

func (f *Firmware) newHandle(p ...proto) *handle {
	h := &handle{id: handleBase | f.nextHandle<<4, protos: p}
	f.nextHandle++
	f.handles = append(f.handles, h)
	return h
}

func (f *Firmware) handle(id uint64) *handle {
	for _, h := range f.handles {
		if h.id == id {
			return h
		}
	}
	return nil
}

func (h *handle) find(g GUID) (uint64, bool) {
	for _, p := range h.protos {
		if p.guid == g {
			return p.iface, true
		}
	}
	return 0, false
}

// install adds a protocol; id 0 is a new handle.
func (f *Firmware) install(id uint64, p proto) (*handle, Status) {
	h := f.handle(id)
	if id == 0 {
		if len(f.handles) >= maxHandles {
			return nil, OutOfResources
		}
		return f.newHandle(p), Success
	}
	if h == nil {
		return nil, InvalidParameter
	}
	if _, ok := h.find(p.guid); ok {
		return nil, InvalidParameter
	}
	if len(h.protos) >= maxProtocols {
		return nil, OutOfResources
	}
	h.protos = append(h.protos, p)
	return h, Success
}

// uninstall removes a protocol, and its handle with the last one.
func (f *Firmware) uninstall(id uint64, p proto) Status {
	h := f.handle(id)
	if h == nil {
		return InvalidParameter
	}
	i := slices.Index(h.protos, p)
	if i < 0 {
		return NotFound
	}
	if h.inUse(p.guid) {
		return AccessDenied
	}
	h.protos = slices.Delete(h.protos, i, i+1)
	h.opens = slices.DeleteFunc(h.opens, func(o opened) bool { return o.protocol == p.guid })
	if len(h.protos) == 0 {
		f.handles = slices.DeleteFunc(f.handles, func(x *handle) bool { return x == h })
	}
	return Success
}

func (f *Firmware) installProtocol(c *call) Status {
	at, g := c.args[0], c.guid(c.args[1])
	id := c.u64(at)
	if c.out(at, 8); c.bad != nil || c.args[2] != 0 {
		return InvalidParameter
	}
	h, s := f.install(id, proto{g, c.args[3]})
	if s != Success {
		return s
	}
	c.put64(at, h.id)
	c.notef("%#x", h.id)
	return f.notify(c, "InstallProtocolInterface", f.installed(h, g), finally(Success))
}

func (f *Firmware) reinstallProtocol(c *call) Status {
	h, g := f.handle(c.args[0]), c.guid(c.args[1])
	if h == nil || c.bad != nil {
		return InvalidParameter
	}
	i := slices.Index(h.protos, proto{g, c.args[2]})
	if i < 0 {
		return NotFound
	}
	if h.inUse(g) {
		return AccessDenied
	}
	h.protos[i].iface = c.args[3]
	return f.notify(c, "ReinstallProtocolInterface", f.installed(h, g), finally(Success))
}

func (f *Firmware) uninstallProtocol(c *call) Status {
	g := c.guid(c.args[1])
	if c.bad != nil {
		return InvalidParameter
	}
	return f.uninstall(c.args[0], proto{g, c.args[2]})
}

// multiple reads the pairs of the services with a variable number of
// arguments.
func (f *Firmware) multiple(c *call) []proto {
	var out []proto
	for i := 1; len(out) <= maxProtocols; i += 2 {
		at, err := f.p.CPU().Arg(i)
		if err != nil {
			c.bad = err
			return nil
		}
		if at == 0 {
			return out
		}
		iface, err := f.p.CPU().Arg(i + 1)
		if err != nil {
			c.bad = err
			return nil
		}
		out = append(out, proto{c.guid(at), iface})
		if c.bad != nil {
			return nil
		}
	}
	return nil
}

func (f *Firmware) installMultiple(c *call) Status {
	at := c.args[0]
	id := c.u64(at)
	list := f.multiple(c)
	if c.out(at, 8); c.bad != nil || len(list) == 0 {
		return InvalidParameter
	}
	given := id
	for i, p := range list {
		h, s := f.install(id, p)
		if s != Success {
			for _, q := range list[:i] {
				f.uninstall(id, q)
			}
			return s
		}
		id = h.id
	}
	if given == 0 {
		c.put64(at, id)
	}
	var due []*event
	for _, p := range list {
		c.notef("%s %s", c.note, p.guid.Name())
		for _, e := range f.installed(f.handle(id), p.guid) {
			if !slices.Contains(due, e) {
				due = append(due, e)
			}
		}
	}
	return f.notify(c, "InstallMultipleProtocolInterfaces", due, finally(Success))
}

func (f *Firmware) uninstallMultiple(c *call) Status {
	list := f.multiple(c)
	if c.bad != nil || len(list) == 0 {
		return InvalidParameter
	}
	h := f.handle(c.args[0])
	if h == nil {
		return InvalidParameter
	}
	for _, p := range list {
		if !slices.Contains(h.protos, p) || h.inUse(p.guid) {
			return InvalidParameter
		}
	}
	for _, p := range list {
		f.uninstall(c.args[0], p)
	}
	return Success
}

func (f *Firmware) getProtocol(c *call) Status {
	h, g, at := f.handle(c.args[0]), c.guid(c.args[1]), c.args[2]
	if h == nil || c.bad != nil {
		return InvalidParameter
	}
	iface, ok := h.find(g)
	if !ok {
		if at != 0 {
			c.put64(at, 0)
		}
		return Unsupported
	}
	if at != 0 {
		c.put64(at, iface)
		c.notef("%#x", iface)
	}
	return Success
}

func (f *Firmware) handleProtocol(c *call) Status {
	if c.args[2] == 0 {
		return InvalidParameter
	}
	return f.getProtocol(c)
}

func (f *Firmware) knownHandle(c *call) Status {
	if f.handle(c.args[0]) == nil {
		return InvalidParameter
	}
	return Success
}

// search returns the handles that LocateHandle is asked for.
func (f *Firmware) search(c *call, how, at, key uint64) ([]uint64, Status) {
	var out []uint64
	switch how {
	case 0: // AllHandles
		for _, h := range f.handles {
			out = append(out, h.id)
		}
	case 2: // ByProtocol
		g := c.guid(at)
		if c.bad != nil {
			return nil, InvalidParameter
		}
		for _, h := range f.handles {
			if _, ok := h.find(g); ok {
				out = append(out, h.id)
			}
		}
	case 1: // ByRegisterNotify: one handle at a time
		h, _, s := f.nextFresh(key)
		if s != Success {
			return nil, s
		}
		out = append(out, h.id)
	default:
		return nil, InvalidParameter
	}
	if len(out) == 0 {
		return nil, NotFound
	}
	return out, Success
}

func (f *Firmware) locateHandle(c *call) Status {
	list, s := f.search(c, c.args[0], c.args[1], c.args[2])
	if s != Success {
		return s
	}
	need := uint64(len(list)) * 8
	have := c.u64(c.args[3])
	c.put64(c.args[3], need)
	if have < need {
		return BufferTooSmall
	}
	for i, id := range list {
		c.put64(c.args[4]+uint64(i)*8, id)
	}
	return Success
}

// newPool gives the guest a piece of pool memory with contents.
func (f *Firmware) newPool(data []byte) (uint64, bool) {
	at, err := f.poolAlloc(BootServicesData, max(uint64(len(data)), 8))
	if err != nil {
		return 0, false
	}
	copy(f.mem[at:], data)
	return at, true
}

func (f *Firmware) locateHandleBuffer(c *call) Status {
	countAt, at := c.args[3], c.args[4]
	if c.out(countAt, 8) == nil || c.out(at, 8) == nil {
		return InvalidParameter
	}
	list, s := f.search(c, c.args[0], c.args[1], c.args[2])
	if s != Success {
		return s
	}
	var b []byte
	for _, id := range list {
		b = le.AppendUint64(b, id)
	}
	buf, ok := f.newPool(b)
	if !ok {
		return OutOfResources
	}
	c.put64(countAt, uint64(len(list)))
	c.put64(at, buf)
	c.notef("%d handles", len(list))
	return Success
}

func (f *Firmware) locateProtocol(c *call) Status {
	g, at := c.guid(c.args[0]), c.args[2]
	if c.out(at, 8); c.bad != nil {
		return InvalidParameter
	}
	handles := f.handles
	if c.args[1] != 0 {
		h, _, s := f.nextFresh(c.args[1])
		if s != Success {
			c.put64(at, 0)
			return NotFound
		}
		handles = []*handle{h}
	}
	for _, h := range handles {
		if iface, ok := h.find(g); ok {
			c.put64(at, iface)
			c.notef("%#x", iface)
			return Success
		}
	}
	c.put64(at, 0)
	return NotFound
}

// protocolsPerHandle gives pointers to GUIDs, which follow them in the same
// piece of memory.
func (f *Firmware) protocolsPerHandle(c *call) Status {
	h := f.handle(c.args[0])
	if h == nil || c.out(c.args[1], 8) == nil || c.out(c.args[2], 8) == nil {
		return InvalidParameter
	}
	n := uint64(len(h.protos))
	buf, ok := f.newPool(make([]byte, n*24))
	if !ok {
		return OutOfResources
	}
	for i, p := range h.protos {
		at := buf + n*8 + uint64(i)*16
		le.PutUint64(f.mem[buf+uint64(i)*8:], at)
		copy(f.mem[at:at+16], p.guid[:])
	}
	c.put64(c.args[1], buf)
	c.put64(c.args[2], n)
	return Success
}
