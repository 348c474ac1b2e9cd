// SPDX-License-Identifier: Apache-2.0

// Package tpm reads and extends the registers of a TPM 2.0.
//
// In: a device or a socket, events to extend. Out: register values, and errors
// that a person understands.
//
// It must never change anything else: it knows no password, makes no key,
// clears, locks and owns nothing.
//
// Source: TPM 2.0 Library, part 3, sections 22 and 30.2.
package tpm
