// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// arguments returns number and arguments of a system call that is entered.
func arguments(pid int) (number uint64, args [4]uint64, err error) {
	var r syscall.PtraceRegs
	err = syscall.PtraceGetRegs(pid, &r)
	return r.A7, [4]uint64{r.A0, r.A1, r.A2, r.A3}, err
}
