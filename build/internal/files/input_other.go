// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package files

import (
	"io"
	"os"
)

func mapInput(f *os.File, size int) (*Input, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), b); err != nil {
		return nil, err
	}
	return &Input{data: b}, nil
}

func isFault(error) bool { return false }
