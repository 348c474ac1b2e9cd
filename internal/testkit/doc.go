// SPDX-License-Identifier: Apache-2.0

// Package testkit is what tests share: real tools and images out of the tool cache, keys and signed images made on the
// spot, initramfs archives, static binaries, and virtual machines with scripted guests.
//
// In: a test and what it needs. Out: paths and bytes; whatever is missing fails the test with the command that brings it.
//
// It must never skip a test, never touch anything but the test's own temporary directory and the tool cache, and never
// be imported by a package of the product.
package testkit
