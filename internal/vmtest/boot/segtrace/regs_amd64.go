// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// arguments returns number and arguments of a system call that is entered.
func arguments(pid int) (number uint64, args [4]uint64, err error) {
	var r syscall.PtraceRegs
	err = syscall.PtraceGetRegs(pid, &r)
	return r.Orig_rax, [4]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10}, err
}
