// SPDX-License-Identifier: Apache-2.0

// Package run holds the tests of the run route in virtual machines: the stubs of unmodified images run in the first kernel,
// and what they have prepared is started by kexec for real.
//
// In: the tool cache and internal/cmd/efirun. Out: verdicts only; the package exports nothing.
package run
