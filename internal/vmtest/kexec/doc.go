// SPDX-License-Identifier: Apache-2.0

// Package kexec tests package kexec on real kernels in virtual machines: what
// is loaded, started and refused, and how refusals are explained.
package kexec
