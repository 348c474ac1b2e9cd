// SPDX-License-Identifier: Apache-2.0

// Package sbat reads the two kinds of SBAT text, the .sbat section of an
// image and the revocation level, and compares them as shim does (shim's
// SBAT.md and sbat.c).
//
// In: the contents of a .sbat section and of SbatLevelRT (or a file). Out:
// whether a component of the image is older than the level demands.
//
// It must never treat text it cannot read as permission.
package sbat
