// SPDX-License-Identifier: Apache-2.0

// Package site puts together the verifier of one machine: the rules and keys
// of its operator, of its firmware, and of one call.
//
// In: a machine's facts, its root directory, and what a call asked for. Out:
// a trust.Verifier in which every value knows where it comes from.
//
// It must never decide about an image, and never pass over a list or a policy
// file that is there and cannot be read.
package site
