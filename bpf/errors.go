// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with an object, before anything runs.
var (
	// ErrFormat: the bytes are not a BPF object, or contradict themselves.
	ErrFormat = errors.New("malformed BPF object")
	// ErrTruncated: a table or section reaches past the end of the bytes.
	ErrTruncated = errors.New("truncated BPF object")
	// ErrLimit: a size or count is beyond what this package accepts.
	ErrLimit = errors.New("limit exceeded")
	// ErrUnsupported: well formed, but of a kind that this package refuses.
	ErrUnsupported = errors.New("unsupported by the BPF machine")
	// ErrNoProgram: the object has no program of the name asked for.
	ErrNoProgram = errors.New("no such BPF program")
	// ErrNoSkeleton: an ELF object without opts_insn and opts_data.
	ErrNoSkeleton = errors.New("no light skeleton in the object")
	// ErrRelocation: a CO-RE record, a map or a function cannot be resolved.
	ErrRelocation = errors.New("unresolvable relocation")
	// ErrInvalid: the load-time check refuses the instructions.
	ErrInvalid = errors.New("invalid BPF program")
)

// What a program can do wrong while it runs. All are found in a *Fault.
var (
	// ErrAccess: a read or write outside every region.
	ErrAccess = errors.New("access outside any region")
	// ErrPermission: the region does not allow this kind of access.
	ErrPermission = errors.New("access not permitted")
	// ErrAlignment: an atomic, stack or context access at an address that
	// is no multiple of its size.
	ErrAlignment = errors.New("misaligned access")
	// ErrFreed: the address belonged to a region that is gone, such as a
	// submitted or discarded ring-buffer record.
	ErrFreed = errors.New("access to freed memory")
	// ErrInstructions: the instruction budget is used up.
	ErrInstructions = errors.New("instruction budget exceeded")
	// ErrMemory: the memory budget is used up.
	ErrMemory = errors.New("memory budget exceeded")
	// ErrDepth: more than eight nested frames.
	ErrDepth = errors.New("call depth exceeded")
	// ErrNoHelper: the host supplies no helper of this number.
	ErrNoHelper = errors.New("helper not supplied")
	// ErrNoKfunc: the host supplies no kernel function of this name.
	ErrNoKfunc = errors.New("kernel function not supplied")
	// ErrReference: a reference is released that is not held, or the program
	// ended with one that it never released.
	ErrReference = errors.New("reference not balanced")
	// ErrArgument: a helper was called with an argument that it refuses.
	ErrArgument = errors.New("invalid helper argument")
	// ErrPoisoned: an instruction was reached whose CO-RE relocation has no
	// answer on this host.
	ErrPoisoned = errors.New("instruction poisoned by CO-RE")
	// ErrBusy: Run was called from inside a Run of the same machine.
	ErrBusy = errors.New("machine is already running")
	// ErrTime: the context given to Run ended; the context's own error is
	// wrapped beside it.
	ErrTime = errors.New("time budget exceeded")
)

// A Fault says where a program failed.
//
// Load-time refusals are faults as well; then Err wraps ErrInvalid,
// ErrNoHelper or ErrUnsupported.
type Fault struct {
	// Program is the name of the program that was loaded or run.
	Program string
	// Function is the function that Index lies in, if the object names it.
	Function string
	// Index counts 8-byte instruction slots from the program's entry.
	Index int
	// Instruction is the disassembly of the instruction at Index.
	Instruction string
	// File, Line and Source come from the object's BTF line information;
	// Line is 0 where there is none.
	File   string
	Line   int
	Source string
	// Err is the reason.
	Err error
}

func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString("bpf")
	if f.Program != "" {
		fmt.Fprintf(&b, " program %s", f.Program)
	}
	if f.Function != "" && f.Function != f.Program {
		fmt.Fprintf(&b, ", function %s", f.Function)
	}
	fmt.Fprintf(&b, ": instruction %d", f.Index)
	if f.Instruction != "" {
		fmt.Fprintf(&b, " (%s)", f.Instruction)
	}
	if f.Line != 0 {
		fmt.Fprintf(&b, " at %s:%d", f.File, f.Line)
		if s := strings.TrimSpace(f.Source); s != "" {
			fmt.Fprintf(&b, " `%s`", s)
		}
	}
	fmt.Fprintf(&b, ": %v", f.Err)
	return b.String()
}

func (f *Fault) Unwrap() error { return f.Err }
