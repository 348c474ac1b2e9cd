// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"errors"
	"fmt"
)

// Errors of this package. Each is wrapped with what was found, where and how
// much.
var (
	// ErrNoParser: no program at hand knows the format of a layer.
	ErrNoParser = errors.New("no parser knows this format")
	// ErrBroken: a program knows the format and found the image broken.
	ErrBroken = errors.New("broken image")
	// ErrProgram: a program failed, or ended without a result.
	ErrProgram = errors.New("parser program failed")
	// ErrGeneration: the program speaks an ABI that this host does not know.
	ErrGeneration = errors.New("unknown generation of the parser ABI")
	// ErrContainer: a container of programs breaks the rules.
	ErrContainer = errors.New("malformed parser container")
	// ErrTruncated: a header or table passes the end of the bytes.
	ErrTruncated = errors.New("truncated")
	// ErrTrailer: a module-style signature trailer that lies.
	ErrTrailer = errors.New("malformed signature trailer")
	// ErrLimit: a size, count or depth exceeds the Limits.
	ErrLimit = errors.New("limit exceeded")
	// ErrVerification: the Verifier said no, or a program asked for a
	// verification that nobody can give.
	ErrVerification = errors.New("verification failed")
	// ErrAddons: no layer of the image takes the addons that were given.
	ErrAddons = errors.New("addons not used")
	// ErrCommand: a command the host cannot carry out.
	ErrCommand = errors.New("invalid parser command")
)

// A Refusal is what a program said about an image that it will not take apart.
// It wraps ErrBroken, or ErrNoParser if the format is another one.
type Refusal struct {
	// Program that refused.
	Program string
	// Broken tells that the format is the program's own.
	Broken bool
	// Offset and Size are in bytes; what they count the Text says.
	Offset, Size uint64
	// Text is the program's reason.
	Text string
}

func (r *Refusal) Error() string {
	if !r.Broken {
		return fmt.Sprintf("%s: %s", r.Program, r.Text)
	}
	return fmt.Sprintf("%s: %s (0x%x, 0x%x)", r.Program, r.Text, r.Offset, r.Size)
}

func (r *Refusal) Unwrap() error {
	if r.Broken {
		return ErrBroken
	}
	return ErrNoParser
}

// Negative error numbers that programs get to see (asm-generic/errno.h; the
// same on every architecture that peel runs on).
const (
	ePerm        = -1
	eNoMem       = -12
	eFault       = -14
	eBusy        = -16
	eInval       = -22
	eBadMsg      = -74
	eKeyRejected = -129
)

// errnoName spells a result for people.
func errnoName(n int) string {
	switch n {
	case 0:
		return "ok"
	case ePerm:
		return "EPERM"
	case eNoMem:
		return "ENOMEM"
	case eFault:
		return "EFAULT"
	case eBusy:
		return "EBUSY"
	case eInval:
		return "EINVAL"
	case eBadMsg:
		return "EBADMSG"
	case eKeyRejected:
		return "EKEYREJECTED"
	}
	return fmt.Sprintf("error %d", n)
}
