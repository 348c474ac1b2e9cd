// SPDX-License-Identifier: Apache-2.0

package machine

import "strings"

// ACPI is what the machine tells of ACPI.
type ACPI struct {
	// Present tells whether the running kernel uses ACPI.
	Present Fact[bool] `json:"present"`
	// RSDP is the physical address of the root system description pointer:
	// of the EFI tables, boot_params, or acpi_rsdp= on the command line. A
	// BIOS machine usually tells none; kernels look for it themselves there.
	RSDP Fact[uint64] `json:"rsdp"`
}

func readACPI(s *snapshot, k *Kernel, e *EFI, boot *BootParams) ACPI {
	var a ACPI
	a.Present = s.exists("sys/firmware/acpi/tables")
	tables, ok := e.Tables.Get()
	switch {
	case ok && tables["ACPI20"] != 0:
		a.RSDP = KnownFact(tables["ACPI20"], e.Tables.Source)
	case ok && tables["ACPI"] != 0:
		a.RSDP = KnownFact(tables["ACPI"], e.Tables.Source)
	case boot.rsdp() != 0:
		a.RSDP = KnownFact(boot.rsdp(), boot.Data.Source)
	default:
		if v, ok := k.Option("acpi_rsdp"); ok {
			n, err := parseHex([]byte("0x" + strings.TrimPrefix(v, "0x")))
			if err == nil && n != 0 {
				a.RSDP = KnownFact(n, k.Cmdline.Source)
				return a
			}
		}
		a.RSDP = unknownFact[uint64]("/"+efiDir+"/systab", "neither EFI tables nor boot_params nor command line tell it")
		if e.Tables.State == NotPermitted {
			a.RSDP.State = NotPermitted
		}
	}
	return a
}

// TPM is what the machine tells of its trusted platform module.
type TPM struct {
	// Present tells whether the running kernel drives a TPM.
	Present Fact[bool] `json:"present"`
	// Version is the major version of the specification, 1 or 2.
	Version Fact[uint64] `json:"version"`
}

func readTPM(s *snapshot) TPM {
	const dir = "sys/class/tpm"
	var t TPM
	names, f := s.list(dir)
	switch {
	case f.state == Unknown && f.why == whyAbsent:
		t.Present = KnownFact(false, f.path)
	case f.state != Known:
		t.Present = lost[bool](f)
	default:
		t.Present = KnownFact(len(names) > 0, f.path)
	}
	t.Version = unknownFact[uint64](f.path, "no TPM")
	for _, n := range names {
		s.mark(dir+"/"+n, true)
		v := parsed(s.read(dir+"/"+n+"/tpm_version_major", 4096), func(b []byte) (uint64, error) {
			n, err := parseNumber(b)
			return uint64(n), err
		})
		if !t.Version.Known() {
			t.Version = v
		}
	}
	return t
}

// Confidential names the kind of confidential guest this machine is.
type Confidential string

// Kinds of confidential guests.
const (
	ConfidentialNone Confidential = "none"
	ConfidentialTDX  Confidential = "tdx"
	ConfidentialSEV  Confidential = "sev"
	ConfidentialCCA  Confidential = "cca"
)

// readConfidential looks for the devices by which such guests fetch their
// attestation. Their absence proves little: a driver may be missing.
func readConfidential(s *snapshot, c *CPU) Fact[Confidential] {
	if c.Has("tdx_guest") {
		return KnownFact(ConfidentialTDX, c.Features.Source)
	}
	for _, hint := range []struct {
		path string
		kind Confidential
	}{
		{"sys/class/misc/tdx_guest", ConfidentialTDX},
		{"sys/class/misc/sev-guest", ConfidentialSEV},
		{"sys/devices/platform/arm-cca-dev", ConfidentialCCA},
		{"sys/devices/virtual/misc/arm-cca-dev", ConfidentialCCA},
	} {
		if f := s.exists(hint.path); f.Value {
			return KnownFact(hint.kind, f.Source)
		}
	}
	return KnownFact(ConfidentialNone, "/sys/class/misc")
}

// SMBIOS holds those strings of SMBIOS by which hardware is told apart
// (computer hardware ids). Serial numbers and UUIDs are not kept.
type SMBIOS struct {
	// Fields maps the file names of /sys/class/dmi/id to their contents.
	Fields Fact[map[string]string] `json:"fields"`
	// Cmdline are words for the kernel command line that the firmware or the
	// host of a virtual machine gives to systemd's stub; empty is none.
	Cmdline Fact[string] `json:"cmdline"`
}

var smbiosFields = []string{
	"bios_date", "bios_release", "bios_vendor", "bios_version", "board_name", "board_vendor",
	"board_version", "chassis_type", "chassis_vendor", "ec_firmware_release", "product_family",
	"product_name", "product_sku", "product_version", "sys_vendor",
}

func readSMBIOS(s *snapshot) SMBIOS {
	return SMBIOS{Fields: readDMI(s), Cmdline: readCmdlineExtra(s)}
}

func readDMI(s *snapshot) Fact[map[string]string] {
	const dir = "sys/class/dmi/id"
	out := map[string]string{}
	if have := s.exists(dir); !have.Known() {
		return Fact[map[string]string]{State: have.State, Source: have.Source, Why: have.Why}
	} else if !have.Value {
		return unknownFact[map[string]string]("/"+dir, "no SMBIOS")
	}
	for _, name := range smbiosFields {
		if f := s.read(dir+"/"+name, 4096); f.state == Known {
			out[name] = f.text()
		}
	}
	return KnownFact(out, "/"+dir)
}
