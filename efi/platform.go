// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"errors"

	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/efi/process"
)

// platform is a process as firmware sees it.
type platform struct{ p *process.Process }

func (p platform) Memory() []byte    { return p.p.Memory() }
func (p platform) CPU() firmware.CPU { return cpu{p.p.CPU()} }
func (p platform) Within() error     { return p.p.Within() }

func (p platform) Code(start, size uint64, execute, write bool) error {
	prot := process.Read
	switch {
	case execute && write:
		prot = process.WriteExecute
	case execute:
		prot = process.Execute
	case write:
		prot = process.Write
	}
	return p.p.Protect(process.Range{Start: start, Size: size}, prot)
}

type cpu struct{ *process.CPU }

var errState = errors.New("not a state of this processor")

func (c cpu) Save() (any, error) { return c.CPU.Save() }

func (c cpu) Restore(s any) error {
	saved, ok := s.(process.Saved)
	if !ok {
		return errState
	}
	return c.CPU.Restore(saved)
}
