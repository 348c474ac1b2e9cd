// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"strings"
	"testing"
)

// structure makes an SMBIOS structure.
func structure(kind byte, handle uint16, data []byte, text ...string) []byte {
	b := []byte{kind, byte(4 + len(data)), byte(handle), byte(handle >> 8)}
	b = append(b, data...)
	for _, s := range text {
		b = append(append(b, s...), 0)
	}
	if len(text) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}

func smbiosTable() []byte {
	var b []byte
	b = append(b, structure(1, 0x100, []byte{1, 2}, "vendor", "product")...)
	b = append(b, structure(11, 0xe00, []byte{1}, "io.systemd.stub.kernel-cmdline-extra=x")...)
	b = append(b, structure(11, 0xe01, []byte{1}, "other")...)
	return append(b, structure(127, 0x7f00, nil)...)
}

func entry21() []byte {
	b := append([]byte("_SM_\x00\x1f\x02\x08\x40\x00\x00"), make([]byte, 5)...)
	b = append(b, "_DMI_"...)
	return append(b, make([]byte, 10)...)
}

func entry30() []byte {
	return append([]byte("_SM3_\x00\x18\x03\x05\x00\x01\x00"), make([]byte, 12)...)
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// acpiTable makes a table with a header and a checksum.
func acpiTable(name string, data []byte) []byte {
	b := append([]byte(name), make([]byte, 32)...)
	copy(b[10:], "PEEL  TABLES  ")
	b = append(b, data...)
	le.PutUint32(b[4:], uint32(len(b)))
	sumTo0(b, acpiSum)
	return b
}

func acpiTables(fadt int) [][]byte {
	facs := make([]byte, 64)
	copy(facs, "FACS")
	le.PutUint32(facs[4:], 64)
	return [][]byte{
		acpiTable("APIC", bytes.Repeat([]byte{1}, 8)), acpiTable("BGRT", make([]byte, 20)),
		acpiTable("DSDT", []byte("aml")), acpiTable("FACP", bytes.Repeat([]byte{0xff}, fadt-36)), facs,
		acpiTable("SSDT", []byte("one")), acpiTable("SSDT", bytes.Repeat([]byte("two"), 5000)),
	}
}

func TestSMBIOS(t *testing.T) {
	for name, entry := range map[string][]byte{"2.1": entry21(), "3.0": entry30()} {
		t.Run(name, func(t *testing.T) {
			given := bytes.Clone(entry)
			r := newRig(t, func(c *Config) { c.SMBIOS = SMBIOS{Entry: entry, Structures: smbiosTable()} })
			if !bytes.Equal(entry, given) {
				t.Error("the caller's entry point is changed")
			}
			g, size := guidSMBIOS(), 31
			if name == "3.0" {
				g, size = guidSMBIOS3(), 24
			}
			at := r.Tables()[g]
			if at == 0 || len(r.Tables()) != 2 {
				t.Fatalf("tables %v, want %v", r.Tables(), g)
			}
			e := r.mem[at : at+uint64(size)]
			if sum(e) != 0 {
				t.Errorf("checksum of the entry point is wrong: % x", e)
			}
			var from, n uint64
			if name == "3.0" {
				from, n = le.Uint64(e[16:]), uint64(le.Uint32(e[12:]))
			} else {
				from, n = uint64(le.Uint32(e[24:])), uint64(le.Uint16(e[22:]))
				if sum(e[16:]) != 0 {
					t.Errorf("checksum of the inner entry point is wrong: % x", e)
				}
			}
			if !bytes.Equal(r.mem[from:from+n], smbiosTable()) {
				t.Error("the structures that the entry point leads to are other ones")
			}
			if typ, _ := r.typeOf(from, n); typ != BootServicesData {
				t.Errorf("the copy lies in memory of type %v, want %v: the next kernel must not find it", typ, BootServicesData)
			}
			if len(r.Notes()) != 0 {
				t.Errorf("Notes() = %q", r.Notes())
			}
			// By the protocol.
			r.want(Success, "LocateProtocol", r.putGUID(scratch, guidSMBIOSProtocol()), 0, scratch+16)
			handle, kind, out := uint64(scratch+0x20), r.put(scratch+0x30, []byte{11}), uint64(scratch+0x38)
			le.PutUint16(r.mem[handle:], smbiosReserved)
			for _, want := range []uint16{0xe00, 0xe01} {
				r.want(Success, "SMBIOS.GetNext", 0, handle, kind, out, 0)
				if got := le.Uint16(r.mem[handle:]); got != want || le.Uint16(r.mem[r.get64(out)+2:]) != want {
					t.Errorf("GetNext(type 11) = %#x, want %#x", got, want)
				}
			}
			r.want(NotFound, "SMBIOS.GetNext", 0, handle, kind, out, 0)
			if got := le.Uint16(r.mem[handle:]); got != smbiosReserved {
				t.Errorf("handle after the last one = %#x", got)
			}
			n = 0
			for ; r.do("SMBIOS.GetNext", 0, handle, 0, out, 0) == Success; n++ {
			}
			if n != 4 {
				t.Errorf("GetNext() tells %d structures, want 4", n)
			}
			r.want(InvalidParameter, "SMBIOS.GetNext", 0, 1, 0, out, 0)
			r.sane()
		})
	}
}

func TestACPI(t *testing.T) {
	for _, fadt := range []int{84, 116, 244, 276} {
		given := acpiTables(fadt)
		r := newRig(t, func(c *Config) { c.ACPI = given })
		at := r.Tables()[guidACPI20()]
		if at == 0 || r.Tables()[guidACPI10()] != at || len(r.Notes()) != 0 {
			t.Fatalf("tables %v, notes %q", r.Tables(), r.Notes())
		}
		p := r.mem[at : at+36]
		if string(p[:8]) != "RSD PTR " || sum(p[:20]) != 0 || sum(p) != 0 || string(p[9:15]) != "PEEL  " {
			t.Errorf("RSDP is % x", p)
		}
		table := func(at uint64, name string) []byte {
			t.Helper()
			b := r.mem[at:]
			b = b[:le.Uint32(b[4:])]
			if string(b[:4]) != name || name != "FACS" && sum(b) != 0 {
				t.Fatalf("table at %#x is %.8q, checksum %d, want %s", at, b, sum(b), name)
			}
			if typ, _ := r.typeOf(at, uint64(len(b))); typ != BootServicesData {
				t.Errorf("%s lies in memory of type %v", name, typ)
			}
			return b
		}
		rsdt, xsdt := table(uint64(le.Uint32(p[16:])), "RSDT"), table(le.Uint64(p[24:]), "XSDT")
		var names string
		for i := 0; 36+8*i < len(xsdt); i++ {
			at := le.Uint64(xsdt[36+8*i:])
			if uint64(le.Uint32(rsdt[36+4*i:])) != at {
				t.Errorf("entry %d of XSDT and RSDT differ", i)
			}
			name := string(r.mem[at : at+4])
			names += name + " "
			b := table(at, name)
			for _, g := range given {
				if string(g[:4]) == name && name != "SSDT" && name != "FACP" && !bytes.Equal(g, b) {
					t.Errorf("%s is no copy", name)
				}
			}
		}
		if want := "FACP APIC SSDT SSDT "; names != want {
			t.Errorf("XSDT leads to %q, want %q", names, want)
		}
		f := table(le.Uint64(xsdt[36:]), "FACP")
		table(uint64(le.Uint32(f[fadtFACS:])), "FACS")
		if b := table(uint64(le.Uint32(f[fadtDSDT:])), "DSDT"); string(b[36:]) != "aml" {
			t.Errorf("DSDT holds %q", b[36:])
		}
		if fadt >= 148 && (le.Uint64(f[fadtXDSDT:]) != uint64(le.Uint32(f[fadtDSDT:])) || le.Uint64(f[fadtXFACS:]) != 0) {
			t.Errorf("X_DSDT = %#x, X_FIRMWARE_CTRL = %#x", le.Uint64(f[fadtXDSDT:]), le.Uint64(f[fadtXFACS:]))
		}
		if fadt >= 40+84 && fadt < 148 && !bytes.Equal(f[fadtDSDT+4:], given[3][fadtDSDT+4:]) {
			t.Error("the FADT is changed beyond its addresses")
		}
		r.sane()
	}
}

// TestTablesOfOtherKinds: what makes no sense is left out and told.
func TestTablesOfOtherKinds(t *testing.T) {
	short := acpiTables(244)
	short[0] = short[0][:20]
	wrong := acpiTables(244)
	wrong[5][4]++
	huge := entry21()
	tests := []struct {
		name string
		c    Config
		says string
	}{
		{"entry of no kind", Config{SMBIOS: SMBIOS{Entry: []byte("_SX_"), Structures: smbiosTable()}}, "entry point of 4 bytes"},
		{"short entry", Config{SMBIOS: SMBIOS{Entry: entry21()[:30], Structures: smbiosTable()}}, "entry point of 30 bytes"},
		{"short entry 3", Config{SMBIOS: SMBIOS{Entry: entry30()[:23], Structures: smbiosTable()}}, "entry point of 23 bytes"},
		{"no structures", Config{SMBIOS: SMBIOS{Entry: entry30()}}, "structures of 0 bytes"},
		{"more than 64 KiB", Config{SMBIOS: SMBIOS{Entry: huge, Structures: make([]byte, 1<<16)}}, "at most 65535"},
		{"more than memory", Config{SMBIOS: SMBIOS{Entry: entry30(), Structures: make([]byte, maxSMBIOS)}, ACPI: [][]byte{acpiTable("FACP", make([]byte, 7<<20))}}, "no room"},
		{"short table", Config{ACPI: short}, "says otherwise"},
		{"wrong length", Config{ACPI: wrong}, "says otherwise"},
		{"no FADT", Config{ACPI: acpiTables(244)[:2]}, "no FADT"},
		{"short FADT", Config{ACPI: [][]byte{acpiTable("FACP", make([]byte, 7))}}, "no FADT"},
		{"short FACS", Config{ACPI: [][]byte{[]byte("FACS\x08\x00\x00\x00")}}, "FACS of 8 bytes"},
		{"no header", Config{ACPI: [][]byte{[]byte("SSDT\x08\x00\x00\x00")}}, "of 8 bytes"},
		{"too many", Config{ACPI: make([][]byte, maxACPITables+1)}, "ACPI"},
	}
	for _, tt := range tests {
		r := newRig(t, func(c *Config) { c.SMBIOS, c.ACPI = tt.c.SMBIOS, tt.c.ACPI })
		if n := strings.Join(r.Notes(), "\n"); !strings.Contains(n, tt.says) {
			t.Errorf("%s: Notes() = %q, want one that says %q", tt.name, n, tt.says)
		}
		r.sane()
	}
	// Structures that run out of the table are not told.
	for _, b := range [][]byte{{1, 200, 0, 0}, {1, 3, 0, 0, 0, 0}, {1, 4, 0, 0, 'x'}, {1}} {
		r := newRig(t, func(c *Config) { c.SMBIOS = SMBIOS{Entry: entry30(), Structures: b} })
		if len(r.smbios) != 0 {
			t.Errorf("structures %v of % x", r.smbios, b)
		}
	}
}
