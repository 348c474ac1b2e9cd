// SPDX-License-Identifier: Apache-2.0

// Package appended takes a module-style signature off the end of a file: the
// trailer that the kernel's scripts/sign-file writes and that modules,
// powerpc and s390 kernels, IMA's modsig and parser containers use.
//
// In: the bytes of the whole file. Out: the bytes that are signed and the
// bytes of the detached CMS message over them.
//
// It must never judge the signature; package trust does.
package appended
