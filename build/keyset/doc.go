// SPDX-License-Identifier: Apache-2.0

// Package keyset makes keys: a platform key, a key exchange key and a
// signature database key for Secure Boot, with the signature lists and
// authenticated updates that enrol them, and single code-signing keys.
//
// In: names, a kind of key, a time. Out: a Set, whose Files are what peel
// keygen writes.
//
// It must never read a clock, write a file, or be mistaken for a key store:
// private keys made in memory are plain PKCS #8.
//
// Sources: UEFI specification 2.11, sections 8.2.2 and 32; Microsoft's Windows
// Secure Boot Key Creation and Management Guidance for the sizes of keys.
package keyset
