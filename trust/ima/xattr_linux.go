// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"errors"
	"fmt"
	"os"

	"github.com/peelboot/peel/internal/unix"
)

// File is a Reader for an open file.
type File struct{ *os.File }

// ReadAttribute reads the attribute with fgetxattr(2), so that attribute and
// contents are of the same file whatever happens to its name.
func (f File) ReadAttribute(name string, limit int) ([]byte, error) {
	b, err := unix.Getxattr(f.File, name, limit)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("%w: %w", ErrNoAttribute, err)
	}
	return b, err
}
