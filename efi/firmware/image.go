// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Image services (UEFI, section 7.4).

// loaded is an image in guest memory.
type loaded struct {
	handle     uint64
	proto      uint64 // LoadedImage
	base, size uint64
	entry      uint64
	started    bool
	// file is what the image was made of: trusted, because it was verified
	// or came out of one that was.
	file []byte
}

// frame is an image that runs, and who is to go on after it.
type frame struct {
	img            *loaded
	saved          any // nil: nobody
	sizeAt, dataAt uint64
	// callouts is how many calls of the guest's functions were under way.
	callouts int
}

const (
	stackSize    = 512 << 10
	maxImageSize = 4 << 30
	// imageAlign keeps images off multiples of 2 MiB: an arm64 kernel that
	// lies right runs in place, and its entry is harder to tell from its stub.
	imageAlign = 64 << 10
)

// loadedImage makes the LoadedImage protocol (UEFI, section 9.1).
func (f *Firmware) loadedImage(img *loaded, parent, device uint64, path []byte, options []byte) error {
	pathAt, err := f.newObject(BootServicesData, path)
	if err != nil {
		return err
	}
	whole := path
	if h := f.handle(device); h != nil {
		if at, ok := h.find(guidDevicePath()); ok {
			if b, err := f.path(at); err == nil && !bytes.HasPrefix(path, b[:len(b)-nodeHeader]) {
				whole = append(b[:len(b)-nodeHeader:len(b)-nodeHeader], path...)
			}
		}
	}
	wholeAt, err := f.newObject(BootServicesData, whole)
	if err != nil {
		return err
	}
	b := make([]byte, 96)
	le.PutUint32(b, 0x1000)
	le.PutUint64(b[8:], parent)
	le.PutUint64(b[16:], f.systemTable)
	le.PutUint64(b[24:], device)
	le.PutUint64(b[32:], pathAt)
	if len(options) > 0 {
		at, err := f.newObject(BootServicesData, options)
		if err != nil {
			return err
		}
		le.PutUint32(b[48:], uint32(len(options)))
		le.PutUint64(b[56:], at)
	}
	le.PutUint64(b[64:], img.base)
	le.PutUint64(b[72:], img.size)
	le.PutUint32(b[80:], uint32(LoaderCode))
	le.PutUint32(b[84:], uint32(LoaderData))
	if img.proto, err = f.newObject(BootServicesData, b); err != nil {
		return err
	}
	img.handle = f.newHandle(proto{guidLoadedImage(), img.proto}, proto{guidLoadedImagePath(), wholeAt}).id
	return nil
}

// Start loads the first image, which has been verified, and sets the
// processor to its entry.
func (f *Firmware) Start(b []byte) error {
	img, err := f.load(b)
	if err != nil {
		return err
	}
	var device uint64
	if f.fs != nil {
		device = f.fs.handle.id
	}
	// An image has a name, even when there is nowhere to look for it: newer
	// versions of systemd-stub insist on one.
	path := append(fileNode(cmp.Or(f.cfg.Path, "image.efi")), endPath()...)
	var options []byte
	if f.cfg.LoadOptions != "" {
		options = utf16z(f.cfg.LoadOptions)
	}
	if err := f.loadedImage(img, 0, device, path, options); err != nil {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	if f.cfg.Arguments != nil {
		p, err := f.shellParameters(f.cfg.Arguments)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMemory, err)
		}
		h := f.handle(img.handle)
		h.protos = append(h.protos, p)
	}
	stack, err := f.allocate(BootServicesData, stackSize, pageSize, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	f.own = append(f.own, Region{Start: stack, Size: stackSize})
	img.started = true
	f.frames = append(f.frames, frame{img: img})
	if err := f.measureImage(img, path); err != nil {
		return err
	}
	if f.fatal != nil {
		return f.fatal
	}
	return f.p.CPU().Enter(img.entry, stack+stackSize, f.slots, img.handle, f.systemTable)
}

// trusted tells whether bytes in guest memory need no verification of their
// own: they are part of an image that has been verified, or the guest, which
// has been verified, made them out of nothing else.
func (f *Firmware) trusted(b []byte) bool {
	if !f.external {
		return true
	}
	for _, img := range f.images {
		if bytes.Contains(img.file, b) {
			return true
		}
	}
	return false
}

func (f *Firmware) loadImage(c *call) Status {
	parent, pathAt, source, size, at := c.args[1], c.args[2], c.args[3], c.args[4], c.args[5]
	if f.handle(parent) == nil || c.out(at, 8) == nil {
		return InvalidParameter
	}
	path := endPath()
	if pathAt != 0 {
		var err error
		if path, err = f.path(pathAt); err != nil {
			c.bad = err
			return InvalidParameter
		}
	}
	if source != 0 {
		view := c.in(source, size)
		if c.bad != nil {
			return InvalidParameter
		}
		if !f.mayCopy(size) {
			c.notef("%d bytes: more than %d bytes of image files in all", size, uint64(maxImageFiles))
			return OutOfResources
		}
		if c.bad = f.touch(view); c.bad != nil {
			return OutOfResources
		}
		b := bytes.Clone(view)
		return f.loadBytes(c, request{parent, 0, path, at}, b, !f.trusted(b))
	}
	if b, rest, ok := f.fromFile(path); ok {
		if !f.mayCopy(uint64(len(b))) {
			return OutOfResources
		}
		return f.loadBytes(c, request{parent, f.fs.handle.id, rest, at}, b, true)
	}
	return f.fromProtocol(c, request{parent, 0, path, at}, pathAt)
}

// mayCopy keeps account of copies of image files, which are memory of ours and
// not of the guest's: loaded images hold theirs, and measured ones to the end.
func (f *Firmware) mayCopy(size uint64) bool {
	if size > maxImageFiles-f.copied {
		return false
	}
	f.copied += size
	return true
}

// request is what an image is loaded for.
type request struct {
	parent, device uint64
	path           []byte
	at             uint64 // where the handle goes
}

// loadBytes ends LoadImage with what the image turned out to be.
func (f *Firmware) loadBytes(c *call, q request, b []byte, verify bool) Status {
	if verify {
		if f.cfg.Verify == nil {
			c.notef("nobody to verify the image")
			return AccessDenied
		}
		if err := f.cfg.Verify(b); err != nil {
			c.notef("%v", err)
			return AccessDenied
		}
	}
	img, err := f.load(b)
	if err != nil {
		c.notef("%v", err)
		if isPlatform(err) {
			c.bad = err
		}
		return LoadError
	}
	if err := f.loadedImage(img, q.parent, q.device, q.path, nil); err != nil {
		c.bad = f.unload(img)
		return OutOfResources
	}
	if err := f.measureImage(img, q.path); err != nil {
		c.notef("%v", err)
		c.bad = f.unload(img)
		return LoadError
	}
	c.put64(q.at, img.handle)
	c.notef("handle %#x, at %#x+%#x", img.handle, img.base, img.size)
	return Success
}

// fromFile reads the file of our file system that a device path names; rest
// is the path without the device.
func (f *Firmware) fromFile(path []byte) (b, rest []byte, ok bool) {
	if f.fs == nil {
		return nil, nil, false
	}
	rest, ok = bytes.CutPrefix(path, vendorMedia(guidPeel()))
	if !ok || !onlyFiles(rest) {
		return nil, nil, false
	}
	b, err := f.fs.readAll(filePath(rest))
	return b, rest, err == nil
}

func (f *Firmware) imageOf(id uint64) *loaded {
	for _, i := range f.images {
		if i.handle == id {
			return i
		}
	}
	return nil
}

// unload frees an image; its handle goes with it.
func (f *Firmware) unload(img *loaded) error {
	f.images = slices.DeleteFunc(f.images, func(x *loaded) bool { return x == img })
	f.handles = slices.DeleteFunc(f.handles, func(h *handle) bool { return h.id == img.handle })
	if t, ok := f.typeOf(img.base, img.size); !ok || t == Conventional {
		return nil // the guest has freed it
	}
	return f.freeRange(img.base, img.size)
}

func (f *Firmware) unloadImage(c *call) Status {
	img := f.imageOf(c.args[0])
	if img == nil {
		return InvalidParameter
	}
	if img.started {
		return Unsupported
	}
	if err := f.unload(img); err != nil {
		c.bad = err
	}
	return Success
}

// startImage calls an image's entry on the caller's stack; it goes on with
// the caller when the image returns or exits.
func (f *Firmware) startImage(cpu CPU) error {
	id, err := cpu.Arg(0)
	sizeAt, err1 := cpu.Arg(1)
	dataAt, err2 := cpu.Arg(2)
	fail := func(s Status) error {
		f.tracef("StartImage", s, "%#x", id)
		cpu.Return(uint64(s))
		return nil
	}
	img := f.imageOf(id)
	if err != nil || err1 != nil || err2 != nil || img == nil || img.started || f.exited {
		return fail(InvalidParameter)
	}
	if len(f.frames) >= maxDepth {
		return fail(OutOfResources)
	}
	saved, err := cpu.Save()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPlatform, err)
	}
	top := (cpu.SP() - 256) &^ 15
	if _, err := f.view(top-stackSize/4, stackSize/4); err != nil {
		return fail(InvalidParameter)
	}
	if err := cpu.Enter(img.entry, top, f.slots, img.handle, f.systemTable); err != nil {
		return fail(InvalidParameter)
	}
	img.started = true
	f.frames = append(f.frames, frame{img, saved, sizeAt, dataAt, len(f.callouts)})
	f.tracef("StartImage", Success, "enters %#x", img.entry)
	return nil
}

func (f *Firmware) tracef(name string, s Status, format string, args ...any) {
	if f.trace != nil {
		f.trace(Call{Name: name, Status: s, Note: fmt.Sprintf(format, args...)})
	}
}

func (f *Firmware) imageReturned(cpu CPU) error {
	return f.finish(cpu, Status(cpu.Result()), 0, 0)
}

// exit ends the running image from anywhere in it (UEFI, section 7.4, Exit).
func (f *Firmware) exit(cpu CPU) error {
	var a [4]uint64
	for i := range a {
		v, err := cpu.Arg(i)
		if err != nil {
			cpu.Return(uint64(InvalidParameter))
			return nil
		}
		a[i] = v
	}
	img := f.imageOf(a[0])
	if img == nil || len(f.frames) == 0 || f.exited {
		cpu.Return(uint64(InvalidParameter))
		return nil
	}
	if !img.started {
		// One that was loaded and never started is unloaded.
		s := Success
		if err := f.unload(img); err != nil {
			return err
		}
		cpu.Return(uint64(s))
		return nil
	}
	if f.frames[len(f.frames)-1].img != img {
		cpu.Return(uint64(InvalidParameter))
		return nil
	}
	return f.finish(cpu, Status(a[1]), a[2], a[3])
}

// finish goes on with the caller of the running image.
func (f *Firmware) finish(cpu CPU, s Status, size, data uint64) error {
	if len(f.frames) == 0 {
		return fmt.Errorf("return without an image: %w", ErrCall)
	}
	fr := f.frames[len(f.frames)-1]
	f.frames = f.frames[:len(f.frames)-1]
	// Functions that the image never returned from are left behind with it.
	f.callouts = f.callouts[:min(fr.callouts, len(f.callouts))]
	f.tracef("Exit", s, "image at %#x", fr.img.base)
	if fr.saved == nil {
		f.ended, f.result = true, s
		return nil
	}
	if err := f.unload(fr.img); err != nil {
		return err
	}
	if err := cpu.Restore(fr.saved); err != nil {
		return fmt.Errorf("%w: %w", ErrPlatform, err)
	}
	c := &call{f: f}
	if fr.sizeAt != 0 {
		c.put64(fr.sizeAt, size)
	}
	if fr.dataAt != 0 {
		c.put64(fr.dataAt, data)
	}
	cpu.Return(uint64(s))
	return nil
}

// resetSystem ends the guest (UEFI, section 8.5.1).
func (f *Firmware) resetSystem(cpu CPU) error {
	how, err := cpu.Arg(0)
	status, err1 := cpu.Arg(1)
	if err != nil || err1 != nil {
		how, status = 0, 0
	}
	f.tracef("ResetSystem", Status(status), "type %d", how)
	return fmt.Errorf("%w: type %d, status %v", ErrReset, how, Status(status))
}
