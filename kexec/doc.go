// SPDX-License-Identifier: Apache-2.0

// Package kexec hands a kernel to the running kernel, starts it and drops it.
//
// In: a kernel, an initramfs and a command line for kexec_file_load(2), or
// segments and an entry point for kexec_load(2), beside the machine.Machine
// that the decision was made on. Out: a loaded kernel, or an Error that names
// the call, the errno, the likely cause on this machine and a remedy.
//
// Choose, Diagnose and Status are pure functions of a Machine and work on
// recordings. Client holds the calls; its Kernel is the seam for tests.
//
// It must never know an image format, decide whether an image may boot, or
// leave half a kernel loaded: the calls replace the loaded kernel as a whole
// or not at all.
package kexec
