// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package process

import "context"

// Process cannot be made here.
type Process struct{}

// CPU is the processor of a Process.
type CPU struct{}

// Saved is a state of the processor.
type Saved struct{}

// Start returns ErrUnsupported.
func Start(context.Context, Config) (*Process, error) { return nil, ErrUnsupported }

// The methods are there so that users compile; there is no Process.

func (*Process) Resume() (Stop, error)                          { return Stop{}, ErrUnsupported }
func (*Process) Memory() []byte                                 { return nil }
func (*Process) RAM() []Range                                   { return nil }
func (*Process) CPU() *CPU                                      { return nil }
func (*Process) Stops() int                                     { return 0 }
func (*Process) Isolation() string                              { return "" }
func (*Process) Protect(Range, Prot) error                      { return ErrUnsupported }
func (*Process) Populated() ([]Range, error)                    { return nil, ErrUnsupported }
func (*Process) Used() (int64, error)                           { return 0, ErrUnsupported }
func (*Process) Within() error                                  { return ErrUnsupported }
func (*Process) Stop()                                          {}
func (*Process) Close() error                                   { return nil }
func (*Process) Emulate() (string, bool, error)                 { return "", false, ErrUnsupported }
func (*Process) AtHandOver(Stop) (uint64, bool)                 { return 0, false }
func (*CPU) PC() uint64                                         { return 0 }
func (*CPU) SetPC(uint64)                                       {}
func (*CPU) SP() uint64                                         { return 0 }
func (*CPU) Arg(int) (uint64, error)                            { return 0, ErrUnsupported }
func (*CPU) Return(uint64)                                      {}
func (*CPU) Result() uint64                                     { return 0 }
func (*CPU) HandOver() uint64                                   { return 0 }
func (*CPU) Enter(entry, top, ret uint64, args ...uint64) error { return ErrUnsupported }
func (*CPU) Save() (Saved, error)                               { return Saved{}, ErrUnsupported }
func (*CPU) Restore(Saved) error                                { return ErrUnsupported }
func (*CPU) Registers() []Register                              { return nil }
