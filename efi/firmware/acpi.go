// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrTable means a table of the machine that makes no sense.
var ErrTable = errors.New("malformed table of the machine")

// ACPI tables (ACPI Specification 6.5, section 5.2): offsets and sizes in
// bytes. Running systems keep no RSDP, RSDT and XSDT for programs to read, so
// these are made anew; they hold nothing but addresses.
const (
	acpiHeader   = 36 // System Description Table Header
	acpiSum      = 9
	acpiOEM      = 10 // six bytes
	rsdpSize     = 36
	rsdpSum      = 8 // of the first 20 bytes
	rsdpFirst    = 20
	rsdpExtended = 32 // checksum of all bytes
	fadtFACS     = 36 // 32 bits
	fadtDSDT     = 40
	fadtXFACS    = 132 // 64 bits
	fadtXDSDT    = 140
	facsSize     = 64

	maxACPITables = 512
	maxACPI       = 16 << 20 // bytes of all tables
)

// addACPI publishes copies of the machine's tables below a root of our own,
// in memory that is given back when boot services end: the next kernel is
// told of the machine's own. Addresses from one table to another lead to
// copies; those of devices stay, and are not in guest memory. BGRT is left
// out: all it holds is the address of a picture.
func (f *Firmware) addACPI(tables [][]byte) error {
	var fadt, dsdt, facs []byte
	var rest [][]byte
	total := 0
	for _, t := range tables {
		if total += len(t); total > maxACPI || len(rest) >= maxACPITables {
			return fmt.Errorf("%w: more than %d ACPI tables or %d bytes of them", ErrTable, maxACPITables, maxACPI)
		}
		if len(t) < 8 || uint64(le.Uint32(t[4:])) != uint64(len(t)) {
			return fmt.Errorf("%w: ACPI table of %d bytes says otherwise", ErrTable, len(t))
		}
		name := string(t[:4])
		if name == "FACS" {
			if len(t) < facsSize {
				return fmt.Errorf("%w: FACS of %d bytes", ErrTable, len(t))
			}
			facs = t
			continue
		}
		if len(t) < acpiHeader {
			return fmt.Errorf("%w: ACPI table %q of %d bytes", ErrTable, name, len(t))
		}
		switch name {
		case "FACP":
			fadt = t
		case "DSDT":
			dsdt = t
		case "BGRT", "RSDT", "XSDT":
		default:
			rest = append(rest, t)
		}
	}
	if fadt == nil || len(fadt) < fadtDSDT+4 {
		return fmt.Errorf("%w: no FADT of %d bytes or more among %d ACPI tables", ErrTable, fadtDSDT+4, len(tables))
	}
	var err error
	place := func(b []byte) uint64 {
		if b == nil || err != nil {
			return 0
		}
		var at uint64
		at, err = f.newLow(b)
		return at
	}
	fadt = bytes.Clone(fadt)
	linkFADT(fadt, place(facs), place(dsdt))
	addresses := []uint64{place(fadt)}
	for _, t := range rest {
		addresses = append(addresses, place(t))
	}
	oem := fadt[acpiOEM:acpiHeader]
	rsdt, xsdt := rootTable("RSDT", oem, addresses, 4), rootTable("XSDT", oem, addresses, 8)
	rsdp := make([]byte, rsdpSize)
	copy(rsdp, "RSD PTR ")
	copy(rsdp[9:15], oem)
	rsdp[15] = 2
	le.PutUint32(rsdp[16:], uint32(place(rsdt)))
	le.PutUint32(rsdp[20:], rsdpSize)
	le.PutUint64(rsdp[24:], place(xsdt))
	sumTo0(rsdp[:rsdpFirst], rsdpSum)
	sumTo0(rsdp, rsdpExtended)
	at := place(rsdp)
	if err != nil {
		return err
	}
	f.setTable(guidACPI20(), at)
	f.setTable(guidACPI10(), at)
	return nil
}

// linkFADT sets the addresses in a FADT: in the fields of 64 bits where the
// table has them, else of 32 (ACPI, section 5.2.9). Firmware keeps the DSDT in
// both, the FACS in one.
func linkFADT(b []byte, facs, dsdt uint64) {
	le.PutUint32(b[fadtDSDT:], uint32(dsdt))
	if len(b) >= fadtXDSDT+8 {
		le.PutUint64(b[fadtXDSDT:], dsdt)
		le.PutUint64(b[fadtXFACS:], 0)
	}
	le.PutUint32(b[fadtFACS:], uint32(facs))
	sumTo0(b, acpiSum)
}

// rootTable makes an RSDT or XSDT of addresses of 4 or 8 bytes; oem is what
// follows the checksum in another table's header.
func rootTable(name string, oem []byte, addresses []uint64, width int) []byte {
	b := make([]byte, acpiHeader, acpiHeader+len(addresses)*width)
	copy(b, name)
	b[8] = 1
	copy(b[acpiOEM:], oem)
	for _, a := range addresses {
		if width == 4 {
			b = le.AppendUint32(b, uint32(a))
		} else {
			b = le.AppendUint64(b, a)
		}
	}
	le.PutUint32(b[4:], uint32(len(b)))
	sumTo0(b, acpiSum)
	return b
}
