// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is the kind of an event (PC Client Platform Firmware Profile, section
// 10.4.1).
type Type uint32

// Kinds of event.
const (
	PrebootCert           Type = 0x00
	PostCode              Type = 0x01
	NoAction              Type = 0x03 // extends nothing
	Separator             Type = 0x04
	Action                Type = 0x05
	EventTag              Type = 0x06
	SCRTMContents         Type = 0x07
	SCRTMVersion          Type = 0x08
	CPUMicrocode          Type = 0x09
	PlatformConfigFlags   Type = 0x0a
	TableOfDevices        Type = 0x0b
	CompactHash           Type = 0x0c
	IPL                   Type = 0x0d
	IPLPartitionData      Type = 0x0e
	NonhostCode           Type = 0x0f
	NonhostConfig         Type = 0x10
	NonhostInfo           Type = 0x11
	OmitBootDeviceEvents  Type = 0x12
	PostCode2             Type = 0x13
	EFIVariableConfig     Type = 0x80000001
	EFIVariableBoot       Type = 0x80000002
	EFIBootServicesApp    Type = 0x80000003
	EFIBootServicesDriver Type = 0x80000004
	EFIRuntimeDriver      Type = 0x80000005
	EFIGPT                Type = 0x80000006
	EFIAction             Type = 0x80000007
	EFIFirmwareBlob       Type = 0x80000008
	EFIHandoffTables      Type = 0x80000009
	EFIFirmwareBlob2      Type = 0x8000000a
	EFIHandoffTables2     Type = 0x8000000b
	EFIVariableBoot2      Type = 0x8000000c
	EFIGPT2               Type = 0x8000000d
	EFIHCRTM              Type = 0x80000010
	EFIVariableAuthority  Type = 0x800000e0
	EFISPDMFirmwareBlob   Type = 0x800000e1
	EFISPDMFirmwareConfig Type = 0x800000e2
	EFISPDMDevicePolicy   Type = 0x800000e3
	EFISPDMDeviceAuth     Type = 0x800000e4
)

func typeNames() map[Type]string {
	return map[Type]string{
		PrebootCert: "EV_PREBOOT_CERT", PostCode: "EV_POST_CODE", NoAction: "EV_NO_ACTION", Separator: "EV_SEPARATOR",
		Action: "EV_ACTION", EventTag: "EV_EVENT_TAG", SCRTMContents: "EV_S_CRTM_CONTENTS", SCRTMVersion: "EV_S_CRTM_VERSION",
		CPUMicrocode: "EV_CPU_MICROCODE", PlatformConfigFlags: "EV_PLATFORM_CONFIG_FLAGS", TableOfDevices: "EV_TABLE_OF_DEVICES",
		CompactHash: "EV_COMPACT_HASH", IPL: "EV_IPL", IPLPartitionData: "EV_IPL_PARTITION_DATA", NonhostCode: "EV_NONHOST_CODE",
		NonhostConfig: "EV_NONHOST_CONFIG", NonhostInfo: "EV_NONHOST_INFO", OmitBootDeviceEvents: "EV_OMIT_BOOT_DEVICE_EVENTS",
		PostCode2: "EV_POST_CODE2", EFIVariableConfig: "EV_EFI_VARIABLE_DRIVER_CONFIG", EFIVariableBoot: "EV_EFI_VARIABLE_BOOT",
		EFIBootServicesApp: "EV_EFI_BOOT_SERVICES_APPLICATION", EFIBootServicesDriver: "EV_EFI_BOOT_SERVICES_DRIVER",
		EFIRuntimeDriver: "EV_EFI_RUNTIME_SERVICES_DRIVER", EFIGPT: "EV_EFI_GPT_EVENT", EFIAction: "EV_EFI_ACTION",
		EFIFirmwareBlob: "EV_EFI_PLATFORM_FIRMWARE_BLOB", EFIHandoffTables: "EV_EFI_HANDOFF_TABLES",
		EFIFirmwareBlob2: "EV_EFI_PLATFORM_FIRMWARE_BLOB2", EFIHandoffTables2: "EV_EFI_HANDOFF_TABLES2",
		EFIVariableBoot2: "EV_EFI_VARIABLE_BOOT2", EFIGPT2: "EV_EFI_GPT_EVENT2", EFIHCRTM: "EV_EFI_HCRTM_EVENT",
		EFIVariableAuthority: "EV_EFI_VARIABLE_AUTHORITY", EFISPDMFirmwareBlob: "EV_EFI_SPDM_FIRMWARE_BLOB",
		EFISPDMFirmwareConfig: "EV_EFI_SPDM_FIRMWARE_CONFIG", EFISPDMDevicePolicy: "EV_EFI_SPDM_DEVICE_POLICY",
		EFISPDMDeviceAuth: "EV_EFI_SPDM_DEVICE_AUTHORITY",
	}
}

// String returns the specification's name, "EV_IPL", or the number of an
// unknown kind.
func (t Type) String() string {
	if n, ok := typeNames()[t]; ok {
		return n
	}
	return fmt.Sprintf("0x%08x", uint32(t))
}

// MarshalText returns String.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseType.
func (t *Type) UnmarshalText(b []byte) (err error) {
	*t, err = ParseType(string(b))
	return err
}

// ParseType reads a name, or a number in decimal or 0x notation.
func ParseType(s string) (Type, error) {
	for t, n := range typeNames() {
		if strings.EqualFold(s, n) {
			return t, nil
		}
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("event type %.40q: %w", s, ErrSyntax)
	}
	return Type(n), nil
}
