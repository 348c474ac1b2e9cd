// SPDX-License-Identifier: Apache-2.0

// Package vmtest holds the tests that boot real kernels in QEMU, peel inside them, and kexec for real.
//
// In: the tool cache and this module's own binaries. Out: verdicts only; the package exports nothing.
//
// Tests that take minutes carry the build tag "long" and run in `make test-long`. No test here may skip.
package vmtest
