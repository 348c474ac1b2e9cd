// SPDX-License-Identifier: Apache-2.0

// Package measure holds the tests of measured boot in virtual machines: what peel predicts against what UEFI firmware,
// systemd's stub and Linux measure into an emulated TPM, and kexec that extends one.
//
// In: the tool cache and this module's own binaries. Out: verdicts only; the package exports nothing.
package measure
