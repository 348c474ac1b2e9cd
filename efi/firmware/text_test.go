// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func (r *rig) textAt(at uint64) string {
	r.t.Helper()
	if at == 0 {
		return "NULL"
	}
	s, err := r.text(at, 4096)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// protocolAt locates a protocol of firmware's own.
func (r *rig) protocolAt(g GUID) uint64 {
	r.t.Helper()
	r.want(Success, "LocateProtocol", r.putGUID(scratch+0x7f000, g), 0, scratch+0x7f010)
	return r.get64(scratch + 0x7f010)
}

func TestDevicePathText(t *testing.T) {
	r := newRig(t, nil)
	disk := GUID{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	hd := le.AppendUint32(nil, 1)
	hd = le.AppendUint64(le.AppendUint64(hd, 0x800), 0x100000)
	gpt := append(append(bytes.Clone(hd), disk[:]...), 2, 2)
	mbr := append(append(le.AppendUint32(bytes.Clone(hd), 0x1234), make([]byte, 12)...), 1, 1)
	root := node(nodeACPI, acpiDevice, []byte{0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0})
	tests := []struct {
		path []byte
		text string
	}{
		{nil, ""},
		{root, "PciRoot(0x0)"},
		{node(nodeACPI, acpiDevice, []byte{0xd0, 0x41, 0x08, 0x0a, 7, 0, 0, 0}), "PcieRoot(0x7)"},
		{node(nodeACPI, acpiDevice, []byte{0xd0, 0x41, 0x01, 0x05, 1, 0, 0, 0}), "Acpi(0x50141d0,0x1)"},
		{append(bytes.Clone(root), node(nodeHardware, hardwarePCI, []byte{2, 0x1f})...), "PciRoot(0x0)/Pci(0x1f,0x2)"},
		{node(nodeMedia, mediaHardDrive, gpt), "HD(1,GPT,00112233-4455-6677-8899-AABBCCDDEEFF,0x800,0x100000)"},
		{node(nodeMedia, mediaHardDrive, mbr), "HD(1,MBR,0x00001234,0x800,0x100000)"},
		{append(vendorMedia(disk), fileNode("EFI/Linux/a.efi")...), `VenMedia(00112233-4455-6677-8899-AABBCCDDEEFF)/\EFI\Linux\a.efi`},
		{node(nodeHardware, hardwareVendor, append(disk[:], 1, 0xab)), "VenHw(00112233-4455-6677-8899-AABBCCDDEEFF,01AB)"},
		{node(3, 5, []byte{1, 2}), "Path(3,5,0102)"},
		{append(append(bytes.Clone(root), node(nodeEnd, endInstance, nil)...), root...), "PciRoot(0x0),PciRoot(0x0)"},
	}
	for _, tt := range tests {
		path := append(bytes.Clone(tt.path), endPath()...)
		r.do("DevicePathToText.Path", r.put(scratch, path), 0, 0)
		if got := r.textAt(r.cpu.ret); got != tt.text {
			t.Errorf("ConvertDevicePathToText(% x) = %q, want %q", path, got, tt.text)
		}
		r.do("DevicePathFromText.Path", r.put(scratch, utf16z(tt.text)))
		if got, err := r.path(r.cpu.ret); err != nil || !bytes.Equal(got, path) {
			t.Errorf("ConvertTextToDevicePath(%q) = % x, %v, want % x", tt.text, got, err, path)
		}
	}
	r.do("DevicePathToText.Node", r.put(scratch, root), 0, 0)
	if got := r.textAt(r.cpu.ret); got != "PciRoot(0x0)" {
		t.Errorf("ConvertDeviceNodeToText() = %q", got)
	}
	r.do("DevicePathFromText.Node", r.put(scratch, utf16z("Pci(1,2)")))
	if got := r.mem[r.cpu.ret : r.cpu.ret+6]; !bytes.Equal(got, []byte{1, 1, 6, 0, 2, 1}) {
		t.Errorf("ConvertTextToDeviceNode() = % x", got)
	}
	// What is no node is the name of a file, and no text ends a path early.
	for _, s := range []string{"Pci(x)", "HD(1,ABC,2)", "Path(127,255,)", "Nothing(1)", "VenHw(1)", "a(", ")", "((((", "Path(1,1,x)"} {
		b := parsePath(s)
		if got, err := rawPath(b); err != nil || len(got) != len(b) || b[0] != nodeMedia || b[1] != mediaFile {
			t.Errorf("ConvertTextToDevicePath(%q) = % x, %v, want one name of a file", s, b, err)
		}
	}
	for _, bad := range []uint64{0, 1, r.systemTable - 1<<40, ^uint64(0)} {
		for _, name := range []string{"DevicePathToText.Path", "DevicePathToText.Node", "DevicePathFromText.Path", "DevicePathFromText.Node"} {
			if r.do(name, bad, 0, 0); r.cpu.ret != 0 {
				t.Errorf("%s(%#x) = %#x, want NULL", name, bad, r.cpu.ret)
			}
		}
	}
	if p := r.protocolAt(guidDevicePathToText()); !r.ServiceAt(r.get64(p)) || !r.ServiceAt(r.get64(p+8)) {
		t.Error("DevicePathToText is not made of services")
	}
	if p := r.protocolAt(guidDevicePathFromText()); !r.ServiceAt(r.get64(p)) {
		t.Error("DevicePathFromText is not made of services")
	}
	r.sane()
}

// rawPath walks a path outside of guest memory.
func rawPath(b []byte) ([]byte, error) {
	for at := 0; at+nodeHeader <= len(b); {
		n := int(le.Uint16(b[at+2:]))
		if n < nodeHeader || at+n > len(b) {
			break
		}
		if b[at] == nodeEnd && b[at+1] == endEntire {
			return b[:at+n], nil
		}
		at += n
	}
	return nil, errors.New("path has no end")
}

func TestCollation(t *testing.T) {
	r := newRig(t, nil)
	a, b := uint64(scratch), uint64(scratch+0x4000)
	call := func(name, s, p string) uint64 {
		t.Helper()
		r.do(name, 0, r.put(a, utf16z(s)), r.put(b, utf16z(p)))
		return r.cpu.ret
	}
	for _, tt := range []struct {
		s, p string
		want int
	}{{"a", "A", 0}, {"abc", "ABD", -1}, {"b", "A", 1}, {"", "", 0}, {"a", "", 1}, {"\u00e4", "\u00c4", 0}, {"\u03b1", "\u0391", 1}} {
		if got := int64(call("Collation.StriColl", tt.s, tt.p)); got < 0 != (tt.want < 0) || got > 0 != (tt.want > 0) {
			t.Errorf("StriColl(%q, %q) = %d, want %d", tt.s, tt.p, got, tt.want)
		}
	}
	for _, tt := range []struct {
		s, p string
		want uint64
	}{
		{"Image.EFI", "*.efi", 1}, {"Image.EFI", "*.ef", 0}, {"abc", "a?c", 1}, {"abc", "a[b-d]c", 1}, {"abc", "a[x5B]c", 1},
		{"abc", "a[xyz]c", 0}, {"abc", "a[b", 0}, {"", "*", 1}, {"", "?", 0}, {"abcabc", "*abc", 1}, {"aXbXc", "a*b*c", 1}, {"x", "", 0},
		{strings.Repeat("a", 4000), strings.Repeat("*a", 1000) + "b", 0},
	} {
		if got := call("Collation.MetaiMatch", tt.s, tt.p); got != tt.want {
			t.Errorf("MetaiMatch(%.20q, %.20q) = %d, want %d", tt.s, tt.p, got, tt.want)
		}
	}
	call("Collation.StrUpr", "aB\u00e4\u00ff\u03b1", "")
	if got := r.textAt(a); got != "AB\u00c4\u00ff\u03b1" {
		t.Errorf("StrUpr() = %q", got)
	}
	call("Collation.StrLwr", "aB\u00c4", "")
	if got := r.textAt(a); got != "ab\u00e4" {
		t.Errorf("StrLwr() = %q", got)
	}
	r.do("Collation.FatToStr", 0, 8, r.put(a, []byte("A.EFI\x00xx")), b)
	if got := r.textAt(b); got != "A.EFI" {
		t.Errorf("FatToStr() = %q", got)
	}
	r.do("Collation.StrToFat", 0, r.put(a, utf16z("a b+c.\u03b1")), 11, b)
	if got := string(r.mem[b : b+5]); got != "AB_C_" || r.cpu.ret != 1 {
		t.Errorf("StrToFat() = %q, %d", got, r.cpu.ret)
	}
	r.do("Collation.StrToFat", 0, r.put(a, utf16z("abc")), 2, b)
	if got := string(r.mem[b : b+3]); got != "AB_" || r.cpu.ret != 0 {
		t.Errorf("StrToFat(cut) = %q, %d", got, r.cpu.ret)
	}
	// Without an end, and nowhere.
	for i := range uint64(0x4000) {
		r.mem[scratch+i] = 'x'
	}
	for _, name := range unicodeCollation() {
		for _, bad := range []uint64{scratch, 8, ^uint64(0)} {
			if r.do(name, 0, bad, bad, bad); r.cpu.ret != 0 {
				t.Errorf("%s(%#x) = %#x, want 0", name, bad, r.cpu.ret)
			}
		}
	}
	for g, want := range map[GUID]string{guidCollation(): "eng\x00", guidCollation2(): "en\x00"} {
		p := r.protocolAt(g)
		at := r.get64(p + 48)
		if got := string(r.mem[at : at+uint64(len(want))]); got != want {
			t.Errorf("languages of %s = %q, want %q", g.Name(), got, want)
		}
	}
	r.sane()
}

func TestShellParameters(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Arguments = []string{"image.efi", "quiet", "x=\u00e4"} })
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	r.want(Success, "HandleProtocol", r.images[0].handle, r.putGUID(scratch, guidShellParameters()), scratch+16)
	p := r.get64(scratch + 16)
	list, n := r.get64(p), r.get64(p+8)
	if n != 3 || r.get64(list+24) != 0 {
		t.Fatalf("%d arguments, end %#x", n, r.get64(list+24))
	}
	for i, want := range []string{"image.efi", "quiet", "x=\u00e4"} {
		if got := r.textAt(r.get64(list + 8*uint64(i))); got != want {
			t.Errorf("argument %d = %q, want %q", i, got, want)
		}
	}
	r = newRig(t, nil)
	if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
		t.Fatal(err)
	}
	r.want(Unsupported, "HandleProtocol", r.images[0].handle, r.putGUID(scratch, guidShellParameters()), scratch+16)
}

func TestDeviceTreeFixup(t *testing.T) {
	tree := make([]byte, 40)
	binary.BigEndian.PutUint32(tree, 0xd00dfeed)
	binary.BigEndian.PutUint32(tree[4:], 40)
	asked := ""
	r := newRig(t, func(c *Config) {
		c.Fixup = func(b []byte, apply, reserve bool) ([]byte, error) {
			if !bytes.Equal(b, tree) {
				return nil, errors.New("another tree")
			}
			asked = map[bool]string{true: "apply "}[apply] + map[bool]string{true: "reserve"}[reserve]
			return append(bytes.Clone(b), "more"...), nil
		}
	})
	at, size := uint64(scratch+0x1000), uint64(scratch)
	if p := r.protocolAt(guidDTFixup()); r.get64(p) != 0x10000 || !r.ServiceAt(r.get64(p+8)) {
		t.Errorf("protocol is %#x %#x", r.get64(p), r.get64(p+8))
	}
	r.put(at, tree)
	r.want(BufferTooSmall, "DTFixup.Fixup", 0, at, r.put64(size, 40), 3)
	if r.get64(size) != 44 || asked != "apply reserve" {
		t.Errorf("size = %d, asked to %s", r.get64(size), asked)
	}
	r.want(Success, "DTFixup.Fixup", 0, at, r.put64(size, 4096), 1|4)
	if string(r.mem[at+40:at+44]) != "more" || r.Tables()[guidDTBTable()] != at || asked != "apply " {
		t.Errorf("Fixup() left % x, table %#x, asked to %s", r.mem[at+40:at+44], r.Tables()[guidDTBTable()], asked)
	}
	r.want(InvalidParameter, "DTFixup.Fixup", 0, at, r.put64(size, 39), 1)
	r.want(InvalidParameter, "DTFixup.Fixup", 0, at, r.put64(size, 4096), 0)
	r.want(InvalidParameter, "DTFixup.Fixup", 0, at, r.put64(size, 4096), 8)
	r.want(InvalidParameter, "DTFixup.Fixup", 0, scratch+0x2000, size, 1)
	r.want(InvalidParameter, "DTFixup.Fixup", 0, ^uint64(3), size, 1)
	binary.BigEndian.PutUint32(r.mem[at+4:], 0xffffffff)
	r.want(InvalidParameter, "DTFixup.Fixup", 0, at, r.put64(size, ^uint64(0)), 1)
	r.sane()
}
