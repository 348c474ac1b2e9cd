// SPDX-License-Identifier: Apache-2.0

// Package image says what a run of bytes is: which kind of boot image, for
// which architecture, and which layers lie inside it.
//
// In: bytes, already read once and sealed by the caller. Out: values: Info,
// Payload and Part, which the later packages hand on.
//
// The sub-packages know one format each and both read and write it: pe, uki,
// zboot, linux (bzImage, Image and vmlinux headers), fdt and cpio.
//
// It must never execute or trust anything: it does not look at keys, does not
// run programs and does not decide whether an image may boot.
package image
