// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"fmt"
)

// SMBIOS is a machine's SMBIOS: its entry point structure as the firmware
// wrote it, and the structures that it leads to (DMTF DSP0134, section 5.2).
type SMBIOS struct{ Entry, Structures []byte }

// Entry points: offsets and sizes in bytes (DSP0134, sections 5.2.1, 5.2.2).
const (
	smbios21Size    = 31
	smbios21Sum     = 4  // of all bytes
	smbios21DMI     = 16 // "_DMI_", where the inner part begins
	smbios21DMISum  = 21
	smbios21Length  = 22 // 16 bits
	smbios21Address = 24 // 32 bits
	smbios30Size    = 24
	smbios30Sum     = 5
	smbios30Length  = 12 // 32 bits
	smbios30Address = 16 // 64 bits

	maxSMBIOS = 4 << 20
)

// sumTo0 sets the byte at `at` so that all bytes of b add up to 0.
func sumTo0(b []byte, at int) {
	b[at] = 0
	var s byte
	for _, v := range b {
		s += v
	}
	b[at] = -s
}

// addSMBIOS publishes copies of the machine's structures: the addresses in
// its own entry point are not in guest memory. The copies lie in memory that
// is given back when boot services end, so the next kernel never hears of
// them.
func (f *Firmware) addSMBIOS(s *SMBIOS) error {
	g, entry := guidSMBIOS3(), bytes.Clone(s.Entry)
	limit := uint64(maxSMBIOS)
	three := bytes.HasPrefix(entry, []byte("_SM3_")) && len(entry) >= smbios30Size
	switch {
	case three:
		entry = entry[:smbios30Size]
		entry[6] = smbios30Size
	case bytes.HasPrefix(entry, []byte("_SM_")) && len(entry) >= smbios21Size && bytes.HasPrefix(entry[smbios21DMI:], []byte("_DMI_")):
		entry = entry[:smbios21Size]
		entry[5] = smbios21Size
		g, limit = guidSMBIOS(), 0xffff
	default:
		return fmt.Errorf("%w: SMBIOS entry point of %d bytes is of no known kind", ErrTable, len(entry))
	}
	if n := uint64(len(s.Structures)); n == 0 || n > limit {
		return fmt.Errorf("%w: SMBIOS structures of %d bytes, at most %d", ErrTable, n, limit)
	}
	at, err := f.newLow(s.Structures)
	if err != nil {
		return err
	}
	if three {
		le.PutUint32(entry[smbios30Length:], uint32(len(s.Structures)))
		le.PutUint64(entry[smbios30Address:], at)
		sumTo0(entry, smbios30Sum)
	} else {
		le.PutUint16(entry[smbios21Length:], uint16(len(s.Structures)))
		le.PutUint32(entry[smbios21Address:], uint32(at))
		sumTo0(entry[smbios21DMI:], smbios21DMISum-smbios21DMI)
		sumTo0(entry, smbios21Sum)
	}
	entryAt, err := f.newLow(entry)
	if err != nil {
		return err
	}
	f.setTable(g, entryAt)
	f.smbios = f.cutSMBIOS(at, s.Structures)
	return nil
}

// newLow puts bytes into boot services memory below 4 GiB: structures of
// older revisions have 32 bits for an address.
func (f *Firmware) newLow(data []byte) (uint64, error) {
	at, err := f.allocate(BootServicesData, uint64(len(data)), pageSize, fourGiB)
	if err != nil {
		return 0, err
	}
	f.own = append(f.own, Region{Start: at, Size: (uint64(len(data)) + pageSize - 1) &^ (pageSize - 1)})
	copy(f.mem[at:], data)
	return at, nil
}

// record is an SMBIOS structure in guest memory.
type record struct {
	at     uint64
	handle uint16
	kind   byte
}

// cutSMBIOS finds the structures in b, which lies at address at: a header of
// four bytes (type, length, handle), the rest of length, strings each with
// its NUL, and one NUL more (DSP0134, section 6.1).
func (f *Firmware) cutSMBIOS(at uint64, b []byte) []record {
	var out []record
	const endOfTable = 127
	for off := 0; len(b)-off >= 4; {
		size := int(b[off+1])
		if size < 4 || size > len(b)-off {
			break
		}
		end := bytes.Index(b[off+size:], []byte{0, 0})
		if end < 0 {
			break
		}
		out = append(out, record{at + uint64(off), le.Uint16(b[off+2:]), b[off]})
		if b[off] == endOfTable {
			break
		}
		off += size + end + 2
	}
	return out
}

// EFI_SMBIOS_PROTOCOL (UEFI Platform Initialization Specification, volume 5,
// "SMBIOS Protocol"): Linux's stub looks for the product's name with it. The
// table cannot be changed.

// smbiosVersion returns the major and the minor version of the table, which
// end the protocol.
func (f *Firmware) smbiosVersion() []byte {
	e := f.cfg.SMBIOS.Entry
	if bytes.HasPrefix(e, []byte("_SM3_")) {
		return []byte{e[7], e[8]}
	}
	return []byte{e[6], e[7]}
}

// smbiosReserved is the handle before the first structure and after the last
// one (SMBIOS_HANDLE_PI_RESERVED).
const smbiosReserved = 0xfffe

func (f *Firmware) smbiosNext(c *call) Status {
	handleAt, typeAt, recordAt, producerAt := c.args[1], c.args[2], c.args[3], c.args[4]
	b := c.out(handleAt, 2)
	var want []byte
	if typeAt != 0 {
		want = c.in(typeAt, 1)
	}
	if c.out(recordAt, 8); c.bad != nil {
		return InvalidParameter
	}
	h, found := le.Uint16(b), le.Uint16(b) == smbiosReserved
	for _, r := range f.smbios {
		if found && (want == nil || r.kind == want[0]) {
			le.PutUint16(b, r.handle)
			c.put64(recordAt, r.at)
			if producerAt != 0 {
				c.put64(producerAt, 0)
			}
			c.notef("type %d, handle %#x", r.kind, r.handle)
			return Success
		}
		found = found || r.handle == h
	}
	le.PutUint16(b, smbiosReserved)
	return NotFound
}
