// SPDX-License-Identifier: Apache-2.0

// Package peel opens UEFI boot images, says whether they may boot, takes them
// apart and makes the kernel inside ready for kexec.
//
// In: the path of an image. Out, in this order: an Image, whose bytes nobody
// can change any more; a trust.Report from Verify; an image.Payload from
// Decompose; a Boot from Prepare, which holds the sealed files and the command
// line that kexec takes.
//
//	im, err := peel.Open("linux.efi", peel.Options{Verifier: v})
//	...
//	defer im.Close()
//	boot, err := im.Prepare(ctx, peel.Additions{})
//	...
//	defer boot.Close()
//	err = boot.Load(&kexec.Client{Machine: m}, kexec.FileFlags{})
//
// The order cannot be got wrong: Decompose verifies first, and Prepare
// decomposes only what was verified.
//
// It must never know a format, a system call or a command-line flag: those
// live in image and its sub-packages, in internal/unix and in cmd/peel.
package peel
