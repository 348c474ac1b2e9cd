// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Getxattr returns an extended attribute of an open file (fgetxattr(2)), at
// most limit bytes. ENODATA means that the file has no such attribute,
// EOPNOTSUPP that its file system has none at all.
func Getxattr(f *os.File, name string, limit int) (b []byte, err error) {
	err = control(f, "fgetxattr", func(fd int) error {
		buf := make([]byte, limit+1)
		n, err := unix.Fgetxattr(fd, name, buf)
		if err == nil && n > limit {
			err = unix.E2BIG
		}
		if err == nil {
			b = buf[:n]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}
