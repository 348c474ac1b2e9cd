// SPDX-License-Identifier: Apache-2.0

// Package sign makes the signatures that package trust reads: Authenticode
// in PE images, module-style appended signatures, detached CMS, IMA values,
// and updates of Secure Boot variables.
//
// In: the bytes to be signed, a Key (any crypto.Signer with its certificate),
// Options. Out: the message, or the image with the message in it as an
// Attached, which streams.
//
// The same input gives the same bytes: RSA signatures are PKCS #1 v1.5, ECDSA
// keys held in memory sign as RFC 6979 says, and no clock is read. ECDSA keys
// in a token choose their own random numbers.
//
// It must never judge a signature, hold a private key longer than a call, or
// write a file.
//
// Sources: RFC 5652; Windows Authenticode Portable Executable Signature
// Format, 2008; UEFI specification 2.11, sections 8.2.2 and 32; the kernel's
// include/linux/module_signature.h and security/integrity/integrity.h.
package sign
