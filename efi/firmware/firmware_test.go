// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/image"
)

func TestGUIDNames(t *testing.T) {
	for text, name := range guidNames() {
		g, err := ParseGUID(text)
		if err != nil || g.String() != text || g.Name() != name {
			t.Errorf("ParseGUID(%q) = %v, %v", text, g, err)
		}
	}
	for _, bad := range []string{"", "x", "5b1b31a1-9562-11d2-8e3f-00a0c969723", "5b1b31a1-9562-11d2-8e3f-00a0c969723z"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID(%q) gave no error", bad)
		}
	}
	if guidLoadedImage().Name() != "LoadedImage" || guidInitrdMedia().Name() != "LinuxInitrd" || guidMemoryAttribute().Name() != "MemoryAttribute" {
		t.Error("GUIDs and their names differ")
	}
}

func TestTables(t *testing.T) {
	r := newRig(t, nil)
	st := r.mem[r.systemTable:][:120]
	check := func(name string, b []byte, signature uint64) {
		t.Helper()
		b = bytes.Clone(b[:le.Uint32(b[12:])])
		sum := le.Uint32(b[16:])
		le.PutUint32(b[16:], 0)
		if le.Uint64(b) != signature || crc32.ChecksumIEEE(b) != sum {
			t.Errorf("%s: signature %#x or checksum is wrong", name, le.Uint64(b))
		}
	}
	check("system table", st, systemSignature)
	bs := r.mem[le.Uint64(st[96:]):]
	check("boot services", bs, bootSignature)
	check("runtime services", r.mem[le.Uint64(st[88:]):], runtimeSignature)
	// Offsets that every loader has compiled in (UEFI, section 4.4).
	for name, off := range map[string]int{"AllocatePages": 0x28, "GetMemoryMap": 0x38, "HandleProtocol": 0x98, "LoadImage": 0xc8,
		"ExitBootServices": 0xe8, "LocateProtocol": 0x140} {
		pc := le.Uint64(bs[off:])
		if !r.ServiceAt(pc) || r.services[(pc-r.slots)/slotSize].name != name {
			t.Errorf("boot service at %#x is not %s", off, name)
		}
	}
	for _, off := range []int{0x18, 0x20, 0x158, 0x160, 0x168} { // RaiseTPL, RestoreTPL, CalculateCrc32, CopyMem, SetMem
		if pc := le.Uint64(bs[off:]); pc < r.slots+pageSize || pc >= r.slots+slotPages*pageSize {
			t.Errorf("native service at %#x is at %#x", off, pc)
		}
	}
	if n := le.Uint64(st[104:]); n != uint64(len(r.tables)) || n == 0 {
		t.Errorf("%d configuration tables, want %d", n, len(r.tables))
	}
	r.sane()
}

func TestPages(t *testing.T) {
	r := newRig(t, nil)
	at := r.put64(scratch, 0)
	r.want(Success, "AllocatePages", 0, uint64(LoaderData), 3, at)
	got := r.get64(at)
	if typ, ok := r.typeOf(got, 3*pageSize); !ok || typ != LoaderData {
		t.Errorf("allocated %#x is %v", got, typ)
	}
	r.want(Success, "FreePages", got+pageSize, 1)
	r.want(NotFound, "FreePages", got+pageSize, 1)
	r.want(Success, "FreePages", got, 1)
	r.want(Success, "FreePages", got+2*pageSize, 1)
	// At an address, and where something is already.
	r.put64(at, rigStart+0x200000)
	r.want(Success, "AllocatePages", 2, uint64(LoaderCode), 2, at)
	r.want(NotFound, "AllocatePages", 2, uint64(LoaderCode), 2, at)
	r.want(InvalidParameter, "AllocatePages", 2, uint64(LoaderCode), 1, r.put64(scratch+8, rigStart+0x300001))
	// Below an address, which counts.
	r.put64(at, rigStart+0x2fff)
	r.want(Success, "AllocatePages", 1, uint64(LoaderData), 3, at)
	if got := r.get64(at); got != rigStart {
		t.Errorf("AllocatePages(below %#x) = %#x, want %#x", rigStart+0x2fff, got, rigStart)
	}
	r.put64(at, rigStart+0x2fff)
	r.want(OutOfResources, "AllocatePages", 1, uint64(LoaderData), 1, at)
	// More than there is, of types that are none, and none.
	r.want(OutOfResources, "AllocatePages", 0, uint64(LoaderData), rigSize/pageSize, at)
	r.want(OutOfResources, "AllocatePages", 0, uint64(LoaderData), 1<<52, at)
	r.want(OutOfResources, "AllocatePages", 0, uint64(LoaderData), 0, at)
	r.want(InvalidParameter, "AllocatePages", 0, uint64(Conventional), 1, at)
	r.want(InvalidParameter, "AllocatePages", 3, uint64(LoaderData), 1, at)
	r.want(InvalidParameter, "AllocatePages", 0, uint64(LoaderData), 1, 0)
	r.want(InvalidParameter, "AllocatePages", 0, uint64(LoaderData), 1, ^uint64(3))
	// What is not the guest's.
	r.want(NotFound, "FreePages", r.slots, 1)
	r.want(NotFound, "FreePages", 0, 1)
	r.want(NotFound, "FreePages", rigStart+rigSize, 1)
	r.want(InvalidParameter, "FreePages", ^uint64(0xfff), 2)
	r.want(InvalidParameter, "FreePages", scratch, 1<<60)
	r.sane()
}

func TestMemoryMap(t *testing.T) {
	r := newRig(t, nil)
	size, key, desc, version := r.put64(scratch, 0), uint64(scratch+8), uint64(scratch+16), uint64(scratch+24)
	r.want(BufferTooSmall, "GetMemoryMap", size, 0, key, desc, version)
	r.want(Success, "GetMemoryMap", size, scratch+0x100, key, desc, version)
	if n := r.get64(size); n != uint64(len(r.regions))*48 || r.get64(desc) != 48 || le.Uint32(r.mem[version:]) != 1 {
		t.Errorf("map of %d bytes with descriptors of %d", n, r.get64(desc))
	}
	if !bytes.Equal(r.mem[scratch+0x100:][:len(r.regions)*48], r.encodeMap()) {
		t.Error("the map that was written is not the map")
	}
	// Only with the key of the last map boot services can be left.
	image := r.newHandle()
	r.images = append(r.images, &loaded{handle: image.id})
	stale := r.get64(key)
	r.want(Success, "AllocatePages", 0, uint64(LoaderData), 1, scratch+0x80)
	r.want(InvalidParameter, "ExitBootServices", image.id, stale)
	r.put64(size, 0x4000)
	r.want(Success, "GetMemoryMap", size, scratch+0x100, key, desc, version)
	r.want(InvalidParameter, "ExitBootServices", 5, r.get64(key))
	r.want(Success, "ExitBootServices", image.id, r.get64(key))
	if !r.Exited() {
		t.Error("Exited() = false")
	}
	r.want(Unsupported, "AllocatePages", 0, uint64(LoaderData), 1, scratch+0x80)
	r.put64(size, 0)
	r.want(NotFound, "GetVariable", r.put(scratch+0x40, utf16z("x")), scratch+0x60, 0, size, 0)
}

func TestPool(t *testing.T) {
	r := newRig(t, nil)
	seen := map[uint64]uint64{}
	for i, size := range []uint64{0, 1, 16, 17, 100, 2048, 2049, 5000, 100, 100, 64} {
		at := uint64(scratch + 8*i)
		r.want(Success, "AllocatePool", uint64(LoaderData), size, at)
		p := r.get64(at)
		for q, n := range seen {
			if p < q+n && q < p+size {
				t.Errorf("piece %#x+%#x lies over %#x+%#x", p, size, q, n)
			}
		}
		seen[p] = size
		if p%16 != 0 {
			t.Errorf("piece at %#x is not aligned", p)
		}
	}
	for p := range seen {
		r.want(InvalidParameter, "FreePool", p+8)
		r.want(Success, "FreePool", p)
		r.want(InvalidParameter, "FreePool", p)
	}
	r.want(OutOfResources, "AllocatePool", uint64(LoaderData), 1<<50, scratch)
	r.want(OutOfResources, "AllocatePool", uint64(LoaderData), rigSize, scratch)
	r.want(InvalidParameter, "AllocatePool", uint64(Conventional), 8, scratch)
	r.want(InvalidParameter, "AllocatePool", uint64(LoaderData), 8, r.slots)
	r.sane()
}

func TestProtocols(t *testing.T) {
	r := newRig(t, nil)
	g1 := r.putGUID(scratch, GUID{1})
	g2 := r.putGUID(scratch+16, GUID{2})
	h := r.put64(scratch+32, 0)
	out := uint64(scratch + 40)
	r.want(Success, "InstallMultipleProtocolInterfaces", h, g1, 0x1111, g2, 0x2222, 0)
	id := r.get64(h)
	r.want(Success, "HandleProtocol", id, g2, out)
	if got := r.get64(out); got != 0x2222 {
		t.Errorf("HandleProtocol() gave %#x", got)
	}
	r.want(InvalidParameter, "InstallProtocolInterface", h, g1, 0, 0x3333)
	r.want(Unsupported, "OpenProtocol", id, r.putGUID(scratch+64, GUID{3}), out, 0, 0, 2)
	r.want(Success, "LocateProtocol", g1, 0, out)
	r.want(NotFound, "LocateProtocol", scratch+64, 0, out)
	if got := r.get64(out); got != 0 {
		t.Errorf("LocateProtocol(unknown) gave %#x", got)
	}
	r.want(Success, "LocateHandleBuffer", 2, g1, 0, scratch+72, out)
	if n, buf := r.get64(scratch+72), r.get64(out); n != 1 || r.get64(buf) != id {
		t.Errorf("LocateHandleBuffer() gave %d handles", n)
	}
	size := r.put64(scratch+80, 4)
	r.want(BufferTooSmall, "LocateHandle", 2, g1, 0, size, scratch+96)
	r.want(Success, "LocateHandle", 2, g1, 0, size, scratch+96)
	r.want(NotFound, "LocateHandle", 2, scratch+64, 0, size, scratch+96)
	r.want(Success, "ProtocolsPerHandle", id, out, scratch+72)
	if buf := r.get64(out); r.get64(scratch+72) != 2 || r.mem[r.get64(buf+8)] != 2 {
		t.Error("ProtocolsPerHandle() gave other protocols")
	}
	r.want(Success, "ReinstallProtocolInterface", id, g1, 0x1111, 0x4444)
	r.want(InvalidParameter, "UninstallMultipleProtocolInterfaces", id, g1, 0x1111, g2, 0x2222, 0)
	r.want(Success, "UninstallMultipleProtocolInterfaces", id, g1, 0x4444, g2, 0x2222, 0)
	r.want(InvalidParameter, "HandleProtocol", id, g1, out)
	// All or nothing.
	r.put64(h, 0)
	r.want(InvalidParameter, "InstallMultipleProtocolInterfaces", h, g1, 1, g1, 2, 0)
	r.want(NotFound, "LocateProtocol", g1, 0, out)
	// A list without an end.
	long := []uint64{h}
	for range 100 {
		long = append(long, g1, 1)
	}
	r.want(InvalidParameter, "InstallMultipleProtocolInterfaces", long...)
	// More handles than there may be.
	n := 0
	for ; r.do("InstallProtocolInterface", r.put64(h, 0), g1, 0, 1) == Success; n++ {
	}
	if n < 100 || n > maxHandles {
		t.Errorf("%d handles could be made", n)
	}
	r.sane()
}

func TestConfigurationTables(t *testing.T) {
	r := newRig(t, nil)
	n := len(r.tables)
	g := r.putGUID(scratch, GUID{7})
	r.want(NotFound, "InstallConfigurationTable", g, 0)
	r.want(Success, "InstallConfigurationTable", g, 0x1234)
	r.want(Success, "InstallConfigurationTable", g, 0x5678)
	if r.Tables()[GUID{7}] != 0x5678 || r.get64(r.systemTable+104) != uint64(n+1) || r.get64(r.tablesAt+uint64(n)*24+16) != 0x5678 {
		t.Error("table is not where it should be")
	}
	r.want(Success, "InstallConfigurationTable", g, 0)
	for i := range maxTables + 1 {
		r.putGUID(scratch, GUID{8, byte(i)})
		r.do("InstallConfigurationTable", g, 1)
	}
	if len(r.tables) != maxTables {
		t.Errorf("%d tables", len(r.tables))
	}
}

func TestVariables(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Variables = []Variable{{"SecureBoot", guidGlobal(), 6, []byte{1}}, {"Lang", guidGlobal(), 7, []byte("en")}}
	})
	name, vendor, size, buf := r.put(scratch, utf16z("SecureBoot")), r.putGUID(scratch+0x40, guidGlobal()), uint64(scratch+0x50), uint64(scratch+0x60)
	r.put64(size, 0)
	r.want(BufferTooSmall, "GetVariable", name, vendor, scratch+0x58, size, buf)
	r.want(Success, "GetVariable", name, vendor, scratch+0x58, size, buf)
	if r.get64(size) != 1 || r.mem[buf] != 1 || le.Uint32(r.mem[scratch+0x58:]) != 6 {
		t.Error("GetVariable() gave other data")
	}
	r.want(WriteProtected, "SetVariable", name, vendor, 6, 1, buf)
	r.put(name, utf16z("db"))
	r.want(WriteProtected, "SetVariable", name, vendor, 6, 1, buf)
	r.put(name, utf16z("Mine"))
	r.want(NotFound, "SetVariable", name, vendor, 6, 0, 0)
	r.want(Success, "SetVariable", name, vendor, 6, 1, buf)
	r.want(Success, "SetVariable", name, vendor, 0x46, 1, buf)
	r.put64(size, 100)
	r.want(Success, "GetVariable", name, vendor, 0, size, buf)
	if r.get64(size) != 2 {
		t.Errorf("appended variable has %d bytes, want 2", r.get64(size))
	}
	r.want(SecurityViolation, "SetVariable", name, vendor, 0x27, 1, buf)
	r.want(OutOfResources, "SetVariable", name, vendor, 6, 1<<40, buf)
	r.want(InvalidParameter, "SetVariable", name, vendor, 4, 1, buf)
	r.want(InvalidParameter, "SetVariable", name, vendor, 6, 1, 0)
	r.want(Success, "SetVariable", name, vendor, 6, 0, 0)
	if w := r.Written(); len(w) != 1 || w[0].Name != "Mine" || w[0].Data != nil {
		t.Errorf("Written() = %v", w)
	}
	// One after the other.
	r.put(name, utf16z(""))
	var names []string
	for {
		r.put64(size, 0x40)
		if s := r.do("GetNextVariableName", size, name, vendor); s != Success {
			if s != NotFound {
				t.Errorf("GetNextVariableName() = %v", s)
			}
			break
		}
		n, err := r.text(name, 100)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	if strings.Join(names, " ") != "SecureBoot Lang" {
		t.Errorf("names = %q", names)
	}
	// A store that is full.
	n := 0
	for ; n < 1000; n++ {
		r.put(name, utf16z("v"+strings.Repeat("x", n%20)+string(rune('a'+n%26))))
		if r.do("SetVariable", name, vendor, 6, maxVariable, scratch) != Success {
			break
		}
	}
	if n > maxVariables/maxVariable {
		t.Errorf("%d variables of %d bytes fit", n, maxVariable)
	}
	r.sane()
}

func TestInitrd(t *testing.T) {
	r := newRig(t, nil)
	path := r.put(scratch, append(append(vendorMedia(guidInitrdMedia()), fileNode("rest")...), endPath()...))
	g, at, dev := r.putGUID(scratch+0x80, guidLoadFile2()), r.put64(scratch+0x90, path), uint64(scratch+0x98)
	r.want(Success, "LocateDevicePath", g, at, dev)
	if r.get64(at) != path+20 {
		t.Errorf("path goes on at %#x, want %#x", r.get64(at), path+20)
	}
	r.want(Success, "HandleProtocol", r.get64(dev), g, at)
	// What old kernels leave in the size with no buffer (5.10).
	size := r.put64(scratch+0xa0, 0x4141414141414141)
	r.want(BufferTooSmall, "LoadFile2.LoadFile", r.get64(at), path, 0, size, 0)
	if n := r.get64(size); n != 14 {
		t.Errorf("size = %d, want 14", n)
	}
	r.want(Success, "LoadFile2.LoadFile", r.get64(at), path, 0, size, scratch+0x100)
	if got := string(r.mem[scratch+0x100:][:14]); got != "first\x00\x00\x00second" {
		t.Errorf("initrd = %q", got)
	}
	r.want(Unsupported, "LoadFile2.LoadFile", r.get64(at), path, 1, size, scratch+0x100)
	r.want(InvalidParameter, "LoadFile2.LoadFile", r.get64(at), path, 0, size, rigStart+rigSize-4)
	r.want(InvalidParameter, "LoadFile2.LoadFile", r.get64(at), path, 0, size, r.slots)
	// Paths that do not end, or are none.
	for _, bad := range [][]byte{{4, 3, 0, 0}, {4, 3, 2, 0}, bytes.Repeat([]byte{1, 1, 4, 0}, 2000), {4, 4, 0xff, 0xff}} {
		r.put64(at, r.put(scratch+0x1000, bad))
		r.want(InvalidParameter, "LocateDevicePath", g, at, dev)
	}
	none := newRig(t, func(c *Config) { c.Initrds = nil })
	none.put(scratch, r.mem[scratch:scratch+0x200])
	none.put64(at, path)
	none.want(NotFound, "LocateDevicePath", g, at, dev)
}

func TestFiles(t *testing.T) {
	r := newRig(t, nil)
	out, name, size, buf := uint64(scratch), uint64(scratch+0x10), uint64(scratch+0x200), uint64(scratch+0x300)
	g := r.putGUID(scratch+0x240, guidSimpleFileSystem())
	r.want(Success, "LocateProtocol", g, 0, out)
	r.want(Success, "SimpleFileSystem.OpenVolume", r.get64(out), out)
	root := r.get64(out)
	open := func(from uint64, path string) (uint64, Status) {
		s := r.do("File.Open", from, out, r.put(name, utf16z(path)), 1, 0)
		return r.get64(out), s
	}
	dir, s := open(root, `\LOADER`)
	if s != Success {
		t.Fatalf("Open(LOADER) = %v", s)
	}
	f, s := open(dir, "X.CONF")
	if s != Success {
		t.Fatalf("Open(X.CONF) = %v", s)
	}
	r.put64(size, 4)
	r.want(Success, "File.Read", f, size, buf)
	r.want(Success, "File.SetPosition", f, 8)
	r.want(Success, "File.Read", f, size, buf+4)
	if got := string(r.mem[buf : buf+6]); got != "012389" || r.get64(size) != 2 {
		t.Errorf("read %q, %d", got, r.get64(size))
	}
	r.put64(size, 4)
	r.want(Success, "File.Read", f, size, buf)
	if r.get64(size) != 0 {
		t.Errorf("read %d bytes at the end", r.get64(size))
	}
	r.want(Success, "File.SetPosition", f, 100)
	r.want(DeviceError, "File.Read", f, size, buf)
	info := r.putGUID(scratch+0x250, guidFileInfo())
	r.put64(size, 0)
	r.want(BufferTooSmall, "File.GetInfo", f, info, size, buf)
	r.want(Success, "File.GetInfo", f, info, size, buf)
	if n := r.get64(buf + 8); n != 10 {
		t.Errorf("file has %d bytes, want 10", n)
	}
	// The directory, one entry a time.
	r.put64(size, 0x200)
	r.want(Success, "File.Read", dir, size, buf)
	if got, err := r.text(buf+80, 100); err != nil || got != "x.conf" {
		t.Errorf("entry %q, %v", got, err)
	}
	r.put64(size, 0x200)
	r.want(Success, "File.Read", dir, size, buf)
	if r.get64(size) != 0 {
		t.Error("directory goes on")
	}
	for path, want := range map[string]Status{`..\..\etc\passwd`: NotFound, "none": NotFound, `\`: Success, ".": Success, `..\EFI\LINUX\A.efi`: Success} {
		if _, s := open(dir, path); s != want {
			t.Errorf("Open(%q) = %v, want %v", path, s, want)
		}
	}
	r.want(WriteProtected, "File.Open", root, out, r.put(name, utf16z("new")), 1<<63|3, 0)
	r.want(WriteProtected, "File.Write", f, size, buf)
	r.want(Status(2), "File.Delete", f)
	r.want(InvalidParameter, "File.Read", f, size, buf)
	n := 0
	for ; n < 1000; n++ {
		if _, s := open(root, "."); s != Success {
			break
		}
	}
	if n > maxOpen {
		t.Errorf("%d files open", n)
	}
	r.sane()

	no := newRig(t, func(c *Config) { c.VerifyFile = nil })
	no.want(Success, "SimpleFileSystem.OpenVolume", 0, out)
	no.want(Success, "File.Open", no.get64(out), out, no.put(name, utf16z(`loader\x.conf`)), 1, 0)
	no.put64(size, 10)
	no.want(AccessDenied, "File.Read", no.get64(out), size, buf)
}

// tiny is a PE image of one page of code.
func tiny(machine uint16, entry uint32) []byte {
	b := make([]byte, 0x400)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	h := b[0x44:]
	le.PutUint16(h, machine)
	le.PutUint16(h[2:], 1)
	le.PutUint16(h[16:], 112+16*8)
	o := h[20:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[16:], entry)
	le.PutUint32(o[32:], 0x1000)
	le.PutUint32(o[36:], 0x200)
	le.PutUint32(o[56:], 0x2000)
	le.PutUint32(o[60:], 0x200)
	le.PutUint16(o[68:], 10)
	le.PutUint32(o[108:], 16)
	s := o[112+16*8:]
	copy(s, ".text")
	le.PutUint32(s[8:], 0x100)
	le.PutUint32(s[12:], 0x1000)
	le.PutUint32(s[16:], 0x200)
	le.PutUint32(s[20:], 0x200)
	le.PutUint32(s[36:], 0x60000020)
	copy(b[0x200:], "code")
	return b
}

func TestImages(t *testing.T) {
	verdict := error(nil)
	r := newRig(t, func(c *Config) {
		c.Verify = func([]byte) error { return verdict }
		c.LoadOptions = "x y"
		c.Dir = fstest.MapFS{"addon.efi": {Data: tiny(0x8664, 0x1000)}, "big": {Data: bytes.Repeat([]byte{1}, 100)}}
	})
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	first := r.images[0]
	if e := r.cpu.entered; e[0] != first.base+0x1000 || e[2] != r.slots || e[3] != first.handle || e[4] != r.systemTable {
		t.Errorf("entered %#x", e)
	}
	if !r.plat.code[first.base] || string(r.mem[first.base+0x1000:][:4]) != "code" {
		t.Error("image is not in memory")
	}
	li := r.mem[first.proto:]
	if n, at := le.Uint32(li[48:]), le.Uint64(li[56:]); n != 8 {
		t.Errorf("load options of %d bytes", n)
	} else if s, err := r.text(at, 100); err != nil || s != "x y" {
		t.Errorf("load options = %q, %v", s, err)
	}
	src := r.put(scratch+0x10000, tiny(0x8664, 0x1000))
	out := uint64(scratch)
	r.want(Success, "LoadImage", 0, first.handle, 0, src, 0x400, out)
	child := r.get64(out)
	// Started: it runs on the stack of its parent until it ends.
	r.cpu.args = []uint64{child, scratch + 8, scratch + 16}
	start := func(name string) {
		t.Helper()
		for i, s := range r.services {
			if s.name == name {
				if err := r.Call(r.slots + uint64(i)*slotSize); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	start("StartImage")
	if r.cpu.entered[3] != child || len(r.frames) != 2 {
		t.Errorf("StartImage entered %#x", r.cpu.entered)
	}
	r.want(Unsupported, "UnloadImage", child)
	r.cpu.args = []uint64{child, uint64(Aborted), 0, 0}
	start("Exit")
	if Status(r.cpu.ret) != Aborted || len(r.frames) != 1 || len(r.images) != 1 {
		t.Errorf("after Exit: %v, %d frames, %d images", Status(r.cpu.ret), len(r.frames), len(r.images))
	}
	// From a file: only what Verify allows.
	path := r.put(scratch+0x400, append(append(vendorMedia(guidPeel()), fileNode("addon.efi")...), endPath()...))
	r.want(Success, "LoadImage", 0, first.handle, path, 0, 0, out)
	r.want(Success, "UnloadImage", r.get64(out))
	verdict = errors.New("no")
	r.want(AccessDenied, "LoadImage", 0, first.handle, path, 0, 0, out)
	r.want(Success, "LoadImage", 0, first.handle, 0, src, 0x400, out)
	// What may come out of a file that the guest has read is verified too.
	r.want(Success, "SimpleFileSystem.OpenVolume", 0, out)
	r.want(Success, "File.Open", r.get64(out), out, r.put(scratch+0x600, utf16z("big")), 1, 0)
	r.put64(scratch+0x700, 10)
	r.want(Success, "File.Read", r.get64(out), scratch+0x700, scratch+0x800)
	r.want(Success, "LoadImage", 0, first.handle, 0, src, 0x400, out) // a copy of the first image
	other := tiny(0x8664, 0x1000)
	other[0x300] = 1
	r.put(src, other)
	r.want(AccessDenied, "LoadImage", 0, first.handle, 0, src, 0x400, out)
	verdict = nil
	// What is no image.
	for name, b := range map[string][]byte{"text": []byte("no image"), "arm64": tiny(0xaa64, 0x1000), "no entry": tiny(0x8664, 0), "entry outside": tiny(0x8664, 0x2000)} {
		r.put(src, b)
		if s := r.do("LoadImage", 0, first.handle, 0, src, uint64(len(b)), out); s != LoadError {
			t.Errorf("LoadImage(%s) = %v, want %v", name, s, LoadError)
		}
	}
	r.want(InvalidParameter, "LoadImage", 0, first.handle, 0, src, 1<<40, out)
	r.want(InvalidParameter, "LoadImage", 0, 77, 0, src, 0x400, out)
	// The first image ends.
	r.cpu.ret = uint64(LoadError)
	start("return of an image")
	if s, ended := r.Ended(); !ended || s != LoadError {
		t.Errorf("Ended() = %v, %v", s, ended)
	}
}

func TestRelocations(t *testing.T) {
	b := tiny(0x8664, 0x1000)
	o := b[0x58:]
	le.PutUint64(o[24:], 0x400000) // ImageBase
	le.PutUint32(o[112+5*8:], 0x1040)
	le.PutUint32(o[112+5*8+4:], 12)
	le.PutUint64(b[0x208:], 0x401000)
	le.PutUint32(b[0x240:], 0x1000) // page
	le.PutUint32(b[0x244:], 12)
	le.PutUint16(b[0x248:], 10<<12|8)
	r := newRig(t, nil)
	img, err := r.load(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.get64(img.base + 0x1008); got != img.base+0x1000 {
		t.Errorf("relocated to %#x, want %#x", got, img.base+0x1000)
	}
	for name, change := range map[string]func([]byte){
		"block too small":  func(b []byte) { le.PutUint32(b[0x244:], 4) },
		"block too large":  func(b []byte) { le.PutUint32(b[0x244:], 400) },
		"unknown type":     func(b []byte) { le.PutUint16(b[0x248:], 7<<12) },
		"address outside":  func(b []byte) { le.PutUint32(b[0x240:], 0xfffffff0) },
		"end of the image": func(b []byte) { le.PutUint32(b[0x240:], 0x1ff8) },
	} {
		bad := bytes.Clone(b)
		change(bad)
		free := len(r.regions)
		if _, err := r.load(bad); !errors.Is(err, ErrImage) {
			t.Errorf("load(%s) = %v, want %v", name, err, ErrImage)
		}
		if len(r.regions) != free {
			t.Errorf("load(%s) left memory behind", name)
		}
	}
	r.sane()
}

func TestEvents(t *testing.T) {
	r := newRig(t, nil)
	ev, out := uint64(scratch), uint64(scratch+8)
	r.want(Success, "CreateEvent", 0x80000000, 4, 0, 0, ev)
	id := r.get64(ev)
	r.want(NotReady, "CheckEvent", id)
	r.want(Unsupported, "WaitForEvent", 1, ev, out)
	r.want(Success, "SetTimer", id, 2, 1000)
	r.want(Success, "WaitForEvent", 1, ev, out)
	r.want(NotReady, "CheckEvent", id)
	r.want(Success, "SignalEvent", id)
	r.want(Success, "CheckEvent", id)
	r.want(Success, "CloseEvent", id)
	r.want(InvalidParameter, "CheckEvent", id)
	r.want(InvalidParameter, "WaitForEvent", 1<<60, ev, out)
	n := 0
	for ; r.do("CreateEventEx", 0, 0, 0, 0, 0, ev) == Success; n++ {
	}
	if n > maxEvents {
		t.Errorf("%d events", n)
	}
}

func TestRandomAndTime(t *testing.T) {
	r := newRig(t, nil)
	r.want(Success, "RNG.GetRNG", 0, 0, 32, scratch)
	if !bytes.Equal(r.mem[scratch:scratch+32], bytes.Repeat([]byte{0xa5}, 32)) {
		t.Error("GetRNG() gave other bytes")
	}
	r.want(Unsupported, "RNG.GetRNG", 0, scratch, 32, scratch)
	r.want(InvalidParameter, "RNG.GetRNG", 0, 0, 1<<40, scratch)
	r.want(InvalidParameter, "RNG.GetRNG", 0, 0, 32, r.slots)
	r.want(DeviceError, "RNG.GetRNG", 0, 0, 1<<20-1, rigStart+0x300000)
	r.want(DeviceError, "RNG.GetRNG", 0, 0, 1<<20, rigStart+0x300000)
	r.want(Success, "GetTime", scratch, 0)
	if y := le.Uint16(r.mem[scratch:]); y < 2024 || y > 9999 {
		t.Errorf("year %d", y)
	}
}

func TestConsole(t *testing.T) {
	r := newRig(t, nil)
	r.want(Success, "ConOut.OutputString", 0, r.put(scratch, utf16z("EFI stub: ä")))
	if r.Console() != "EFI stub: ä" {
		t.Errorf("Console() = %q", r.Console())
	}
	// A string that does not end.
	for i := scratch; i < scratch+0x80000; i++ {
		r.mem[i] = 'x'
	}
	r.want(InvalidParameter, "ConOut.OutputString", 0, scratch)
	le.PutUint16(r.mem[scratch+0xf000:], 0)
	for range 500 {
		r.want(Success, "ConOut.OutputString", 0, scratch)
	}
	r.sane()
}

func TestStallForEver(t *testing.T) {
	r := newRig(t, nil)
	slot := uint64(0)
	for i, s := range r.services {
		if s.name == "Stall" {
			slot = r.slots + uint64(i)*slotSize
		}
	}
	r.cpu.args = []uint64{60e6}
	for i := range 3 {
		if err := r.Call(slot); errors.Is(err, ErrHalted) != (i == 2) {
			t.Errorf("Stall(60 s), time %d = %v", i+1, err)
		}
	}
	if err := r.Call(scratch); !errors.Is(err, ErrCall) {
		t.Errorf("Call(of nothing) = %v, want %v", err, ErrCall)
	}
}

func TestAttributes(t *testing.T) {
	r := newRig(t, nil)
	r.want(Success, "MemoryAttribute.Set", 0, scratch, 0x2000, 0x4000)
	r.want(Success, "MemoryAttribute.Get", 0, scratch, 0x2000, scratch)
	if r.get64(scratch) != 0x4000 {
		t.Errorf("attributes = %#x", r.get64(scratch))
	}
	r.want(Success, "MemoryAttribute.Clear", 0, scratch, 0x1000, 0x4000)
	r.want(NoMapping, "MemoryAttribute.Get", 0, scratch, 0x2000, scratch)
	r.want(Success, "MemoryAttribute.Set", 0, scratch, 0x4000, 0x20000)
	for i, want := range []uint64{0x20000, 0x24000, 0x20000, 0x20000, 0} {
		r.want(Success, "MemoryAttribute.Get", 0, scratch+0x1000*uint64(i), 0x1000, scratch)
		if got := r.get64(scratch); got != want {
			t.Errorf("attributes of page %d = %#x, want %#x", i, got, want)
		}
	}
	r.want(Success, "MemoryAttribute.Clear", 0, scratch-0x1000, 0x8000, 0x26000)
	if len(r.attributes) != 0 {
		t.Errorf("attributes %v are left", r.attributes)
	}
	r.want(InvalidParameter, "MemoryAttribute.Set", 0, scratch, 0x1000, 1)
	r.want(InvalidParameter, "MemoryAttribute.Set", 0, scratch+1, 0x1000, 0x4000)
	r.want(InvalidParameter, "MemoryAttribute.Set", 0, 0, ^uint64(0xfff), 0x4000)
}

func TestRunnableCode(t *testing.T) {
	r := newRig(t, nil)
	at := uint64(scratch)
	r.want(Success, "AllocatePages", 0, uint64(LoaderCode), 4, at)
	code := r.get64(at)
	r.want(Success, "AllocatePages", 0, uint64(LoaderData), 4, at)
	if ok, err := r.RunnableCode(code + 0x1234); !ok || err != nil || !r.plat.code[code] || !r.plat.code[code+0x3000] {
		t.Errorf("RunnableCode(LoaderCode) = %v, %v", ok, err)
	}
	if ok, _ := r.RunnableCode(code + 0x1234); ok {
		t.Error("RunnableCode(what is code already) = true: it would fault for ever")
	}
	if ok, _ := r.RunnableCode(r.get64(at)); ok {
		t.Error("RunnableCode(LoaderData) = true")
	}
	// Aligned memory is had by allocating more and freeing both ends.
	r.want(Success, "FreePages", code, 1)
	r.want(Success, "FreePages", code+3*pageSize, 1)
	if r.plat.code[code] || !r.plat.code[code+pageSize] || r.plat.code[code+3*pageSize] {
		t.Error("other pages than the freed ones changed")
	}
	r.want(Success, "AllocatePages", 0, uint64(LoaderCode), 8, at)
	more := r.get64(at)
	r.want(Success, "FreePages", more, 2)
	if ok, _ := r.RunnableCode(more + 4*pageSize); !ok {
		t.Error("RunnableCode(rest of an allocation) = false")
	}
	r.want(Success, "FreePages", code+pageSize, 2)
	if r.plat.code[code] {
		t.Error("freed code is still executable")
	}
	r.exited = true
	if ok, _ := r.RunnableCode(code); ok {
		t.Error("RunnableCode(after ExitBootServices) = true")
	}
}

func TestArchitectures(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Arch = image.ArchARM64 })
	if le.Uint32(r.mem[r.slots:]) != 0xd4200020 || le.Uint32(r.mem[r.slots+4:]) != 0xd65f03c0 {
		t.Error("slots do not hold brk and ret")
	}
	p := &fakePlatform{mem: make([]byte, rigStart+rigSize), cpu: &fakeCPU{}, code: map[uint64]bool{}}
	if _, err := New(p, Config{Arch: image.ArchRISCV64, Regions: []Region{{rigStart, rigSize, Conventional, 0}}}); !errors.Is(err, ErrImage) {
		t.Errorf("New(riscv64) = %v, want %v", err, ErrImage)
	}
	for _, bad := range [][]Region{nil, {{0, 1, Conventional, 0}}, {{rigStart, 0x2000, Conventional, 0}}, {{rigStart, rigSize * 2, Conventional, 0}}} {
		if _, err := New(p, Config{Arch: image.ArchX86_64, Regions: bad}); !errors.Is(err, ErrMemory) {
			t.Errorf("New(%v) = %v, want %v", bad, err, ErrMemory)
		}
	}
}

// TestAttributesOfAllMemory: a guest of terabytes had one entry a page kept
// for it.
func TestAttributesOfAllMemory(t *testing.T) {
	r := newRig(t, nil)
	r.want(Success, "MemoryAttribute.Set", 0, rigStart, rigSize, 0x4000)
	if len(r.attributes) != 1 {
		t.Errorf("%d entries for one range", len(r.attributes))
	}
	last := Success
	for at := uint64(rigStart); at < rigStart+rigSize; at += 0x2000 {
		last = r.do("MemoryAttribute.Clear", 0, at, 0x1000, 0x4000)
	}
	if last != Success || len(r.attributes) != rigSize/0x2000 {
		t.Errorf("Clear() = %v, %d entries, want %d", last, len(r.attributes), rigSize/0x2000)
	}
	r.sane()
}
