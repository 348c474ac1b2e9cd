// SPDX-License-Identifier: Apache-2.0

package kexec

import (
	"errors"
	"fmt"
)

// What went wrong, for errors.Is. A command's exit status is 4, "this machine
// cannot", for ErrNotPermitted and ErrUnsupported.
var (
	// ErrNotPermitted: the machine can, but not for this process or not as
	// it is set up.
	ErrNotPermitted = errors.New("kexec: not permitted")
	// ErrUnsupported: the running kernel cannot do this.
	ErrUnsupported = errors.New("kexec: not supported by this machine")
	// ErrRejected: the running kernel does not accept the signature of the
	// kernel to be loaded, or finds none.
	ErrRejected = errors.New("kexec: signature rejected by the running kernel")
	// ErrFormat: the running kernel does not know the kind of image.
	ErrFormat = errors.New("kexec: image not recognised by the running kernel")
	// ErrBusy: another kexec operation is under way.
	ErrBusy = errors.New("kexec: busy")
	// ErrNoMemory: the kernel does not fit into memory.
	ErrNoMemory = errors.New("kexec: no room in memory")
	// ErrInvalid: what was asked for cannot be, whatever the machine.
	ErrInvalid = errors.New("kexec: invalid request")
	// ErrNotLoaded: there is no loaded kernel to start.
	ErrNotLoaded = errors.New("kexec: no kernel is loaded")
)

// Error is a system call that failed, explained.
type Error struct {
	// Call is the system call, such as "kexec_file_load".
	Call string `json:"call"`
	// Errno is the error number, to be compared by errors.Is with the
	// constants of the system.
	Errno error `json:"-"`
	// Cause is the likely cause on this machine, a sentence without a stop.
	Cause string `json:"cause"`
	// Remedy says what to do, a sentence without a stop; may be empty.
	Remedy string `json:"remedy"`
	// Kind is one of the sentinels of this package, or nil.
	Kind error `json:"-"`
}

// Error returns call, errno, cause and remedy on one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v: %s", e.Call, e.Errno, e.Cause)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap makes errors.Is find both the errno and the sentinel.
func (e *Error) Unwrap() []error {
	var out []error
	for _, err := range []error{e.Errno, e.Kind} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}
