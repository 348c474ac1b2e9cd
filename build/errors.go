// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"

	"github.com/peelboot/peel/build/internal/files"
)

// Errors of this package. Each is wrapped with what was found, where and how
// much.
var (
	// ErrMissing means that a part without which there is no image is absent.
	ErrMissing = errors.New("part is missing")
	// ErrPart means that a part is not what it must be.
	ErrPart = errors.New("unsuitable part")
	// ErrStub means that the boot stub cannot be extended.
	ErrStub = errors.New("unsuitable stub")
	// ErrArch means that parts are for different architectures.
	ErrArch = errors.New("parts are for different architectures")
	// ErrDuplicate means that a section that may appear once was given twice.
	ErrDuplicate = errors.New("section given more than once")
	// ErrName means that a section name is empty, longer than eight bytes or
	// not printable.
	ErrName = errors.New("bad section name")
	// ErrNoSection means that the image has no section of that name there.
	ErrNoSection = errors.New("no such section")
	// ErrProtected means that a section belongs to the stub's own code.
	ErrProtected = errors.New("section belongs to the stub")
	// ErrLint means that firmware or shim would refuse the image.
	ErrLint = errors.New("firmware would refuse the image")
	// ErrLimit means that a part or the image is larger than its format or
	// its reader allows.
	ErrLimit = errors.New("exceeds a limit")
	// ErrConfig means that a configuration file cannot be read.
	ErrConfig = errors.New("bad configuration")

	// ErrTooLarge, ErrChanged and ErrExists come from reading and writing
	// files: one exceeds its limit, shrank meanwhile, is there already.
	ErrTooLarge = files.ErrTooLarge
	ErrChanged  = files.ErrChanged
	ErrExists   = files.ErrExists
)
