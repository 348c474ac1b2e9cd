// SPDX-License-Identifier: Apache-2.0

package firmware

import "bytes"

// loadFile2 is a LoadImage that asks a LoadFile2 protocol of the guest's own:
// images that unpack themselves offer what is inside that way (UEFI, section
// 13.2).
type loadFile2 struct {
	request
	function   uint64
	this, rest uint64 // its first arguments
	sizeAt     uint64
	buffer     uint64 // 0 while the size is asked for
	size       uint64
}

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
	this, _ := best.find(guidLoadFile2())
	l := &loadFile2{request: q, function: c.u64(this), this: this, rest: pathAt + rest}
	o := f.callOut(c, "LoadImage", func(o *callout, s Status) (Status, bool, error) { return f.fileLoaded(o, l, s) })
	if c.bad != nil || o == nil {
		return OutOfResources
	}
	ok := false
	if l.sizeAt, ok = f.newPool(make([]byte, 8)); !ok {
		return OutOfResources
	}
	if err := f.ask(o, l); err != nil {
		return InvalidParameter
	}
	f.begin(c, o)
	c.notef("asks LoadFile2 at %#x", this)
	return Success
}

// ask calls LoadFile(this, path, FALSE, size, buffer).
func (f *Firmware) ask(o *callout, l *loadFile2) error {
	return f.enter(o, l.function, l.this, l.rest, 0, l.sizeAt, l.buffer)
}

// fileLoaded goes on with LoadImage.
func (f *Firmware) fileLoaded(o *callout, l *loadFile2, s Status) (Status, bool, error) {
	c := &call{f: f}
	size := c.u64(l.sizeAt)
	if l.buffer == 0 && s == BufferTooSmall && size > 0 && size <= maxImageSize {
		// The size is known: once more, for the contents.
		if at, err := f.poolAlloc(BootServicesData, size); err == nil {
			l.buffer, l.size = at, size
			if err := f.ask(o, l); err == nil {
				return 0, false, nil
			}
		}
		s = OutOfResources
	} else if l.buffer == 0 && !s.IsError() {
		s = LoadError
	}
	switch {
	case s.IsError():
	case size > l.size:
		s = LoadError // it says that it wrote more than there was room for
	case !f.mayCopy(size):
		s = OutOfResources
	default:
		view := c.in(l.buffer, size)
		if c.bad == nil {
			c.bad = f.touch(view)
		}
		if c.bad == nil {
			b := bytes.Clone(view)
			s = f.loadBytes(c, l.request, b, !f.trusted(b))
		}
	}
	for _, at := range []uint64{l.buffer, l.sizeAt} {
		if _, ok := f.pool[at]; ok {
			f.freePool(&call{f: f, args: []uint64{at}})
		}
	}
	if isPlatform(c.bad) {
		return s, true, c.bad
	}
	if c.bad != nil {
		s = InvalidParameter
	}
	f.tracef("LoadImage", s, "%s", c.note)
	return s, true, nil
}
