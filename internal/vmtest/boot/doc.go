// SPDX-License-Identifier: Apache-2.0

// Package boot tests package boot on real kernels in virtual machines: plans
// are loaded by kexec_load and started, also by a panic, and the kernels that
// they start answer.
package boot
