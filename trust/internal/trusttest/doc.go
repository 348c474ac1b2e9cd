// SPDX-License-Identifier: Apache-2.0

// Package trusttest makes small images and signatures for the tests of
// package trust and its sub-packages, right ones and wrong ones.
//
// In: keys made by the test, and what to do differently from the
// specification. Out: bytes.
//
// It must never be used outside of tests.
package trusttest
