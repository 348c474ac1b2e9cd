// SPDX-License-Identifier: Apache-2.0

package firmware

import "testing"

// TestLoadFromProtocol is what EFI zboot images before Linux 6.2 do: they
// install a LoadFile2 protocol of their own, and LoadImage calls it.
func TestLoadFromProtocol(t *testing.T) {
	r := newRig(t, nil)
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	path := r.put(scratch+0x100, append(append(vendorMedia(GUID{9}), fileNode("inner")...), endPath()...))
	const function = scratch + 0x8000
	lf := r.put64(scratch+0x200, function)
	h := r.put64(scratch, 0)
	r.want(Success, "InstallMultipleProtocolInterfaces", h, r.putGUID(scratch+0x210, guidDevicePath()), path,
		r.putGUID(scratch+0x220, guidLoadFile2()), lf, 0)
	first := r.images[0].handle
	out := uint64(scratch + 0x300)
	answer := func(s Status, size uint64) {
		t.Helper()
		e := r.cpu.entered
		if e[0] != function || e[2] != r.slots+slotSize || e[3] != lf || e[5] != 0 {
			t.Fatalf("entered %#x", e)
		}
		r.put64(e[6], size)
		if e[7] != 0 {
			r.put(e[7], tiny(0x8664, 0x1000))
		}
		r.cpu.ret = uint64(s)
		if err := r.Call(r.slots + slotSize); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() {
		t.Helper()
		r.do("LoadImage", 0, first, path, 0, 0, out)
		if len(r.callouts) != 1 {
			t.Fatalf("%d calls of the guest's protocol, want 1", len(r.callouts))
		}
	}
	end := func(want Status) {
		t.Helper()
		if got := Status(r.cpu.ret); got != want || len(r.callouts) != 0 {
			t.Errorf("LoadImage() = %v, %d calls left, want %v", got, len(r.callouts), want)
		}
	}
	pools := len(r.pool)
	begin()
	answer(BufferTooSmall, 0x400)
	answer(Success, 0x400)
	end(Success)
	if img := r.imageOf(r.get64(out)); img == nil || string(r.mem[img.base+0x1000:][:4]) != "code" {
		t.Error("image is not loaded")
	}
	for name, steps := range map[string][]struct {
		s    Status
		size uint64
	}{
		"refuses":            {{NotFound, 0}},
		"no size":            {{BufferTooSmall, 0}},
		"great size":         {{BufferTooSmall, 1 << 60}},
		"more than memory":   {{BufferTooSmall, rigSize}},
		"success at once":    {{Success, 0x400}},
		"refuses afterwards": {{BufferTooSmall, 0x400}, {DeviceError, 0x400}},
		"grows":              {{BufferTooSmall, 0x400}, {Success, 1 << 40}},
	} {
		begin()
		for _, s := range steps {
			answer(s.s, s.size)
		}
		if got := Status(r.cpu.ret); len(r.callouts) != 0 || !got.IsError() {
			t.Errorf("%s: LoadImage() = %v, %d calls left", name, got, len(r.callouts))
		}
	}
	if len(r.pool) != pools {
		t.Errorf("%d pieces of pool memory are left behind", len(r.pool)-pools)
	}
	for range maxCallouts {
		r.do("LoadImage", 0, first, path, 0, 0, out)
	}
	r.want(OutOfResources, "LoadImage", 0, first, path, 0, 0, out)
	r.sane()
}
