// SPDX-License-Identifier: Apache-2.0

// Package machine takes one snapshot of the facts that decide how, and
// whether, this machine can start another kernel.
//
// In: the files of /proc, /sys and efivarfs below any root directory, so
// that a recording of another machine serves as well as the running one.
// Out: a Machine: memory map, EFI, ACPI, boot_params, device tree, command
// line, state and rights of kexec, lockdown, Secure Boot, IMA, TPM, SMBIOS
// names. It is a value: comparing it, printing it as JSON and editing a copy
// in a test are all in order.
//
// Each fact tells whether it is known, unknown or not permitted, and where it
// was read. Nothing is guessed: what could not be read stays unknown.
//
// It must never be read twice for one decision: a caller reads once and hands
// the Machine on, so that all parts of one decision see the same facts. It
// never writes to the machine, makes no system calls beyond opening and
// reading files, and never fails because one fact is missing.
package machine
