// SPDX-License-Identifier: Apache-2.0

// Package trust answers who signed an image and whether it may boot.
//
// In: the layers of an image and the parts added from outside, as sealed
// bytes; lists of keys and hashes that allow or deny; a policy. Out: a
// Report: for each layer its digest, signatures, signer, chain, the list
// that matched, a verdict, and the reason in one sentence.
//
// The order is shim's: what a deny list names is refused whatever else holds;
// then the SBAT level; then what an allow list names is allowed; all else is
// refused. docs/trust.md has the rules and where they come from.
//
// Sub-packages read one format each: cms, authenticode, appended, ima, esl
// and sbat; keyring collects lists from a machine.
//
// It must never parse beyond what a signature covers, look at a clock to
// decide, read files, or let a mode other than the caller's own choice turn a
// refusal into consent.
package trust
