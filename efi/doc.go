// SPDX-License-Identifier: Apache-2.0

// Package efi is the run route: it lets a boot image's own EFI stub run in a
// sandbox, with the boot services that it needs, until it has left boot
// services and jumps into the kernel, and captures what it has prepared.
//
// In: an image, a way to verify it, the snapshot of the machine and copies of
// its tables, load options, initrds, the directory beside the image. Out: a State, of which
// package boot makes a plan.
//
// efi/process keeps the code apart, efi/firmware answers its calls, and
// efi/capture is the value that comes out.
//
// It must never run an image that was not verified first, do anything for it
// outside of its sandbox, or believe what it has captured: boot checks that.
package efi
