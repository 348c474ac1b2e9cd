// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"encoding/binary"
	"errors"
)

// Errors of this package. Each is wrapped with what was found, where and how
// much.
var (
	// ErrNotKernel means that the magic numbers of the format are missing.
	ErrNotKernel = errors.New("not a kernel of this format")
	// ErrTruncated means that a header or a part reaches beyond the file.
	ErrTruncated = errors.New("file too short")
	// ErrHeader means that header fields contradict each other.
	ErrHeader = errors.New("contradictory kernel header")
	// ErrLimit means that a table has more entries than any kernel.
	ErrLimit = errors.New("too many entries")
)

var le = binary.LittleEndian
