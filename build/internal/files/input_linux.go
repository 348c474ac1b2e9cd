// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"os"

	"github.com/peelboot/peel/internal/unix"
)

func mapInput(f *os.File, size int) (*Input, error) {
	b, err := unix.MapRead(f, size)
	if err != nil {
		return nil, err
	}
	return &Input{data: b, unmap: func() error { return unix.Unmap(b) }, forget: func() error { return unix.Forget(b) }}, nil
}

// isFault reports whether err is how a system call says that it could not
// read the memory it was given.
func isFault(err error) bool { return errors.Is(err, unix.EFAULT) }
