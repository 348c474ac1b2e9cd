// SPDX-License-Identifier: Apache-2.0

// Package build boots what package build makes: signed kernel images under
// firmware that trusts our keys, zboot images under firmware and by kexec.
//
// In: Debian's kernels, stubs and firmware out of the tool cache, and keys
// made on the spot. Out: a verdict of each loader that is not ours.
//
// It must never ask peel whether peel is right.
package build
