// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"time"
)

// Errors of this package.
var (
	// ErrUnsupported means that this machine cannot run such processes.
	ErrUnsupported = errors.New("cannot run code in a sandbox here")
	// ErrConfig means that Config makes no sense.
	ErrConfig = errors.New("bad configuration of the sandbox")
	// ErrTime and ErrMemory mean that the code used up what it was given.
	ErrTime   = errors.New("time limit of the sandbox exceeded")
	ErrMemory = errors.New("memory limit of the sandbox exceeded")
	// ErrMode means that the code left 64-bit mode.
	ErrMode = errors.New("left 64-bit mode")
	// ErrDied means that something else killed the process.
	ErrDied = errors.New("sandbox process died")
	// ErrAddress means an address outside of RAM.
	ErrAddress = errors.New("address outside of RAM")
)

// pageSize is the unit of the ranges in Config on every architecture; a host
// with larger pages needs ranges of whole pages of its own.
const pageSize = 4096

// Range is a range of physical addresses in bytes. Start and Size are
// multiples of 4096.
type Range struct{ Start, Size uint64 }

// End returns the address after the last byte.
func (r Range) End() uint64 { return r.Start + r.Size }

// Config describes a Process.
type Config struct {
	// RAM lists where RAM is, sorted and disjoint.
	RAM []Range
	// MaxMemory is how many bytes of RAM may be in use at a time, 0 for no
	// limit, and MaxTime how long the process may live, 0 for no limit.
	MaxMemory int64
	MaxTime   time.Duration
}

// maxAddress bounds RAM: what 47 bits of virtual addresses can hold, less
// room for the page that is ours.
const maxAddress = 0x7d0000000000

func (c *Config) check() error {
	var last uint64
	if len(c.RAM) == 0 || len(c.RAM) > 1024 {
		return fmt.Errorf("%w: %d ranges of RAM", ErrConfig, len(c.RAM))
	}
	for _, r := range c.RAM {
		if r.Start%pageSize != 0 || r.Size%pageSize != 0 || r.Size == 0 || r.Start < last || r.Size > maxAddress || r.Start > maxAddress-r.Size {
			return fmt.Errorf("%w: RAM %#x+%#x after %#x", ErrConfig, r.Start, r.Size, last)
		}
		last = r.End()
	}
	return nil
}

// Kind says why a Process stopped.
type Kind int

// Reasons of a stop.
const (
	// Trap: a breakpoint instruction at PC.
	Trap Kind = iota + 1
	// Syscall: a system call at PC; it was not done.
	Syscall
	// Fetch: the instruction at PC is not executable memory.
	Fetch
	// Access: an instruction at PC used Addr, which is not mapped or not for
	// writing.
	Access
	// Illegal: the instruction at PC is privileged, undefined, or misused.
	Illegal
)

func (k Kind) String() string {
	switch k {
	case Trap:
		return "breakpoint"
	case Syscall:
		return "system call"
	case Fetch:
		return "jump to memory that is not code"
	case Access:
		return "access to memory that is not there"
	case Illegal:
		return "privileged or undefined instruction"
	}
	return fmt.Sprintf("stop %d", int(k))
}

// Stop is why and where a Process stopped.
type Stop struct {
	Kind Kind
	// PC is the address of the instruction; for Trap that of the breakpoint.
	PC uint64
	// Addr is the address used, for Fetch and Access. For Fetch it is PC, or
	// where the page begins that holds the rest of the instruction.
	Addr uint64
	// Signal and Code are what the kernel said (sigaction(2)).
	Signal int
	Code   int32
}

func (s Stop) String() string {
	if s.Kind == Access {
		return fmt.Sprintf("%v: %#x, by the instruction at %#x", s.Kind, s.Addr, s.PC)
	}
	return fmt.Sprintf("%v at %#x", s.Kind, s.PC)
}

// Register is a register with its value.
type Register struct {
	Name  string
	Value uint64
}

// Prot says what a page is good for. Pages can always be read.
type Prot int

// Protections.
const (
	Read Prot = iota
	Write
	Execute
	WriteExecute
)
