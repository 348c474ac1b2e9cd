// SPDX-License-Identifier: Apache-2.0

// Package pe reads and writes PE/COFF images, the format of everything that
// UEFI firmware starts.
//
// In: the bytes of a file, or an existing image and sections to put into it.
// Out: a File: its headers decoded, its sections as views of those bytes, its
// Authenticode digests as firmware computes them and its certificate table;
// or a Layout, which streams a new image.
//
// The reader is strict. Parse accepts an image only if each header, section
// and table lies inside the file, nothing overlaps and the section count is
// sane; every other method may then rely on that. All arithmetic on offsets
// and sizes is in 64 bits.
//
// It must never load, relocate or execute an image, and it must never judge a
// signature: it hands out digests and certificates for package trust.
//
// Sources: Microsoft PE Format specification; Windows Authenticode Portable
// Executable Signature Format, 2008; UEFI specification 2.11, section 32.
package pe
