// SPDX-License-Identifier: Apache-2.0

package image

import "runtime"

// Arch names a processor architecture the way uname -m does.
type Arch string

// The architectures peel reads images for. ArchUnknown is the zero value.
const (
	ArchUnknown     Arch = ""
	ArchX86         Arch = "x86"
	ArchX86_64      Arch = "x86_64"
	ArchARM         Arch = "arm"
	ArchARM64       Arch = "arm64"
	ArchRISCV64     Arch = "riscv64"
	ArchLoongArch64 Arch = "loongarch64"
	ArchPPC64LE     Arch = "ppc64le"
)

// Machine types of the COFF header (PE/COFF specification, "Machine Types").
const (
	machineI386        = 0x014c
	machineAMD64       = 0x8664
	machineARMNT       = 0x01c4
	machineThumb       = 0x01c2
	machineARM64       = 0xaa64
	machineRISCV64     = 0x5064
	machineLoongArch64 = 0x6264
)

// ArchOfMachine returns the architecture for a COFF machine type, or
// ArchUnknown.
func ArchOfMachine(m uint16) Arch {
	switch m {
	case machineI386:
		return ArchX86
	case machineAMD64:
		return ArchX86_64
	case machineARMNT, machineThumb:
		return ArchARM
	case machineARM64:
		return ArchARM64
	case machineRISCV64:
		return ArchRISCV64
	case machineLoongArch64:
		return ArchLoongArch64
	}
	return ArchUnknown
}

// Machine returns the COFF machine type of a, or 0 when PE has none for it.
func (a Arch) Machine() uint16 {
	switch a {
	case ArchX86:
		return machineI386
	case ArchX86_64:
		return machineAMD64
	case ArchARM:
		return machineARMNT
	case ArchARM64:
		return machineARM64
	case ArchRISCV64:
		return machineRISCV64
	case ArchLoongArch64:
		return machineLoongArch64
	}
	return 0
}

// EFIName returns the short name that UEFI gives the architecture in default
// boot file names (UEFI specification, section 3.5.1.1): BOOT{name}.EFI, in
// lower case as systemd's stubs spell it. Empty when there is none.
func (a Arch) EFIName() string {
	switch a {
	case ArchX86:
		return "ia32"
	case ArchX86_64:
		return "x64"
	case ArchARM:
		return "arm"
	case ArchARM64:
		return "aa64"
	case ArchRISCV64:
		return "riscv64"
	case ArchLoongArch64:
		return "loongarch64"
	}
	return ""
}

// HostArch returns the architecture this program was built for.
func HostArch() Arch {
	switch runtime.GOARCH {
	case "386":
		return ArchX86
	case "amd64":
		return ArchX86_64
	case "arm":
		return ArchARM
	case "arm64":
		return ArchARM64
	case "riscv64":
		return ArchRISCV64
	case "loong64":
		return ArchLoongArch64
	case "ppc64le":
		return ArchPPC64LE
	}
	return ArchUnknown
}
