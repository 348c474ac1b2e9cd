// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package ima

import (
	"fmt"
	"os"
)

// File is a Reader for an open file. Only Linux has security.ima.
type File struct{ *os.File }

// ReadAttribute returns ErrNoAttribute.
func (f File) ReadAttribute(name string, _ int) ([]byte, error) {
	return nil, fmt.Errorf("%s: %w", name, ErrNoAttribute)
}
