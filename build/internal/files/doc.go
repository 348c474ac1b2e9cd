// SPDX-License-Identifier: Apache-2.0

// Package files reads the inputs of a build without copying them and writes
// its outputs whole or not at all.
//
// In: paths, or bytes. Out: an Input, a view of a file; an Output, a
// temporary file beside its destination that Commit puts in place.
//
// It must never leave a file behind when something fails.
package files
