// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"io/fs"

	"github.com/peelboot/peel/build/internal/files"
)

// WriteFile writes b to path, whole or not at all. Without replace it fails
// with ErrExists when there is a file already.
func WriteFile(path string, b []byte, perm fs.FileMode, replace bool) error {
	out, err := files.Create(path, perm, replace)
	if err != nil {
		return err
	}
	if _, err := out.Write(b); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Commit()
}
