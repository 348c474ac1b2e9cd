// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapRead maps the first size bytes of f for reading. The mapping is private:
// kernels before 6.7 refuse a shared one of a write-sealed memfd. size must
// be at least 1.
func MapRead(f *os.File, size int) ([]byte, error) {
	return mapFile(f, size, unix.PROT_READ, unix.MAP_PRIVATE)
}

// MapShared maps the first size bytes of f for reading and writing; writes
// reach the file. size must be at least 1.
func MapShared(f *os.File, size int) ([]byte, error) {
	return mapFile(f, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func mapFile(f *os.File, size, prot, flags int) (b []byte, err error) {
	err = control(f, "mmap", func(fd int) error {
		p, err := unix.MmapPtr(fd, 0, nil, uintptr(size), prot, flags)
		if err == nil {
			b = unsafe.Slice((*byte)(p), size)
		}
		return err
	})
	return b, err
}

// Remap replaces the whole mapping b, which MapShared returned for f, by a
// private read-only one at the same address, in one step: slices of b stay
// valid, but writing to them is a fault from then on.
func Remap(f *os.File, b []byte) error {
	return control(f, "mmap", func(fd int) error {
		_, err := unix.MmapPtr(fd, 0, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)),
			unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_FIXED)
		return err
	})
}

// Populate makes the pages of b, which MapShared returned, ready for writing, as
// touching each of them would, without changing them. It fails with EINVAL
// before Linux 5.14.
func Populate(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return os.NewSyscallError("madvise", unix.Madvise(b, unix.MADV_POPULATE_WRITE))
}

// Forget gives the pages of a mapping of a file back, which must not have been
// written to: they come from the file again when they are read.
func Forget(b []byte) error {
	return os.NewSyscallError("madvise", unix.Madvise(b, unix.MADV_DONTNEED))
}

// Unmap drops a mapping that MapRead or MapShared returned; b must be the
// very slice. No slice of it may be used afterwards.
func Unmap(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return os.NewSyscallError("munmap", unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))))
}
