// SPDX-License-Identifier: Apache-2.0

// Package cms reads Cryptographic Message Syntax SignedData (RFC 5652, and
// PKCS #7 1.5 of RFC 2315 as far as the two agree) and checks the signatures
// in it.
//
// In: DER bytes of one ContentInfo and, for detached signatures, the digest
// of the content. Out: a SignedData value with its certificates and signers,
// and the answer whether a given certificate made a given signature.
//
// The reader is strict: DER with definite, minimal lengths, nothing after the
// structure, bounded counts. sbsign, pesign, osslsigncode, signtool, openssl
// and the kernel's sign-file all write that.
//
// It must never decide whether a certificate is trusted, look at a clock, or
// accept a signature because a certificate inside the message made it: which
// key counts is the caller's question (package trust).
package cms
