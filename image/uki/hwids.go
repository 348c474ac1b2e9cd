// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Types of HWID.
const (
	HWIDDeviceTree = 1
	HWIDFirmware   = 2
)

// maxHWIDs bounds the entries of one .hwids section.
const maxHWIDs = 65536

// HWID is an entry of .hwids: it binds a computer hardware ID to a device
// tree or a firmware image.
type HWID struct {
	// Type is HWIDDeviceTree or HWIDFirmware.
	Type int
	// CHID is the identifier in the byte order of EFI_GUID.
	CHID [16]byte
	// Name is the name of the machine for people, may be empty.
	Name string
	// Compatible is the device tree's first "compatible" string, or the
	// firmware's ID.
	Compatible string
}

// String returns the CHID in the usual text form.
func (h HWID) String() string {
	c := h.CHID
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(c[0:]), le.Uint16(c[4:]), le.Uint16(c[6:]), c[8:10], c[10:])
}

// ParseHWIDs decodes the contents of a .hwids section (src/boot/chid.h of
// systemd): entries of 28 bytes, little endian: u32 descriptor (type in the
// upper four bits, size below), 16 bytes CHID, u32 offset of the name, u32
// offset of the compatible string, both from the start of the section; ended
// by an entry with descriptor 0. Entries of an unknown type are passed over.
func ParseHWIDs(b []byte) ([]HWID, error) {
	const size = 28
	var list []HWID
	for at := 0; ; {
		if len(b)-at < 4 {
			return nil, fmt.Errorf("%w: no final entry in 0x%x bytes", ErrHWIDs, len(b))
		}
		d := binary.LittleEndian.Uint32(b[at:])
		if d == 0 {
			return list, nil
		}
		kind, n := int(d>>28), int(d&0x0fffffff)
		if n < 4 || n > len(b)-at || kind <= HWIDFirmware && n != size {
			return nil, fmt.Errorf("%w: entry of type %d and 0x%x bytes at 0x%x of 0x%x", ErrHWIDs, kind, n, at, len(b))
		}
		e := b[at : at+n]
		at += n
		if kind != HWIDDeviceTree && kind != HWIDFirmware {
			continue
		}
		if len(list) == maxHWIDs {
			return nil, fmt.Errorf("%w: more than %d entries", ErrHWIDs, maxHWIDs)
		}
		h := HWID{Type: kind, CHID: [16]byte(e[4:20])}
		var ok1, ok2 bool
		h.Name, ok1 = stringAt(b, binary.LittleEndian.Uint32(e[20:]))
		h.Compatible, ok2 = stringAt(b, binary.LittleEndian.Uint32(e[24:]))
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("%w: entry before 0x%x names strings outside of 0x%x bytes", ErrHWIDs, at, len(b))
		}
		list = append(list, h)
	}
}

// stringAt returns the NUL-terminated string at off; offset 0 is no string.
func stringAt(b []byte, off uint32) (string, bool) {
	if off == 0 {
		return "", true
	}
	if uint64(off) >= uint64(len(b)) {
		return "", false
	}
	const most = 256
	tail := b[off:]
	end := bytes.IndexByte(tail[:min(len(tail), most)], 0)
	if end < 0 {
		return "", false
	}
	return string(tail[:end]), true
}
