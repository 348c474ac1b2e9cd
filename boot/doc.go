// SPDX-License-Identifier: Apache-2.0

// Package boot turns a payload into a plan: which bytes go to which physical
// addresses, where the processor starts, and what the kernel is handed over,
// by the boot protocols of x86-64, arm64 and riscv64 Linux.
//
// In: an image.Payload, and a Host, the facts of the machine. Out: a Plan, a
// value that can be printed, compared, checked with Validate and loaded.
// docs/boot-protocols.md lists each rule followed here with its source.
//
// The bytes of a plan are views of the payload; only what peel makes itself
// (boot_params, device trees, ELF core headers, trampolines) is on the heap.
//
// It must never talk to the kernel, read a file or the clock, or draw on any
// randomness but the reader it is given.
package boot
