// SPDX-License-Identifier: Apache-2.0

// Package esl reads EFI signature lists and the variables they come in.
//
// In: the bytes of a db, dbx, KEK, PK or Mok variable, of an .esl file, or
// of an .auth file (an authenticated variable update). Out: the signatures
// in them: certificates and hashes with their owners.
//
// It must never decide what an entry permits or forbids, and never skip an
// entry it cannot read without saying so: a deny list that lost a line is
// worse than none.
package esl
