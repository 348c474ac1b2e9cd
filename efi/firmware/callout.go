// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"fmt"
)

// callout is a call of a LoadFile2 protocol that the guest itself has
// installed: images that unpack themselves offer what is inside that way, and
// LoadImage asks them for it (UEFI, section 13.2).
type callout struct {
	request
	saved      any
	function   uint64
	this, rest uint64 // its first arguments
	sizeAt     uint64
	buffer     uint64 // 0 while the size is asked for
	size       uint64
}

const maxCallouts = 4

// fromProtocol goes on in the guest; the call of LoadImage returns later.
func (f *Firmware) fromProtocol(c *call, q request, pathAt uint64) Status {
	best, rest := (*handle)(nil), uint64(0)
	for _, h := range f.handles {
		at, ok := h.find(guidDevicePath())
		if _, has := h.find(guidLoadFile2()); !ok || !has {
			continue
		}
		have, err := f.path(at)
		if err != nil {
			continue
		}
		have = have[:len(have)-nodeHeader]
		if bytes.HasPrefix(q.path, have) && uint64(len(have)) >= rest && len(have) > 0 {
			best, rest = h, uint64(len(have))
		}
	}
	if best == nil {
		return NotFound
	}
	if len(f.callouts) >= maxCallouts {
		return OutOfResources
	}
	this, _ := best.find(guidLoadFile2())
	function := c.u64(this)
	sizeAt, ok := f.newPool(make([]byte, 8))
	if c.bad != nil || !ok {
		return OutOfResources
	}
	saved, err := f.p.CPU().Save()
	if err != nil {
		c.bad = fmt.Errorf("%w: %w", ErrPlatform, err)
		return DeviceError
	}
	o := callout{request: q, saved: saved, function: function, this: this, rest: pathAt + rest, sizeAt: sizeAt}
	if err := f.enter(&o); err != nil {
		return InvalidParameter
	}
	f.callouts = append(f.callouts, o)
	c.later = true
	c.notef("asks LoadFile2 at %#x", this)
	return Success
}

// enter calls LoadFile(this, path, FALSE, size, buffer) on the guest's stack.
func (f *Firmware) enter(o *callout) error {
	cpu := f.p.CPU()
	return cpu.Enter(o.function, (cpu.SP()-256)&^15, f.slots+slotSize, o.this, o.rest, 0, o.sizeAt, o.buffer)
}

// calloutReturned goes on with LoadImage.
func (f *Firmware) calloutReturned(cpu CPU) error {
	if len(f.callouts) == 0 {
		return fmt.Errorf("return of a protocol that was not called: %w", ErrCall)
	}
	o := &f.callouts[len(f.callouts)-1]
	s := Status(cpu.Result())
	c := &call{f: f}
	size := c.u64(o.sizeAt)
	if o.buffer == 0 && s == BufferTooSmall && size > 0 && size <= maxImageSize {
		// The size is known: once more, for the contents.
		if at, err := f.poolAlloc(BootServicesData, size); err == nil {
			o.buffer, o.size = at, size
			if err := f.enter(o); err == nil {
				return nil
			}
		}
		s = OutOfResources
	} else if o.buffer == 0 && !s.IsError() {
		s = LoadError
	}
	done := *o
	f.callouts = f.callouts[:len(f.callouts)-1]
	if !s.IsError() && size <= done.size {
		b := bytes.Clone(c.in(done.buffer, size))
		if c.bad == nil {
			s = f.loadBytes(c, done.request, b, !f.trusted(b))
		}
	}
	for _, at := range []uint64{done.buffer, done.sizeAt} {
		if _, ok := f.pool[at]; ok {
			f.freePool(&call{f: f, args: []uint64{at}})
		}
	}
	if isPlatform(c.bad) {
		return c.bad
	}
	if c.bad != nil {
		s = InvalidParameter
	}
	f.tracef("LoadImage", s, "%s", c.note)
	if err := cpu.Restore(done.saved); err != nil {
		return fmt.Errorf("%w: %w", ErrPlatform, err)
	}
	cpu.Return(uint64(s))
	return nil
}
