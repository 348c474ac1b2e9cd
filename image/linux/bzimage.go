// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"bytes"
	"fmt"
)

// Offsets of the x86 setup header, in bytes from the start of the file.
const (
	setupStart   = 0x1f1
	setupJump    = 0x200
	setupMagic   = 0x202
	setupMinimum = 0x230 // end of the header of protocol 2.03
	sectorSize   = 512
)

// Bits of BzImage.LoadFlags.
const (
	LoadedHigh = 1 << 0 // the protected-mode code goes to 1 MiB, not 64 KiB
	KASLRFlag  = 1 << 1
	QuietFlag  = 1 << 5
	CanUseHeap = 1 << 7
)

// Bits of BzImage.XLoadFlags.
const (
	XKernel64       = 1 << 0 // 64-bit entry point at 0x200 of the code
	XCanBeAbove4G   = 1 << 1 // kernel, boot_params, cmdline, initrd above 4 GiB
	XEFIHandover32  = 1 << 2
	XEFIHandover64  = 1 << 3
	XEFIKexec       = 1 << 4
	X5Level         = 1 << 5
	X5LevelEnabled  = 1 << 6
	XMemoryEncrypts = 1 << 7
)

// BzImage is the setup header of an x86 kernel. Fields that the file's
// protocol version does not have are zero, or hold what the specification
// says an older kernel means.
type BzImage struct {
	// Raw is the whole file.
	Raw []byte
	// Protocol is the boot protocol version, major in the upper byte:
	// 0x020f is 2.15.
	Protocol uint16
	// SetupSize is the size of boot sector and real-mode code in bytes: the
	// offset of the protected-mode code in the file.
	SetupSize uint32
	// CodeSize is the size of the protected-mode code in bytes, as the
	// header has it: a multiple of 16, so it may exceed the file by 15.
	CodeSize uint64
	// HeaderEnd is the offset of the first byte after the setup header.
	HeaderEnd uint32
	// Version is the kernel's version text: release, builder, number, date.
	Version string

	RootFlags, VidMode, RootDev uint16
	LoaderType                  uint8
	LoadFlags                   uint8
	XLoadFlags                  uint16
	Code32Start                 uint32
	// InitrdAddrMax is the highest address that a byte of the initrd may
	// have, unless XCanBeAbove4G is set.
	InitrdAddrMax uint32
	// KernelAlignment is the alignment of the load address in bytes.
	KernelAlignment uint32
	Relocatable     bool
	MinAlignment    uint8 // binary logarithm
	// CmdlineSize is the largest command line in bytes without its NUL.
	CmdlineSize uint32
	// PayloadOffset and PayloadSize tell where in the file the compressed
	// kernel lies, the four bytes of its uncompressed size included.
	// PayloadSize is 0 when the protocol is older than 2.08.
	PayloadOffset, PayloadSize uint64
	// UncompressedSize is what the last four bytes of the payload say.
	UncompressedSize uint32
	SetupData        uint64
	PrefAddress      uint64 // preferred load address
	// InitSize is the memory in bytes that the kernel needs at its load
	// address before it looks at the memory map.
	InitSize uint32
	// HandoverOffset is the offset of the EFI handover entry from the start
	// of the protected-mode code (32-bit; the 64-bit one is 512 above), 0 if
	// there is none.
	HandoverOffset uint32
	// KernelInfoOffset is the offset of kernel_info in the protected-mode
	// code, 0 if there is none.
	KernelInfoOffset uint32
}

// IsBzImage reports whether b begins like an x86 kernel with a setup header.
func IsBzImage(b []byte) bool {
	return len(b) >= setupMinimum && b[0x1fe] == 0x55 && b[0x1ff] == 0xaa && string(b[setupMagic:setupMagic+4]) == "HdrS"
}

// ParseBzImage decodes the setup header of b. It fails with ErrNotKernel
// without the boot flag and "HdrS", with ErrTruncated when the setup code or
// the payload reaches beyond the file, and with ErrHeader when the fields
// contradict each other.
func ParseBzImage(b []byte) (*BzImage, error) {
	if len(b) < setupMinimum {
		return nil, fmt.Errorf("%w: bzImage of 0x%x bytes, the setup header ends at 0x%x", ErrTruncated, len(b), setupMinimum)
	}
	if !IsBzImage(b) {
		return nil, fmt.Errorf("%w: no boot flag at 0x1fe or no \"HdrS\" at 0x%x", ErrNotKernel, setupMagic)
	}
	k := &BzImage{Raw: b, Protocol: le.Uint16(b[0x206:]), InitrdAddrMax: 0x37ffffff, CmdlineSize: 255}
	if k.Protocol < 0x0202 || k.Protocol>>8 != 2 {
		return nil, fmt.Errorf("%w: boot protocol %d.%02d", ErrHeader, k.Protocol>>8, k.Protocol&0xff)
	}
	// The jump at 0x200 skips the rest of the header: its length says how
	// far the header goes.
	k.HeaderEnd = setupMagic + uint32(b[setupJump+1])
	if b[setupJump] != 0xeb || k.HeaderEnd < 0x224 {
		return nil, fmt.Errorf("%w: jump % x at 0x%x", ErrHeader, b[setupJump:setupJump+2], setupJump)
	}
	sectors := uint32(b[setupStart])
	if sectors == 0 {
		sectors = 4
	}
	k.SetupSize = (sectors + 1) * sectorSize
	if uint64(k.SetupSize) > uint64(len(b)) || k.HeaderEnd > k.SetupSize {
		return nil, fmt.Errorf("%w: setup code of 0x%x bytes in a file of 0x%x", ErrTruncated, k.SetupSize, len(b))
	}
	k.RootFlags = le.Uint16(b[0x1f2:])
	k.CodeSize = uint64(le.Uint32(b[0x1f4:])) * 16
	k.VidMode = le.Uint16(b[0x1fa:])
	k.RootDev = le.Uint16(b[0x1fc:])
	k.LoaderType = b[0x210]
	k.LoadFlags = b[0x211]
	k.Code32Start = le.Uint32(b[0x214:])
	k.Version = k.version()
	k.parseLater()
	return k, k.parsePayload()
}

// parseLater reads the fields that came with later protocols, as far as the
// header goes.
func (k *BzImage) parseLater() {
	b := k.Raw
	has := func(protocol uint16, end uint32) bool { return k.Protocol >= protocol && end <= k.HeaderEnd }
	if has(0x0203, 0x230) {
		k.InitrdAddrMax = le.Uint32(b[0x22c:])
	}
	if has(0x0205, 0x235) {
		k.KernelAlignment = le.Uint32(b[0x230:])
		k.Relocatable = b[0x234] != 0
	}
	if has(0x020a, 0x236) {
		k.MinAlignment = b[0x235]
	}
	if has(0x020c, 0x238) {
		k.XLoadFlags = le.Uint16(b[0x236:])
	}
	if has(0x0206, 0x23c) {
		k.CmdlineSize = le.Uint32(b[0x238:])
	}
	if has(0x0208, 0x250) {
		k.PayloadOffset = uint64(le.Uint32(b[0x248:]))
		k.PayloadSize = uint64(le.Uint32(b[0x24c:]))
	}
	if has(0x0209, 0x258) {
		k.SetupData = le.Uint64(b[0x250:])
	}
	if has(0x020a, 0x264) {
		k.PrefAddress = le.Uint64(b[0x258:])
		k.InitSize = le.Uint32(b[0x260:])
	}
	if has(0x020b, 0x268) {
		k.HandoverOffset = le.Uint32(b[0x264:])
	}
	if has(0x020f, 0x26c) {
		k.KernelInfoOffset = le.Uint32(b[0x268:])
	}
}

// parsePayload turns the payload's offset into one of the file and checks it.
func (k *BzImage) parsePayload() error {
	if k.PayloadSize == 0 {
		k.PayloadOffset = 0
		return nil
	}
	k.PayloadOffset += uint64(k.SetupSize)
	end := k.PayloadOffset + k.PayloadSize
	if end > uint64(len(k.Raw)) {
		return fmt.Errorf("%w: payload 0x%x+0x%x in a file of 0x%x bytes", ErrTruncated, k.PayloadOffset, k.PayloadSize, len(k.Raw))
	}
	if k.PayloadSize >= 4 {
		k.UncompressedSize = le.Uint32(k.Raw[end-4:])
	}
	return nil
}

// version returns the text that kernel_version points at.
func (k *BzImage) version() string {
	at := uint32(le.Uint16(k.Raw[0x20e:]))
	if at == 0 || at+setupJump >= k.SetupSize {
		return ""
	}
	return text(k.Raw[at+setupJump : k.SetupSize])
}

// Payload returns the compressed kernel as a view of Raw.
func (k *BzImage) Payload() []byte {
	end := k.PayloadOffset + k.PayloadSize
	return k.Raw[k.PayloadOffset:end:end]
}

// Code returns the protected-mode code as a view of Raw: CodeSize bytes, or
// what the file has of them.
func (k *BzImage) Code() []byte {
	end := min(uint64(k.SetupSize)+k.CodeSize, uint64(len(k.Raw)))
	return k.Raw[k.SetupSize:end:end]
}

// Header returns the bytes of the setup header, from 0x1f1 to HeaderEnd, as
// they go into boot_params.
func (k *BzImage) Header() []byte { return k.Raw[setupStart:k.HeaderEnd:k.HeaderEnd] }

// ProtocolString returns the protocol version as "2.15".
func (k *BzImage) ProtocolString() string {
	return fmt.Sprintf("%d.%02d", k.Protocol>>8, k.Protocol&0xff)
}

// maxText bounds a version text in bytes.
const maxText = 512

// text returns b up to the first NUL or line end, if all of it is printable
// and not too long, else nothing.
func text(b []byte) string {
	b = b[:min(len(b), maxText)]
	end := bytes.IndexAny(b, "\x00\n")
	if end < 0 {
		return ""
	}
	for _, c := range b[:end] {
		if c < ' ' || c == 0x7f {
			return ""
		}
	}
	return string(b[:end])
}
