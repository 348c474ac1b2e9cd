// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is an EFI_GUID as it lies in memory: the first three fields are little
// endian (UEFI, appendix A).
type GUID [16]byte

// ParseGUID reads the usual text form.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || len(s) != 36 {
		return g, fmt.Errorf("GUID %.40q is malformed", s)
	}
	for i, j := range [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		g[i] = b[j]
	}
	return g, nil
}

// guid is for the constants below, which a test parses.
func guid(a uint32, b, c uint16, d ...byte) GUID {
	var g GUID
	le.PutUint32(g[0:], a)
	le.PutUint16(g[4:], b)
	le.PutUint16(g[6:], c)
	copy(g[8:], d)
	return g
}

// String returns the usual text form.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[0:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

// Name returns the name of a GUID that is known here, or its text.
func (g GUID) Name() string {
	if n, ok := guidNames()[g.String()]; ok {
		return n
	}
	return g.String()
}

// The GUIDs that firmware acts on, by function so that nothing can change
// them.
func guidLoadedImage() GUID {
	return guid(0x5b1b31a1, 0x9562, 0x11d2, 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidLoadedImagePath() GUID {
	return guid(0xbc62157e, 0x3e33, 0x4fec, 0x99, 0x20, 0x2d, 0x3b, 0x36, 0xd7, 0x50, 0xdf)
}
func guidDevicePath() GUID {
	return guid(0x09576e91, 0x6d3f, 0x11d2, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidTextOutput() GUID {
	return guid(0x387477c2, 0x69c7, 0x11d2, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidTextInput() GUID {
	return guid(0x387477c1, 0x69c7, 0x11d2, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidLoadFile2() GUID {
	return guid(0x4006c0c1, 0xfcb3, 0x403e, 0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d)
}
func guidRNG() GUID {
	return guid(0x3152bca5, 0xeade, 0x433d, 0x86, 0x2e, 0xc0, 0x1c, 0xdc, 0x29, 0x1f, 0x44)
}
func guidRNGRaw() GUID {
	return guid(0xe43176d7, 0xb6e8, 0x4827, 0xb7, 0x84, 0x7f, 0xfd, 0xc4, 0xb6, 0x85, 0x61)
}
func guidSimpleFileSystem() GUID {
	return guid(0x964e5b22, 0x6459, 0x11d2, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidFileInfo() GUID {
	return guid(0x09576e92, 0x6d3f, 0x11d2, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidFileSystemInfo() GUID {
	return guid(0x09576e93, 0x6d3f, 0x11d2, 0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b)
}
func guidMemoryAttribute() GUID {
	return guid(0xf4560cf6, 0x40ec, 0x4b4a, 0xa1, 0x92, 0xbf, 0x1d, 0x57, 0xd0, 0xb1, 0x89)
}
func guidInitrdMedia() GUID {
	return guid(0x5568e427, 0x68fc, 0x4f3d, 0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68)
}
func guidDTBTable() GUID {
	return guid(0xb1b621d5, 0xf19c, 0x41a5, 0x83, 0x0b, 0xd9, 0x15, 0x2c, 0x69, 0xaa, 0xe0)
}
func guidRTProperties() GUID {
	return guid(0xeb66918a, 0x7eef, 0x402a, 0x84, 0x2e, 0x93, 0x1d, 0x21, 0xc3, 0x8a, 0xe9)
}
func guidACPI20() GUID {
	return guid(0x8868e871, 0xe4f1, 0x11d3, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81)
}
func guidACPI10() GUID {
	return guid(0xeb9d2d30, 0x2d88, 0x11d3, 0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d)
}
func guidSMBIOS() GUID {
	return guid(0xeb9d2d31, 0x2d88, 0x11d3, 0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d)
}
func guidSMBIOS3() GUID {
	return guid(0xf2fd1544, 0x9794, 0x4a2c, 0x99, 0x2e, 0xe5, 0xbb, 0xcf, 0x20, 0xe3, 0x94)
}
func guidSMBIOSProtocol() GUID {
	return guid(0x03583ff6, 0xcb36, 0x4940, 0x94, 0x7e, 0xb9, 0xb3, 0x9f, 0x4a, 0xfa, 0xf7)
}
func guidExitBootServices() GUID {
	return guid(0x27abf055, 0xb1b8, 0x4c26, 0x80, 0x48, 0x74, 0x8f, 0x37, 0xba, 0xa2, 0xdf)
}
func guidBeforeExitBootServices() GUID {
	return guid(0x8be0e274, 0x3970, 0x4b44, 0x80, 0xc5, 0x1a, 0xb9, 0x50, 0x2f, 0x3b, 0xfc)
}
func guidAddressChange() GUID {
	return guid(0x13fa7698, 0xc831, 0x49c7, 0x87, 0xea, 0x8f, 0x43, 0xfc, 0xc2, 0x51, 0x96)
}
func guidShellParameters() GUID {
	return guid(0x752f3136, 0x4e16, 0x4fdc, 0xa2, 0x2a, 0xe5, 0xf4, 0x68, 0x12, 0xf4, 0xca)
}
func guidDevicePathToText() GUID {
	return guid(0x8b843e20, 0x8132, 0x4852, 0x90, 0xcc, 0x55, 0x1a, 0x4e, 0x4a, 0x7f, 0x1c)
}
func guidDevicePathFromText() GUID {
	return guid(0x05c99a21, 0xc70f, 0x4ad2, 0x8a, 0x5f, 0x35, 0xdf, 0x33, 0x43, 0xf5, 0x1e)
}
func guidCollation() GUID {
	return guid(0x1d85cd7f, 0xf43d, 0x11d2, 0x9a, 0x0c, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d)
}
func guidCollation2() GUID {
	return guid(0xa4c751fc, 0x23ae, 0x4c3e, 0x92, 0xe9, 0x49, 0x64, 0xcf, 0x63, 0xf3, 0x49)
}
func guidDTFixup() GUID {
	return guid(0xe617d64c, 0xfe08, 0x46da, 0xf4, 0xdc, 0xbb, 0xd5, 0x87, 0x0c, 0x73, 0x00)
}
func guidGlobal() GUID {
	return guid(0x8be4df61, 0x93ca, 0x11d2, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
}
func guidPeel() GUID {
	return guid(0x7e6ba9f2, 0x1a62, 0x4f0a, 0x9d, 0x5e, 0x5b, 0x2f, 0x10, 0x73, 0x70, 0x65)
}

// guidNames names what guests ask for, offered or not; for traces.
func guidNames() map[string]string {
	return map[string]string{
		"5b1b31a1-9562-11d2-8e3f-00a0c969723b": "LoadedImage",
		"bc62157e-3e33-4fec-9920-2d3b36d750df": "LoadedImageDevicePath",
		"09576e91-6d3f-11d2-8e39-00a0c969723b": "DevicePath",
		"387477c2-69c7-11d2-8e39-00a0c969723b": "SimpleTextOutput",
		"387477c1-69c7-11d2-8e39-00a0c969723b": "SimpleTextInput",
		"dd9e7534-7762-4698-8c14-f58517a625aa": "SimpleTextInputEx",
		"4006c0c1-fcb3-403e-996d-4a6c8724e06d": "LoadFile2",
		"56ec3091-954c-11d2-8e3f-00a0c969723b": "LoadFile",
		"3152bca5-eade-433d-862e-c01cdc291f44": "RNG",
		"964e5b22-6459-11d2-8e39-00a0c969723b": "SimpleFileSystem",
		"09576e92-6d3f-11d2-8e39-00a0c969723b": "FileInfo",
		"09576e93-6d3f-11d2-8e39-00a0c969723b": "FileSystemInfo",
		"f4560cf6-40ec-4b4a-a192-bf1d57d0b189": "MemoryAttribute",
		"5568e427-68fc-4f3d-ac74-ca555231cc68": "LinuxInitrd",
		"b1b621d5-f19c-41a5-830b-d9152c69aae0": "DeviceTree",
		"eb66918a-7eef-402a-842e-931d21c38ae9": "RTProperties",
		"8be4df61-93ca-11d2-aa0d-00e098032b8c": "Global",
		"607f766c-7455-42be-930b-e4d76db2720f": "Tcg2",
		"f541796d-a62e-4954-a775-9584f61b9cdd": "Tcg",
		"96751a3d-72f4-41a6-a794-ed5d0e67ae6b": "CcMeasurement",
		"9042a9de-23dc-4a38-96fb-7aded080516a": "GraphicsOutput",
		"982c298b-f4fa-41cb-b838-77aa688fb839": "UgaDraw",
		"4cf5b200-68b8-4ca5-9eec-b23e3f50029a": "PciIo",
		"c5a010fe-38a7-4531-8a4a-0500d2fdc649": "OvmfSevMemoryAcceptance",
		"03583ff6-cb36-4940-947e-b9b39f4afaf7": "Smbios",
		"752f3136-4e16-4fdc-a22a-e5f46812f4ca": "ShellParameters",
		"f5a37b6d-3344-42a5-b6bb-97864890a63f": "LinuxLoadedImageFixed",
		"1d85cd7f-f43d-11d2-9a0c-0090273fc14d": "UnicodeCollation",
		"a4c751fc-23ae-4c3e-92e9-4964cf63f349": "UnicodeCollation2",
		"8b843e20-8132-4852-90cc-551a4e4a7f1c": "DevicePathToText",
		"05c99a21-c70f-4ad2-8a5f-35df3343f51e": "DevicePathFromText",
		"e617d64c-fe08-46da-f4dc-bbd5870c7300": "DTFixup",
		"a46423e3-4617-49f1-b9ff-d1bfa9115839": "Security",
		"94ab2f58-1438-4ef1-9152-18941a3a0e68": "Security2",
		"964e5b21-6459-11d2-8e39-00a0c969723b": "BlockIo",
		"4a67b082-0a4c-41cf-b6c7-440b29bb8c4f": "LoaderVendor",
		"1ce1e5bc-7ceb-42f2-81e5-8aadf180f57b": "LinuxRandomSeed",
		"888eb0c6-8ede-4ff5-a8f0-9aee5cb977c2": "LinuxMemReserve",
		"800f683f-d08b-423a-a293-965c3c6fe2b4": "LinuxBootMemmap",
		"8868e871-e4f1-11d3-bc22-0080c73c8881": "ACPI20",
		"f2fd1544-9794-4a2c-992e-e5bbcf20e394": "SMBIOS3",
		"27abf055-b1b8-4c26-8048-748f37baa2df": "ExitBootServices",
		"8be0e274-3970-4b44-80c5-1ab9502f3bfc": "BeforeExitBootServices",
		"13fa7698-c831-49c7-87ea-8f43fcc25196": "VirtualAddressChange",
		"eb9d2d30-2d88-11d3-9a16-0090273fc14d": "ACPI10",
		"eb9d2d31-2d88-11d3-9a16-0090273fc14d": "SMBIOS",
		"605dab50-e046-4300-abb6-3dd810dd8b23": "ShimLock",
	}
}
