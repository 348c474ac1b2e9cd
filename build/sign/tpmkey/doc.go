// SPDX-License-Identifier: Apache-2.0

// Package tpmkey signs with keys that a TPM 2.0 holds.
//
// In: a file with a key that only its TPM can open (TSS2 PRIVATE KEY), or the
// number of a persistent key, and the password of either. Out: a crypto.Signer
// for RSA PKCS #1 v1.5 and ECDSA with SHA-1 (which some PCR banks want),
// SHA-256, SHA-384 and SHA-512; new keys as such files.
//
// It must never leave an object or session behind in the TPM, store anything
// in it, ask for the owner's password, or send a key's password over the bus
// as it is: sessions prove it.
//
// Sources: TPM 2.0 Library, parts 1 to 3, revision 1.59; ASN.1 Specification
// for TPM 2.0 Key Files (draft-bottomley-tpm2-keys); the files that Debian's
// openssl writes with the tpm2 provider.
package tpmkey
