// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of KexecFileLoad (uapi/linux/kexec.h).
const (
	KexecFileUnload      = unix.KEXEC_FILE_UNLOAD
	KexecFileOnCrash     = unix.KEXEC_FILE_ON_CRASH
	KexecFileNoInitramfs = unix.KEXEC_FILE_NO_INITRAMFS
	KexecFileDebug       = 0x8
)

// Flags of KexecLoad (uapi/linux/kexec.h). The architecture goes into the
// upper 16 bits.
const (
	KexecOnCrash       = unix.KEXEC_ON_CRASH
	KexecArchDefault   = unix.KEXEC_ARCH_DEFAULT
	KexecArchX86_64    = unix.KEXEC_ARCH_X86_64
	KexecArchAArch64   = unix.KEXEC_ARCH_AARCH64
	KexecArchRISCV     = 243 << 16
	KexecArchLoongArch = 258 << 16
	KexecSegmentMax    = unix.KEXEC_SEGMENT_MAX
)

// KexecFileLoad loads a kernel and, unless flags hold KexecFileNoInitramfs,
// an initramfs by kexec_file_load(2), or unloads one with KexecFileUnload.
// Either file may be nil where the flags allow it. cmdline must not hold a
// NUL; the final one that the kernel wants is added here. The file offsets do
// not matter: the kernel reads from the beginning.
func KexecFileLoad(kernel, initramfs *os.File, cmdline string, flags int) error {
	var line *byte
	var size uintptr
	if cmdline != "" {
		b, err := unix.ByteSliceFromString(cmdline)
		if err != nil {
			return os.NewSyscallError("kexec_file_load", err)
		}
		line, size = &b[0], uintptr(len(b))
	}
	return withFD(kernel, func(kfd int) error {
		return withFD(initramfs, func(ifd int) error {
			_, _, errno := unix.Syscall6(unix.SYS_KEXEC_FILE_LOAD, uintptr(kfd), uintptr(ifd), size,
				uintptr(unsafe.Pointer(line)), uintptr(flags), 0)
			if errno != 0 {
				return os.NewSyscallError("kexec_file_load", errno)
			}
			return nil
		})
	})
}

// withFD runs do with the descriptor of f, or with -1 when f is nil. f stays
// open meanwhile.
func withFD(f *os.File, do func(fd int) error) error {
	if f == nil {
		return do(-1)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// KexecSegment is one segment of KexecLoad: Buf is copied to the physical
// address Phys, the rest of MemSize bytes is zeroed. Phys and MemSize are
// multiples of the page size.
type KexecSegment struct {
	Buf     []byte
	Phys    uint64
	MemSize uint64
}

// rawSegment is struct kexec_segment of a 64-bit kernel.
type rawSegment struct {
	buf   unsafe.Pointer
	bufsz uintptr
	mem   uintptr
	memsz uintptr
}

// KexecLoad loads segments by kexec_load(2). With no segments it unloads. The
// kernel copies from Buf during the call; the caller keeps it unchanged.
func KexecLoad(entry uint64, segments []KexecSegment, flags uint64) error {
	raw := make([]rawSegment, len(segments))
	var pin runtime.Pinner
	defer pin.Unpin()
	for i, s := range segments {
		raw[i] = rawSegment{bufsz: uintptr(len(s.Buf)), mem: uintptr(s.Phys), memsz: uintptr(s.MemSize)}
		if len(s.Buf) > 0 {
			p := unsafe.SliceData(s.Buf)
			pin.Pin(p)
			raw[i].buf = unsafe.Pointer(p)
		}
	}
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, uintptr(entry), uintptr(len(raw)),
		uintptr(unsafe.Pointer(unsafe.SliceData(raw))), uintptr(flags), 0, 0)
	runtime.KeepAlive(segments)
	runtime.KeepAlive(raw)
	if errno != 0 {
		return os.NewSyscallError("kexec_load", errno)
	}
	return nil
}
