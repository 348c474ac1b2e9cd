// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"hash/crc32"
	"slices"
	"testing"
)

// returned lets the guest's function return, of which the last one that was
// entered is told.
func (r *rig) returned() {
	r.t.Helper()
	if err := r.Call(r.slots + slotSize); err != nil {
		r.t.Fatal(err)
	}
}

// functions lets each function that a service calls return at once, and tells
// which were called with which context.
func (r *rig) functions() (called [][2]uint64) {
	r.t.Helper()
	for len(r.callouts) > 0 && len(called) < 100 {
		e := r.cpu.entered
		called = append(called, [2]uint64{e[0], e[4]})
		r.returned()
	}
	return called
}

func TestNotify(t *testing.T) {
	r := newRig(t, nil)
	ev := uint64(scratch)
	create := func(kind, tpl, function, context uint64, group uint64) uint64 {
		t.Helper()
		r.want(Success, "CreateEventEx", kind, tpl, function, context, group, ev)
		return r.get64(ev)
	}
	group := r.putGUID(scratch+0x100, GUID{7})
	low := create(eventNotify, 8, 0x1111, 1, group)
	create(eventNotify, 16, 0x2222, 2, group)
	plain := create(0, 0, 0, 0, group)
	other := create(eventNotify, 8, 0x3333, 3, 0)
	r.do("SignalEvent", low)
	if got, want := r.functions(), [][2]uint64{{0x2222, 2}, {0x1111, 1}}; !slices.Equal(got, want) {
		t.Errorf("SignalEvent(group) calls %#x, want %#x", got, want)
	}
	if got := Status(r.cpu.ret); got != Success {
		t.Errorf("SignalEvent() = %v", got)
	}
	r.want(Success, "CheckEvent", plain)
	r.want(NotReady, "CheckEvent", plain)
	r.want(InvalidParameter, "CheckEvent", low)
	r.do("SignalEvent", other)
	if got, want := r.functions(), [][2]uint64{{0x3333, 3}}; !slices.Equal(got, want) {
		t.Errorf("SignalEvent(alone) calls %#x, want %#x", got, want)
	}
	// A function may close an event whose turn comes later.
	r.do("SignalEvent", low)
	r.want(Success, "CloseEvent", low)
	if got := r.functions(); len(got) != 1 {
		t.Errorf("SignalEvent(one is closed meanwhile) calls %#x, want one function", got)
	}

	// One that is waited for is asked by its function to be signalled.
	waits := create(eventNotifyWait, 8, 0x4444, 4, 0)
	r.do("CheckEvent", waits)
	if e := r.cpu.entered; len(r.callouts) != 1 || e[0] != 0x4444 || e[3] != waits || e[4] != 4 {
		t.Fatalf("CheckEvent() entered %#x", e)
	}
	r.want(Success, "SignalEvent", waits)
	r.returned()
	if got := Status(r.cpu.ret); got != Success {
		t.Errorf("CheckEvent(signalled by its function) = %v", got)
	}
	r.put64(scratch+0x40, waits)
	r.do("WaitForEvent", 1, scratch+0x40, scratch+0x48)
	r.want(Success, "SignalEvent", waits)
	r.returned()
	if got := Status(r.cpu.ret); got != Success || r.get64(scratch+0x48) != 0 {
		t.Errorf("WaitForEvent() = %v, index %d", got, r.get64(scratch+0x48))
	}

	for name, args := range map[string][]uint64{
		"no function":       {eventNotify, 8, 0, 0},
		"low priority":      {eventNotify, 4, 1, 0},
		"high priority":     {eventNotify, 31, 1, 0},
		"two notifications": {eventNotify | eventNotifyWait, 8, 1, 0},
		"unknown type":      {1, 8, 1, 0},
	} {
		if s := r.do("CreateEvent", append(args, ev)...); s != InvalidParameter {
			t.Errorf("CreateEvent(%s) = %v, want %v", name, s, InvalidParameter)
		}
	}
	r.want(InvalidParameter, "CreateEventEx", eventExit, 8, 1, 0, group, ev)
	r.sane()
}

// TestNotifyNests: a function signals its own event, again and again.
func TestNotifyNests(t *testing.T) {
	r := newRig(t, nil)
	r.want(Success, "CreateEvent", eventNotify, 8, 0x1111, 0, scratch)
	id := r.get64(scratch)
	var last Status
	for range 100 {
		last = r.do("SignalEvent", id)
	}
	if len(r.callouts) != maxCallouts || last != OutOfResources {
		t.Errorf("%d functions are under way, the last call gave %v, want %d and %v", len(r.callouts), last, maxCallouts, OutOfResources)
	}
	r.functions()
	r.sane()
}

func TestExitBootServices(t *testing.T) {
	r := newRig(t, nil)
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	img := r.images[0].handle
	r.want(Success, "CreateEvent", eventExit, 8, 0x1111, 1, scratch)
	r.want(Success, "CreateEventEx", eventNotify, 16, 0x2222, 2, r.putGUID(scratch+0x10, guidBeforeExitBootServices()), scratch)
	r.want(Success, "CreateEventEx", eventNotify, 16, 0x3333, 3, r.putGUID(scratch+0x10, guidExitBootServices()), scratch)

	// Who is told before may still change the map; then the key is wrong.
	r.do("ExitBootServices", img, r.mapKey)
	r.want(Success, "AllocatePages", 0, uint64(LoaderData), 1, scratch+0x40)
	if got, want := r.functions(), [][2]uint64{{0x2222, 2}}; !slices.Equal(got, want) {
		t.Errorf("ExitBootServices(right key, map changes) calls %#x, want %#x", got, want)
	}
	if got := Status(r.cpu.ret); got != InvalidParameter || r.Exited() {
		t.Errorf("ExitBootServices(map changed) = %v, exited %v", got, r.Exited())
	}
	r.want(InvalidParameter, "ExitBootServices", img, r.mapKey+1)
	r.do("ExitBootServices", img, r.mapKey)
	if r.Exited() {
		t.Error("Exited() = true before the functions have run")
	}
	if got, want := r.functions(), [][2]uint64{{0x3333, 3}, {0x1111, 1}}; !slices.Equal(got, want) {
		t.Errorf("ExitBootServices(again) calls %#x, want %#x", got, want)
	}
	if got := Status(r.cpu.ret); got != Success || !r.Exited() {
		t.Errorf("ExitBootServices() = %v, exited %v", got, r.Exited())
	}
	st := bytes.Clone(r.mem[r.systemTable:][:120])
	checksum := le.Uint32(st[16:])
	le.PutUint32(st[16:], 0)
	if crc32.ChecksumIEEE(st) != checksum || le.Uint64(st[96:]) != 0 || le.Uint64(st[64:]) != 0 || le.Uint64(st[88:]) == 0 || le.Uint64(st[104:]) == 0 {
		t.Errorf("system table after ExitBootServices: % x", st)
	}
	r.sane()
}

func TestRegisterNotify(t *testing.T) {
	r := newRig(t, nil)
	g := r.putGUID(scratch, GUID{1})
	out, h := uint64(scratch+0x40), uint64(scratch+0x48)
	r.want(Success, "CreateEvent", eventNotify, 8, 0x1111, 0, out)
	event := r.get64(out)
	r.want(Success, "RegisterProtocolNotify", g, event, out)
	key := r.get64(out)
	r.want(InvalidParameter, "RegisterProtocolNotify", g, event+16, out)
	r.want(NotFound, "LocateProtocol", g, key, out)

	r.do("InstallProtocolInterface", r.put64(h, 0), g, 0, 0x5555)
	if got := r.functions(); len(got) != 1 || got[0][0] != 0x1111 || Status(r.cpu.ret) != Success {
		t.Errorf("InstallProtocolInterface() calls %#x, %v", got, Status(r.cpu.ret))
	}
	first := r.get64(h)
	r.do("InstallMultipleProtocolInterfaces", r.put64(h, 0), g, 0x6666, r.putGUID(scratch+16, GUID{2}), 0x7777, 0)
	if got := r.functions(); len(got) != 1 || Status(r.cpu.ret) != Success {
		t.Errorf("InstallMultipleProtocolInterfaces() calls %#x, %v", got, Status(r.cpu.ret))
	}
	size := r.put64(scratch+0x50, 8)
	r.want(Success, "LocateHandle", 1, 0, key, size, scratch+0x60)
	if got := r.get64(scratch + 0x60); got != first {
		t.Errorf("LocateHandle(first) = %#x, want %#x", got, first)
	}
	r.want(Success, "LocateProtocol", g, key, out)
	if got := r.get64(out); got != 0x6666 {
		t.Errorf("LocateProtocol(second) = %#x, want 0x6666", got)
	}
	r.want(NotFound, "LocateHandle", 1, 0, key, size, scratch+0x60)
	r.want(InvalidParameter, "LocateHandle", 1, 0, key+16, size, scratch+0x60)
	r.want(Success, "CloseEvent", event)
	if r.do("InstallProtocolInterface", r.put64(h, 0), g, 0, 0x5555); len(r.callouts) != 0 {
		t.Error("the function of a closed event is called")
	}
	r.sane()
}

func TestOpenInformation(t *testing.T) {
	r := newRig(t, nil)
	g := r.putGUID(scratch, GUID{1})
	out, count := uint64(scratch+0x40), uint64(scratch+0x48)
	handle := func() uint64 {
		r.want(Success, "InstallProtocolInterface", r.put64(scratch+0x50, 0), g, 0, 0x5555)
		return r.get64(scratch + 0x50)
	}
	h, agent, other := handle(), handle(), handle()
	r.want(Success, "OpenProtocol", h, g, out, agent, 0, openGet)
	r.want(Success, "OpenProtocol", h, g, out, agent, 0, openGet)
	r.want(Success, "OpenProtocol", h, g, out, agent, other, openByDriver)
	r.want(AlreadyStarted, "OpenProtocol", h, g, out, agent, other, openByDriver)
	r.want(AccessDenied, "OpenProtocol", h, g, out, other, agent, openByDriver)
	r.want(AccessDenied, "OpenProtocol", h, g, out, other, 0, openExclusive)
	r.want(Success, "OpenProtocol", h, g, 0, 0, 0, openTest)
	r.want(InvalidParameter, "OpenProtocol", h, g, out, agent, other, 0x40)
	r.want(InvalidParameter, "OpenProtocol", h, g, out, agent, h, openByChild)
	r.want(Success, "OpenProtocolInformation", h, g, out, count)
	if n, at := r.get64(count), r.get64(out); n != 2 || r.get64(at) != agent || le.Uint32(r.mem[at+16:]) != openGet ||
		le.Uint32(r.mem[at+20:]) != 2 || r.get64(at+32) != other || le.Uint32(r.mem[at+40:]) != openByDriver {
		t.Errorf("OpenProtocolInformation() = %d entries, % x", n, r.mem[at:at+48])
	}
	r.want(AccessDenied, "UninstallProtocolInterface", h, g, 0x5555)
	r.want(AccessDenied, "ReinstallProtocolInterface", h, g, 0x5555, 0x6666)
	r.want(Success, "CloseProtocol", h, g, agent, other)
	r.want(NotFound, "CloseProtocol", h, g, agent, other)
	r.want(NotFound, "OpenProtocolInformation", h, r.putGUID(scratch+16, GUID{9}), out, count)
	for i := range uint64(2 * maxOpens) {
		r.do("OpenProtocol", h, g, out, i, 0, openGet)
	}
	r.want(Success, "OpenProtocolInformation", h, g, out, count)
	if n := r.get64(count); n != maxOpens {
		t.Errorf("%d users, want %d", n, maxOpens)
	}
	r.want(Success, "UninstallProtocolInterface", h, g, 0x5555)
	r.sane()
}

// TestNotifyAndExit: an image that ends inside of a notification function
// takes the functions with it that it has not returned from.
func TestNotifyAndExit(t *testing.T) {
	r := newRig(t, nil)
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	b := tiny(0x8664, 0x1000)
	out := uint64(scratch + 0x40)
	r.want(Success, "LoadImage", 0, r.images[0].handle, 0, r.put(scratch+0x1000, b), uint64(len(b)), out)
	inner := r.get64(out)
	r.want(Success, "CreateEvent", eventNotify, 8, 0x1111, 0, out)
	outer := r.get64(out)
	r.want(Success, "CreateEvent", eventNotify, 8, 0x2222, 0, out)
	nested := r.get64(out)
	r.do("SignalEvent", outer)
	r.do("StartImage", inner, 0, 0)
	r.do("SignalEvent", nested)
	if len(r.callouts) != 2 || len(r.frames) != 2 {
		t.Fatalf("%d functions, %d images are under way, want 2 and 2", len(r.callouts), len(r.frames))
	}
	r.do("Exit", inner, uint64(Aborted), 0, 0)
	if len(r.callouts) != 1 || len(r.frames) != 1 || Status(r.cpu.ret) != Aborted {
		t.Errorf("%d functions, %d images are left, StartImage() = %v, want 1, 1 and %v", len(r.callouts), len(r.frames), Status(r.cpu.ret), Aborted)
	}
	r.returned()
	if len(r.callouts) != 0 || Status(r.cpu.ret) != Success {
		t.Errorf("%d functions are left, SignalEvent() = %v", len(r.callouts), Status(r.cpu.ret))
	}
	if err := r.Call(r.slots + slotSize); err == nil {
		t.Error("the return of a function that was not called gave no error")
	}
	r.sane()
}
