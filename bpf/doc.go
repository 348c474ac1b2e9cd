// SPDX-License-Identifier: Apache-2.0

// Package bpf runs eBPF programs in a bounds-checked interpreter.
//
// In: an eBPF object, either a relocatable ELF file as clang writes it or a
// light skeleton as bpftool writes it (OpenObject chooses), and a Host that
// says which kernel functions, helpers and types the program may use.
// Out: the value that the program returns, and whatever it told the host's
// functions on the way.
//
//	object, err := bpf.OpenObject(data, host) // inert: instructions, maps, BTF
//	machine, err := object.Link(host, bpf.Options{})
//	ctx, err := machine.Map("context", bytes, bpf.PermRead)
//	r0, err := machine.Run(context.Background(), "parse_pe", ctx)
//
// Everything up to Link is a value made from bytes. A Machine belongs to one
// goroutine at a time.
//
// The package never dereferences an address that a program made, never lets a
// program run longer or hold more memory than its Budget, never touches a
// byte outside the regions that the host mapped, and needs neither the
// kernel's BPF nor a privilege nor a particular operating system. What it
// checks, and what the kernel's verifier proves beyond that, stands in
// docs/bpf-machine.md.
//
// Sources: RFC 9669 (BPF Instruction Set Architecture), the kernel's
// Documentation/bpf/standardization/instruction-set.rst and
// Documentation/bpf/btf.rst, include/uapi/linux/bpf.h.
package bpf
