// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// maxMemfdName is the longest name memfd_create(2) takes, in bytes, without
// the final NUL.
const maxMemfdName = 249

// MemfdCreate returns a new, empty anonymous file that accepts seals, is
// closed on exec and, where the kernel can say so (Linux 6.3), can never be
// executed. The name is for /proc only and is cut to what the call accepts.
func MemfdCreate(name string) (*os.File, error) {
	short := name
	if len(short) > maxMemfdName {
		short = short[:maxMemfdName]
	}
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(short, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(short, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// SealAll forbids every later change of the memfd f: writing, growing,
// shrinking and further seals. It fails with EBUSY while a shared writable
// mapping of f exists.
func SealAll(f *os.File) error {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	return control(f, "fcntl(F_ADD_SEALS)", func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		return err
	})
}

// Sealed reports whether f is a memfd that carries every seal SealAll sets.
func Sealed(f *os.File) (bool, error) {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	var got int
	err := control(f, "fcntl(F_GET_SEALS)", func(fd int) (err error) {
		got, err = unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		return err
	})
	return err == nil && got&seals == seals, err
}

// control runs call with the descriptor of f, which stays open meanwhile.
func control(f *os.File, name string, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = call(int(fd)) }); err != nil {
		return err
	}
	return os.NewSyscallError(name, inner)
}

// AllocatedBytes returns how many bytes of storage or memory f takes up,
// holes not counted (fstat(2), st_blocks).
func AllocatedBytes(f *os.File) (int64, error) {
	var st unix.Stat_t
	err := control(f, "fstat", func(fd int) error { return unix.Fstat(fd, &st) })
	return st.Blocks * 512, err
}
