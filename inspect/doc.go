// SPDX-License-Identifier: Apache-2.0

// Package inspect describes an image as a tree of layers: kinds, sections,
// sizes, offsets, digests, signers, kernel versions and boot protocols.
//
// In: the bytes of an image. Out: a Layer, a value that prints as JSON with
// the schema of Schema and as text with WriteText.
//
// It must never decide anything: it says what is written in an image, not
// whether it is true, and nothing in it is on the way to booting a kernel. A
// layer that cannot be read is described as far as it goes, with the reason
// in Problem.
package inspect
