// SPDX-License-Identifier: Apache-2.0

// Package ima reads the values that security.ima extended attributes,
// evmctl's sidecar files and .ima sections hold, and checks the digital
// signatures among them.
//
// In: the attribute's bytes, the digest of the file, a public key. Out: what
// kind of value it is and whether it fits.
//
// Sources: the kernel's security/integrity/integrity.h, digsig_asymmetric.c
// and ima_appraise.c; Documentation/filesystems/fsverity.rst.
//
// It must never treat a plain digest as a statement by somebody: anyone who
// can write the file can write its digest.
package ima
