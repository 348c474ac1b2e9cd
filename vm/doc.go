// SPDX-License-Identifier: Apache-2.0

// Package vm runs a kernel or a firmware in QEMU and watches its serial console: the back end of `peel try` and of peel's
// own tests.
//
// In: a Config, that is paths (or open files) of a kernel, initrd, firmware and disks. Out: a running Machine, the text of
// its console, and how it ended.
//
// It must never be needed by a production path, never write to a disk or a variable store it was given (machines work on
// copies that are thrown away), and never start a process other than QEMU.
package vm
