// SPDX-License-Identifier: Apache-2.0

// Package build makes boot images: unified kernel images, addons, EFI zboot
// kernels and the data containers of parser programs, and edits existing ones.
//
// In: a description of the image whose parts are files or bytes. Out: an
// Image, laid out but not copied, which streams to a writer or becomes a file,
// signed if a key is given.
//
// Files are mapped, not read: an image with an initrd of 500 MiB needs headers
// on the heap and nothing more. The same parts give the same bytes, on every
// machine: nothing reads a clock, a user, a path or a random number.
//
// It must never leave a broken or partial file behind, accept an image its own
// strict readers refuse, or run another program.
//
// Sources: UAPI.5 Unified Kernel Image; systemd-stub(7); ukify(1); Microsoft
// PE Format; the kernel's drivers/firmware/efi/libstub/Makefile.zboot. Package
// sign makes the signatures, package keyset the keys.
package build
