// SPDX-License-Identifier: Apache-2.0

package boot

import "errors"

// What can be wrong. Errors of this package wrap one of these.
var (
	ErrArch       = errors.New("architecture without a boot protocol here")
	ErrKernel     = errors.New("not a kernel that this boot protocol can start")
	ErrTruncated  = errors.New("truncated")
	ErrNoRoom     = errors.New("no room in memory")
	ErrLimit      = errors.New("limit of the boot protocol exceeded")
	ErrHost       = errors.New("fact of the machine is missing")
	ErrDeviceTree = errors.New("device tree cannot be used")
	ErrCrash      = errors.New("no crash kernel possible")
	ErrInvalid    = errors.New("invalid plan")
)
