// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
)

const efiDir = "sys/firmware/efi"

// EFI is what the machine tells of its UEFI firmware. On a machine without
// it, Present is known and false and all other facts are unknown.
type EFI struct {
	// Present tells whether the running kernel has EFI runtime support.
	Present Fact[bool] `json:"present"`
	// PlatformSize is the width of the firmware in bits, 32 or 64.
	PlatformSize Fact[uint64] `json:"platform_size"`
	// SystemTable is the physical address of the EFI system table: efi_info
	// of boot_params on x86, linux,uefi-system-table of /chosen elsewhere.
	SystemTable Fact[uint64] `json:"system_table"`
	// FirmwareVendor, Runtime and ConfigTable are physical addresses: of the
	// vendor's name, of the runtime services (as the kernel mapped them) and
	// of the array of configuration tables. x86 only.
	FirmwareVendor Fact[uint64] `json:"firmware_vendor"`
	Runtime        Fact[uint64] `json:"runtime"`
	ConfigTable    Fact[uint64] `json:"config_table"`
	// Tables maps the names in /sys/firmware/efi/systab, such as "ACPI20",
	// "SMBIOS3" and "ESRT", to physical addresses.
	Tables Fact[map[string]uint64] `json:"tables"`
	// RuntimeMap lists the regions kept for runtime services, with the
	// virtual addresses the running kernel gave them. x86 only.
	RuntimeMap Fact[[]EFIRegion] `json:"runtime_map"`
	// SecureBoot is true when the variable SecureBoot is 1 and SetupMode is
	// not 1. Known and false on a machine without EFI.
	SecureBoot Fact[bool] `json:"secure_boot"`
	// SetupMode is true while no platform key is enrolled.
	SetupMode Fact[bool] `json:"setup_mode"`
	// ShimInsecure is true when the owner disabled shim's validation
	// (MokSBStateRT is 1): kernels then treat Secure Boot as off.
	ShimInsecure Fact[bool] `json:"shim_insecure"`
	// Mounted tells whether efivarfs is there to be read.
	Mounted Fact[bool] `json:"efivarfs"`
	// Variables holds the variables that decide who may boot and how this
	// boot came about, by "Name-guid". See docs/machine.md for the list.
	Variables map[string]Fact[Variable] `json:"variables,omitempty"`
	// VariableNames lists all variables, also those not read, sorted.
	VariableNames Fact[[]string] `json:"variable_names"`
	// MokVariables holds /sys/firmware/efi/mok-variables, shim's variables
	// in the memory that shim hands over: whole, where the variables of the
	// firmware may have been cut. By name, without attributes.
	MokVariables Fact[map[string][]byte] `json:"mok_variables"`
}

// EFIRegion is one descriptor of the EFI memory map (UEFI specification,
// EFI_MEMORY_DESCRIPTOR).
type EFIRegion struct {
	// Type is the EFI_MEMORY_TYPE: 5 is RuntimeServicesCode, 6
	// RuntimeServicesData, 11 MemoryMappedIO.
	Type uint32 `json:"type"`
	Phys uint64 `json:"phys"`
	Virt uint64 `json:"virt"`
	// Pages counts pages of 4096 bytes.
	Pages     uint64 `json:"pages"`
	Attribute uint64 `json:"attribute"`
}

func readEFI(s *snapshot, opts *options, boot *BootParams, fdt Fact[[]byte]) EFI {
	var e EFI
	e.Present = s.exists(efiDir)
	if sys := s.exists("sys"); e.Present.Known() && !e.Present.Value && !sys.Value {
		e.Present = unknownFact[bool]("/sys", "no sysfs")
	}
	if present, ok := e.Present.Get(); ok && !present {
		const why = "no EFI"
		for _, f := range []*Fact[uint64]{&e.PlatformSize, &e.SystemTable, &e.FirmwareVendor, &e.Runtime, &e.ConfigTable} {
			*f = unknownFact[uint64]("/"+efiDir, why)
		}
		e.Tables = unknownFact[map[string]uint64]("/"+efiDir, why)
		e.RuntimeMap = unknownFact[[]EFIRegion]("/"+efiDir, why)
		e.VariableNames = unknownFact[[]string]("/"+efiDir, why)
		e.MokVariables = unknownFact[map[string][]byte]("/"+efiDir, why)
		for _, f := range []*Fact[bool]{&e.SecureBoot, &e.SetupMode, &e.ShimInsecure, &e.Mounted} {
			*f = KnownFact(false, "/"+efiDir)
		}
		return e
	}

	e.PlatformSize = parsed(s.read(efiDir+"/fw_platform_size", 4096), func(b []byte) (uint64, error) {
		n, err := parseNumber(b)
		if err == nil && n != 32 && n != 64 {
			err = fmt.Errorf("%w: firmware of %d bits", ErrMalformed, n)
		}
		return uint64(n), err
	})
	e.FirmwareVendor = parsed(s.read(efiDir+"/fw_vendor", 4096), parseHex)
	e.Runtime = parsed(s.read(efiDir+"/runtime", 4096), parseHex)
	e.ConfigTable = parsed(s.read(efiDir+"/config_table", 4096), parseHex)
	e.Tables = parsed(s.read(efiDir+"/systab", 4096), ParseSystab)
	e.RuntimeMap = readRuntimeMap(s)
	if info, ok := boot.EFIInfo(); ok {
		e.SystemTable = KnownFact(info.SystemTable, boot.Data.Source)
	} else if n, ok := chosenNumber(fdt, "linux,uefi-system-table"); ok {
		e.SystemTable = KnownFact(n, fdt.Source)
	} else {
		e.SystemTable = unknownFact[uint64]("/"+efiDir, "neither boot_params nor device tree tell it")
	}
	e.readVariables(s, opts)
	e.MokVariables = readMokVariables(s)
	e.readSecureBoot(boot)
	return e
}

// ParseSystab reads the lines NAME=0xADDRESS of /sys/firmware/efi/systab.
func ParseSystab(b []byte) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, line := range strings.Split(string(b), "\n") {
		if line == "" {
			continue
		}
		name, addr, ok := strings.Cut(line, "=")
		n, err := parseHex([]byte(addr))
		if !ok || err != nil || name == "" {
			return nil, fmt.Errorf("%w: systab line %.80q", ErrMalformed, line)
		}
		out[name] = n
	}
	return out, nil
}

func readRuntimeMap(s *snapshot) Fact[[]EFIRegion] {
	const dir = efiDir + "/runtime-map"
	names, f := s.list(dir)
	if f.state != Known {
		return lost[[]EFIRegion](f)
	}
	var out []EFIRegion
	for _, n := range numbered(names) {
		s.mark(dir+"/"+n, true)
		var r EFIRegion
		var typ uint64
		for _, field := range []struct {
			name string
			to   *uint64
		}{
			{"attribute", &r.Attribute}, {"num_pages", &r.Pages}, {"phys_addr", &r.Phys},
			{"virt_addr", &r.Virt}, {"type", &typ},
		} {
			f := s.read(dir+"/"+n+"/"+field.name, 4096)
			if f.state != Known {
				return lost[[]EFIRegion](f)
			}
			v, err := parseHex(f.data)
			if err != nil {
				return unknownFact[[]EFIRegion](f.path, "%v", err)
			}
			*field.to = v
		}
		r.Type = uint32(typ)
		out = append(out, r)
	}
	return KnownFact(out, "/"+dir)
}

func (e *EFI) readSecureBoot(boot *BootParams) {
	sb, setup := e.flag("SecureBoot", GUIDGlobal), e.flag("SetupMode", GUIDGlobal)
	e.SetupMode = setup
	e.SecureBoot = sb
	if sb.Known() && setup.Known() && setup.Value {
		e.SecureBoot.Value = false
	}
	if on, ok := boot.secureBoot(); ok && !sb.Known() {
		e.SecureBoot = KnownFact(on, boot.Data.Source)
	} else if have := e.HasVariable("SecureBoot", GUIDGlobal); have.Known() && !have.Value {
		// Firmware built without it has no such variable.
		e.SecureBoot = KnownFact(false, have.Source)
	}
	e.ShimInsecure = e.flag("MokSBStateRT", GUIDShim)
	if !e.ShimInsecure.Known() && e.MokVariables.Known() {
		v := e.MokVariables.Value["MokSBStateRT"]
		e.ShimInsecure = KnownFact(len(v) == 1 && v[0] == 1, e.MokVariables.Source)
	}
	if !e.ShimInsecure.Known() && e.VariableNames.Known() && e.ShimInsecure.State == Unknown {
		e.ShimInsecure = KnownFact(false, e.VariableNames.Source)
	}
}

// flag reads a variable of one byte.
func (e *EFI) flag(name, guid string) Fact[bool] {
	v := e.Variable(name, guid)
	if !v.Known() {
		return Fact[bool]{State: v.State, Source: v.Source, Why: v.Why}
	}
	if len(v.Value.Data) != 1 {
		return unknownFact[bool](v.Source, "variable holds %d bytes, want 1", len(v.Value.Data))
	}
	return KnownFact(v.Value.Data[0] == 1, v.Source)
}
