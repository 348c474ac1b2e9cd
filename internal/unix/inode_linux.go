// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// immutableFlag is FS_IMMUTABLE_FL (include/uapi/linux/fs.h).
const immutableFlag = 0x10

// Immutable sets or clears the immutable flag of an open file and tells what
// it was (ioctl_iflags(2)). File systems without flags have no immutable
// files: clearing is then done, and setting fails.
func Immutable(f *os.File, on bool) (was bool, err error) {
	err = control(f, "FS_IOC_SETFLAGS", func(fd int) error {
		flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		if errors.Is(err, unix.ENOTTY) && !on {
			return nil
		}
		if err != nil {
			return err
		}
		was = flags&immutableFlag != 0
		if was == on {
			return nil
		}
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags^immutableFlag)
	})
	return was, err
}
