// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/measure/eventlog"
)

// An image may load and unload files for ever; ours is the memory for copies
// of them, and those that were measured are kept.
func TestImageFilesBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Verify = func([]byte) error { return nil } })
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	first, out := r.images[0].handle, uint64(scratch)
	src := r.put(scratch+0x10000, tiny(0x8664, 0x1000))
	r.want(Success, "LoadImage", 0, first, 0, src, 0x400, out)
	r.want(Success, "UnloadImage", r.get64(out))
	if r.copied != 0x400 {
		t.Errorf("%d bytes on account after an image of %d", r.copied, 0x400)
	}
	r.copied = maxImageFiles - 0x400
	r.want(Success, "LoadImage", 0, first, 0, src, 0x400, out)
	r.want(OutOfResources, "LoadImage", 0, first, 0, src, 0x400, out)
}

// An image may open one file many times; contents count as long as it is open.
func TestOpenDataBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Dir = fstest.MapFS{"f": {Data: []byte("0123456789")}} })
	out, size := uint64(scratch), uint64(scratch+0x100)
	name := r.put(scratch+0x200, utf16z("f"))
	r.want(Success, "SimpleFileSystem.OpenVolume", 0, out)
	root := r.get64(out)
	open := func() uint64 {
		r.want(Success, "File.Open", root, out, name, 1, 0)
		return r.get64(out)
	}
	one, two := open(), open()
	r.put64(size, 4)
	r.want(Success, "File.Read", one, size, scratch+0x300)
	if r.fs.held != 10 {
		t.Errorf("%d bytes held, want 10", r.fs.held)
	}
	r.fs.held += maxOpenData - 10 - 9
	r.want(AccessDenied, "File.Read", two, size, scratch+0x300)
	r.want(Success, "File.Close", one)
	r.want(Success, "File.Read", two, size, scratch+0x300)
	r.want(Success, "File.Close", two)
	if r.fs.held != maxOpenData-10-9 {
		t.Errorf("%d bytes held, want %d", r.fs.held, uint64(maxOpenData-10-9))
	}
}

// What a verifier has refused is not kept.
func TestRefusedFileNotKept(t *testing.T) {
	r := newRig(t, func(c *Config) { c.VerifyFile = func(string, []byte) error { return errors.New("no") } })
	out, size := uint64(scratch), uint64(scratch+0x100)
	r.want(Success, "SimpleFileSystem.OpenVolume", 0, out)
	r.want(Success, "File.Open", r.get64(out), out, r.put(scratch+0x200, utf16z(`loader\x.conf`)), 1, 0)
	r.put64(size, 4)
	r.want(AccessDenied, "File.Read", r.get64(out), size, scratch+0x300)
	if o := r.file(r.get64(out)); len(o.data) != 0 || r.fs.held != 0 {
		t.Errorf("%d bytes kept", len(o.data))
	}
}

// Bytes behind the certificate table leave an image without a digest: it must
// not run while a TPM is told of all others.
func TestImageWithoutDigestDoesNotRun(t *testing.T) {
	b := append(tiny(0x8664, 0x1000), make([]byte, 24)...)
	dir := b[0x44+20+112+8*pe.DirCertificate:]
	le.PutUint32(dir, 0x400)
	le.PutUint32(dir[4:], 16)
	le.PutUint32(b[0x400:], 16) // WIN_CERTIFICATE
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Digest(eventlog.SHA256.Crypto()); err == nil {
		t.Fatal("the image has a digest")
	}
	for _, m := range []*Measuring{{Banks: []eventlog.Hash{eventlog.SHA256}}, {CC: CCTDX}} {
		r, _ := measuringRig(t, m)
		if err := r.Start(bytes.Clone(b)); !errors.Is(err, ErrImage) || len(r.cpu.entered) != 0 {
			t.Errorf("Start(no digest) = %v, entered %#x, want %v", err, r.cpu.entered, ErrImage)
		}
		r, _ = measuringRig(t, m)
		if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
			t.Fatal(err)
		}
		r.want(LoadError, "LoadImage", 0, r.images[0].handle, 0, r.put(scratch+0x10000, b), uint64(len(b)), scratch)
		if len(r.images) != 1 {
			t.Errorf("%d images are loaded, want 1", len(r.images))
		}
	}
	r := newRig(t, nil)
	if err := r.Start(b); err != nil {
		t.Errorf("Start(no digest, nothing measured) = %v", err)
	}
}

// Memory that a guest never used would come to be by measuring or loading it:
// the limit of its memory ends that, and the guest.
func TestTouchedMemoryBounded(t *testing.T) {
	no := errors.New("too much")
	for _, name := range []string{"TCG2.HashLogExtendEvent", "LoadImage"} {
		r, this := measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA256}})
		if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
			t.Fatal(err)
		}
		src := r.put(dataAt, tiny(0x8664, 0x1000))
		r.cpu.args = []uint64{this, 0, src, 0x400, r.putEvent(eventAt, 11, eventlog.IPL, "x")}
		if name == "LoadImage" {
			r.cpu.args = []uint64{0, r.images[0].handle, 0, src, 0x400, outAt}
		}
		events := len(r.tcg2.events)
		r.plat.within = no
		for i, s := range r.services {
			if s.name != name {
				continue
			}
			if err := r.Call(r.slots + uint64(i)*slotSize); !errors.Is(err, no) || !errors.Is(err, ErrPlatform) {
				t.Errorf("%s with no memory left = %v, want %v", name, err, no)
			}
		}
		if len(r.tcg2.events) != events || len(r.images) != 1 {
			t.Errorf("%s with no memory left: %d events more, %d images", name, len(r.tcg2.events)-events, len(r.images))
		}
	}
	r := newRig(t, nil)
	b := make([]byte, 33<<20)
	r.plat.asked = 0
	if err := r.touch(b); err != nil || r.plat.asked != 3 {
		t.Errorf("touch(%#x bytes) = %v, asked %d times, want 3", len(b), err, r.plat.asked)
	}
	r.plat.within = no
	if err := r.Start(tiny(0x8664, 0x1000)); !errors.Is(err, no) || len(r.cpu.entered) != 0 {
		t.Errorf("Start with no memory left = %v, want %v", err, no)
	}
}
