// SPDX-License-Identifier: Apache-2.0

// Package deflate makes gzip files that are as small as the format allows
// within reason: a few per cent below gzip -9.
//
// In: bytes. Out: a gzip member (RFC 1952) that holds them. It exists because
// the decompressor of a zboot image has room for the payload it was linked
// with and no more: a kernel that grows by a signature must be packed tighter
// than the kernel's own build packed it.
//
// The output depends on nothing but the input: not on the machine, its number
// of processors, the release of Go or the sizes in which the input is written.
// Costs are integers throughout for that reason.
//
// It must never be fed to choose what is decoded: package inflate decodes, and
// tells whether what came out is what went in.
package deflate
