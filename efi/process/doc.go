// SPDX-License-Identifier: Apache-2.0

// Package process runs foreign machine code in an ordinary process that can
// do nothing but compute: no system call of it is ever done, no file is open,
// no memory is there but a sealed memfd that plays the physical RAM of a
// machine, mapped so that virtual and physical addresses are the same.
//
// In: where RAM is, and limits of time and memory. Out: a Process with its
// RAM and registers, and the reason of each stop: a breakpoint (that is how
// service calls arrive), a fault, a system call that was not done.
//
// It must never know what the code is or what its calls mean, do a system
// call on its behalf, or believe anything that it says.
//
// Walls, from the inside out: nothing is mapped but RAM, and one page of ours
// without data; data is not executable; PTRACE_SYSEMU stops each system call,
// whatever the instruction, before it is done; a seccomp filter kills the
// process at any that would come past that; all file descriptors are closed;
// resource limits; no_new_privs; namespaces of its own where the system
// grants them; user nobody when the parent is root. The child dies with its
// parent.
package process
