// SPDX-License-Identifier: Apache-2.0

// Package images holds the tests that boot whole images, with what lies beside them, by peel and by their own stubs.
//
// In: the tool cache and this module's own binaries. Out: verdicts only; the package exports nothing.
package images
