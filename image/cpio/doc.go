// SPDX-License-Identifier: Apache-2.0

// Package cpio reads and writes archives in the "newc" format, which the
// Linux kernel unpacks as its initial RAM file system.
//
// In: the bytes of one or several concatenated, uncompressed archives with
// zero padding between them, or files. Out: the entries, whose contents are
// views of those bytes, or an archive that is the same for the same entries:
// nothing of the running machine gets into it.
//
// It must never touch the file system, follow a name or decompress.
//
// Source: Documentation/driver-api/early-userspace/buffer-format.rst of
// Linux; cpio(5).
package cpio
