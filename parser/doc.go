// SPDX-License-Identifier: Apache-2.0

// Package parser takes boot images apart, layer by layer, with BPF programs.
//
// In: the bytes of an image that were read once, and programs: those in the
// image's own .bpf section, those in a container the operator gave, and the
// stock ones of package stock. Out: an image.Payload, the parts that make the
// kernel inside boot, and a report of what each layer was.
//
// The host here offers three kernel functions and a handful of commands, those
// of the Linux series "kexec: Use BPF lskel to enable kexec to load PE format
// boot image", and an extension that a kernel which knows only the series
// never sees. docs/parser-abi.md has every layout. What a format looks like is
// known by the programs alone: this package reads ELF containers of programs
// and looks for a .bpf section, and knows nothing of UKIs, zboot or envelopes.
//
// The package must never decide whether verification happens: it asks its
// Verifier before it runs a program that the image or the operator brought,
// and what a program asks can only make things stricter. It must never run a
// program outside of package bpf's machine, keep anything of a program that
// failed, or hold more memory than its Limits.
package parser
