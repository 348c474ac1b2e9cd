// SPDX-License-Identifier: Apache-2.0

// Package keyring collects the lists of keys and digests that a machine has:
// firmware variables, shim's lists, the running kernel's keyrings, and the
// operator's directories.
//
// In: directories, of the running machine or of a recorded one. Out:
// trust.List values, the SBAT level and the state of Secure Boot, each with
// where it came from.
//
// It must never decide about an image, change a variable or a keyring, or
// pass over a deny list that is there and cannot be read.
package keyring
