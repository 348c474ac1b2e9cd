// SPDX-License-Identifier: Apache-2.0

// Package external signs with the help of another program: one that speaks to
// a PKCS #11 token (peel-pkcs11), to a cloud's key service, to a colleague.
//
// In: the program, the name of a key in the program's own language, a PIN.
// Out: a crypto.Signer with the certificates that the program knows.
//
// It must never load foreign code into its own process, put a PIN on a command
// line, wait without end, or believe a signature that it has not checked with
// the public key.
//
// Source: docs/signer-protocol.md, which is the specification.
package external
