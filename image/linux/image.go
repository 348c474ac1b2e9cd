// SPDX-License-Identifier: Apache-2.0

package linux

import "fmt"

// Names of architectures as uname -m spells them; image.Arch uses the same.
const (
	archX86         = "x86"
	archX86_64      = "x86_64"
	archARM         = "arm"
	archARM64       = "arm64"
	archRISCV64     = "riscv64"
	archLoongArch64 = "loongarch64"
	archPPC64LE     = "ppc64le"
)

// imageHeaderSize is the size of every Image header in bytes.
const imageHeaderSize = 64

// peMagic stands at 0x38 of EFI kernels: LINUX_PE_MAGIC of
// include/linux/pe.h.
const peMagic = 0x818223cd

// Page sizes of Image.PageSize.
const (
	Page4K  = 4 << 10
	Page16K = 16 << 10
	Page64K = 64 << 10
)

// Image is the 64-byte header of an uncompressed kernel for arm64, riscv64
// or loongarch64. All fields are little endian in the file.
type Image struct {
	// Raw is the whole file.
	Raw []byte
	// Arch is the architecture as uname -m spells it.
	Arch string
	// TextOffset is the distance in bytes of the load address from an
	// aligned base (2 MiB on arm64 and riscv64); on loongarch64 it is the
	// physical load address itself.
	TextOffset uint64
	// ImageSize is the memory in bytes that the kernel needs from its load
	// address on, BSS included; 0 on arm64 kernels before 3.17.
	ImageSize uint64
	// Flags is the flags field of arm64 and riscv64.
	Flags uint64
	// BigEndian is bit 0 of Flags.
	BigEndian bool
	// PageSize in bytes, 0 when the header does not say (arm64 only).
	PageSize uint32
	// Anywhere tells that the base may be anywhere in physical memory, not
	// only near its start (arm64 only).
	Anywhere bool
	// HeaderVersion is the version of the riscv64 header, major in the upper
	// 16 bits.
	HeaderVersion uint32
	// EntryOffset is the offset of the first instruction from the load
	// address; not 0 on loongarch64 only.
	EntryOffset uint64
	// PEOffset is the offset of the PE header, 0 if there is none.
	PEOffset uint32
}

// imageArch returns the architecture of the Image header of b, or "".
func imageArch(b []byte) string {
	if len(b) < imageHeaderSize {
		return ""
	}
	switch {
	case string(b[0x38:0x3c]) == "ARM\x64":
		return archARM64
	case string(b[0x38:0x3c]) == "RSC\x05":
		return archRISCV64
	case b[0] == 'M' && b[1] == 'Z' && string(b[4:8]) != "zimg" && le.Uint32(b[0x38:]) == peMagic && peMachine(b) == 0x6264:
		return archLoongArch64
	}
	return ""
}

// peMachine returns the machine type of the PE header of b, or 0.
func peMachine(b []byte) uint16 {
	off := uint64(le.Uint32(b[0x3c:]))
	if off < imageHeaderSize || off+6 > uint64(len(b)) || string(b[off:off+4]) != "PE\x00\x00" {
		return 0
	}
	return le.Uint16(b[off+4:])
}

// IsImage reports whether b begins with the header of an arm64, riscv64 or
// loongarch64 Image.
func IsImage(b []byte) bool { return imageArch(b) != "" }

// ParseImage decodes the Image header of b. It fails with ErrTruncated below
// 64 bytes, ErrNotKernel without a known magic number, and ErrHeader when
// ImageSize or TextOffset cannot be true.
func ParseImage(b []byte) (*Image, error) {
	if len(b) < imageHeaderSize {
		return nil, fmt.Errorf("%w: Image header of %d bytes in a file of %d", ErrTruncated, imageHeaderSize, len(b))
	}
	k := &Image{Raw: b, Arch: imageArch(b)}
	switch k.Arch {
	case archARM64:
		k.TextOffset, k.ImageSize, k.Flags = le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])
		k.BigEndian = k.Flags&1 != 0
		k.PageSize = [4]uint32{0, Page4K, Page16K, Page64K}[k.Flags>>1&3]
		k.Anywhere = k.Flags&8 != 0
	case archRISCV64:
		k.TextOffset, k.ImageSize, k.Flags = le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])
		k.BigEndian = k.Flags&1 != 0
		k.HeaderVersion = le.Uint32(b[32:])
	case archLoongArch64:
		k.ImageSize, k.TextOffset = le.Uint64(b[16:]), le.Uint64(b[24:])
		// The header holds the link address of the entry; the link address
		// of the image is the load address within the same segment.
		const addressBits = 1<<48 - 1
		k.EntryOffset = (le.Uint64(b[8:]) - k.TextOffset) & addressBits
		if k.EntryOffset >= k.ImageSize {
			return nil, fmt.Errorf("%w: entry 0x%x, load offset 0x%x, image of 0x%x bytes", ErrHeader, le.Uint64(b[8:]), k.TextOffset, k.ImageSize)
		}
	default:
		return nil, fmt.Errorf("%w: no Image magic at 0x38", ErrNotKernel)
	}
	const most = 1 << 40 // beyond any kernel, far from wrapping
	if k.ImageSize > most || k.TextOffset > most {
		return nil, fmt.Errorf("%w: text offset 0x%x, image size 0x%x", ErrHeader, k.TextOffset, k.ImageSize)
	}
	if b[0] == 'M' && b[1] == 'Z' {
		k.PEOffset = le.Uint32(b[0x3c:])
	}
	return k, nil
}
