// SPDX-License-Identifier: Apache-2.0

// Package efivarfs writes EFI variables of the running machine.
//
// In: the directory where efivarfs is mounted, and variables. Out: nothing;
// the machine's firmware has them.
//
// It must never write a variable that was not named by its caller, change the
// attributes of one that exists, or leave a file less protected than it was.
package efivarfs
