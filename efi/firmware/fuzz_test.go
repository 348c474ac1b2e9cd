// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/peelboot/peel/measure/eventlog"
)

// FuzzServices lets a random guest call services: each call is the number of
// a service and arguments, of which some are made to hit: addresses of the
// guest's memory, of firmware's, and handles that exist.
func FuzzServices(f *testing.F) {
	call := func(service byte, args ...uint16) []byte {
		b := []byte{service, byte(len(args))}
		for _, a := range args {
			b = binary.LittleEndian.AppendUint16(b, a)
		}
		return b
	}
	f.Add(call(1, 0x0000, 0x0002, 0x0003, 0x4000))
	f.Add(append(call(4, 0x0002, 0x0100, 0x4000), call(5, 0x6000)...))
	f.Add(append(call(13, 0x4000, 0x4010, 0x0000, 0x4020), call(17, 0x0000, 0x4010, 0, 0x4030, 0x4040)...))
	f.Add(call(20, 0, 0x8005, 0, 0x4800, 0x0400, 0x4000))
	for i := range byte(200) {
		f.Add(call(i, 0x4000, 0x4100, 0x4200, 0x4300, 0x4400, 0x4500))
		f.Add(call(i, 0x8001, 0xc001, 0x4200, 0x4300, 0x4400, 0x4500))
	}
	// Events of the end: created, signalled, boot services left.
	for _, n := range []byte{7, 8} {
		for _, kind := range []uint16{0xf000, 0xf001, 0xf002} {
			seed := append(call(n, kind, 8, 0x4000, 0x4100, 0x4000, 0x4000), call(n, kind, 8, 0x4000, 0x4100, 0x4150, 0x4000)...)
			seed = append(append(seed, call(11, 0xf005)...), call(13, 0xf005)...)
			seed = append(append(seed, call(26, 0x9000, 0xb000)...), append(call(1), call(1)...)...)
			f.Add(seed)
		}
	}
	f.Add(append(call(18, 0x4100, 0xf005, 0x4000), call(14, 0x4010, 0x4100, 0, 0x4020)...))
	// Measurements of a few bytes and of an image, then the logs.
	for i, s := range allServices() {
		switch s.name {
		case "TCG2.HashLogExtendEvent", "CC.HashLogExtendEvent":
			for _, flags := range []uint16{0, 1, 0x10} {
				seed := call(byte(i), 0x4000, flags, 0x4800, 0x0400, 0x4c00)
				f.Add(append(append(seed, call(byte(i-1), 0x4000, 2, 0x4010, 0x4020, 0x4030)...), seed...))
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newRig(t, func(c *Config) {
			c.Measure = &Measuring{Banks: eventlog.Banks(), CC: CCTDX}
			c.SMBIOS = SMBIOS{Entry: entry30(), Structures: smbiosTable()}
			c.ACPI, c.Arguments = acpiTables(244), []string{"image.efi", "quiet"}
			c.Fixup = func(b []byte, apply, _ bool) ([]byte, error) {
				if apply {
					return append(b, make([]byte, 64)...), nil
				}
				return nil, ErrTable
			}
		})
		if err := r.Start(tiny(0x8664, 0x1000)); err != nil {
			t.Fatal(err)
		}
		copy(r.mem[scratch+0x800:], tiny(0x8664, 0x1000))
		r.putEvent(scratch+0xc00, 3, eventlog.IPL, "event")
		for i, g := range []GUID{guidLoadedImage(), guidDevicePath(), guidLoadFile2(), guidSimpleFileSystem(), guidFileInfo(),
			guidExitBootServices(), guidBeforeExitBootServices(), guidShellParameters(), guidSMBIOSProtocol()} {
			r.putGUID(scratch+0x100+uint64(i)*16, g)
		}
		for n := 0; len(in) >= 2 && n < 64; n++ {
			service, count := int(in[0])%len(r.services), int(in[1])%9
			in = in[2:]
			var args []uint64
			for range count {
				if len(in) < 2 {
					break
				}
				args = append(args, r.argument(binary.LittleEndian.Uint16(in)))
				in = in[2:]
			}
			r.cpu.args = args
			if err := r.Call(r.slots + uint64(service)*slotSize); err != nil {
				if !errors.Is(err, ErrHalted) && !errors.Is(err, ErrReset) && !errors.Is(err, ErrCall) {
					t.Fatalf("%s(%#x) = %v", r.services[service].name, args, err)
				}
				break
			}
			r.sane()
			if _, ended := r.Ended(); ended {
				break
			}
		}
	})
}

// argument makes a value of 16 bits into one that means something.
func (r *rig) argument(v uint16) uint64 {
	low := uint64(v & 0xfff)
	switch v >> 12 {
	case 0:
		return low
	case 1:
		return -low // close to the end of all addresses
	case 2:
		return rigStart + rigSize - low
	case 3:
		return r.slots + low
	case 4, 5:
		return scratch + low
	case 6:
		return le.Uint64(r.mem[scratch+low&^7:]) // what a service has answered
	case 7:
		return low << 12
	case 8:
		if len(r.handles) > 0 {
			return r.handles[int(low)%len(r.handles)].id
		}
	case 9:
		for _, i := range r.images {
			return i.handle
		}
	case 10:
		return r.systemTable + low
	case 11:
		return r.mapKey
	case 12:
		if r.fs != nil {
			for at := range r.fs.open {
				return at
			}
		}
	case 13:
		return rigStart + low<<8
	case 14:
		return low << 52
	case 15: // types of events, what waits for protocols
		switch {
		case low < 4:
			return []uint64{eventNotify, eventNotifyWait, eventExit, eventTimer}[low]
		case low&1 != 0 && len(r.events) > 0:
			return r.events[int(low>>1)%len(r.events)].id
		case len(r.registrations) > 0:
			return r.registrations[int(low>>1)%len(r.registrations)].key
		}
	}
	return low
}
