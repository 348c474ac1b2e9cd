// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"syscall"
)

// ownOutput returns standard output, and lets everybody else who writes to it
// write to standard error.
func ownOutput() (*os.File, error) {
	fd, err := syscall.Dup(1)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(fd)
	if err := replace(2, 1); err != nil {
		return nil, os.NewSyscallError("dup2", err)
	}
	return os.NewFile(uintptr(fd), "standard output"), nil
}
