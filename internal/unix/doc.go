// SPDX-License-Identifier: Apache-2.0

// Package unix is the only door to system calls: no other package of peel
// imports golang.org/x/sys/unix or syscall.
//
// In: plain Go values. Out: plain Go values and errors of type Errno, each
// wrapped in an *os.SyscallError that names the call. There is one file per
// subject; what needs Linux is built on Linux only.
//
// It must never interpret what it passes on: it knows no image format, no
// policy and no path of its own, and it keeps no state.
package unix
