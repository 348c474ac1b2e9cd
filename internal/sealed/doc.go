// SPDX-License-Identifier: Apache-2.0

// Package sealed holds bytes that nothing can change any more.
//
// In: a file, standard input or any reader, read exactly once up to a limit.
// Out: Memory: on Linux a memfd with every seal set, mapped read-only; on
// other systems a copy on the heap. What was verified is then what is parsed,
// executed and loaded, whatever happens to the file meanwhile.
//
// It must never read its source twice, hold more than the limit, or hand out
// a writable view of a Memory.
package sealed
