// SPDX-License-Identifier: Apache-2.0

// Package zboot reads and writes the header of EFI zboot images, vmlinuz.efi:
// a small EFI program around a compressed kernel.
//
// In: the bytes of a file, or header fields. Out: the header, the compressed
// payload as a view, or the 64 bytes of a header.
//
// It must never decompress the payload; package inflate does, and the boot
// path goes through a parser program.
//
// Source: drivers/firmware/efi/libstub/zboot-header.S and Makefile.zboot of
// Linux 6.1 to 6.12.
package zboot
