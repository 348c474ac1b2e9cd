// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"log/slog"

	"github.com/peelboot/peel/internal/sealed"
)

// SigMode is what programs are told about signatures (field sig_mode of the
// context, enum kexec_sig_enforced of the series' later branch).
type SigMode uint32

// The modes. A program asks for the verification of the image with VERIFY_SIG
// under SigPE and SigIMA.
const (
	SigNone SigMode = 0 // the program need not ask
	SigPE   SigMode = 1 // an Authenticode signature counts
	SigIMA  SigMode = 2 // a security.ima signature beside the image counts too
)

// A Verifier says whether bytes are to be trusted. Package trust has one. It
// is asked before any program that the image or the operator brought runs, and
// whenever a program asks; an error ends the decomposition.
type Verifier interface {
	// Mode is what programs are told.
	Mode() SigMode
	// Image checks a whole image of the given origin by its own signature.
	// The bytes are only valid during the call, as those of IMA.
	Image(ctx context.Context, origin string, image []byte) error
	// IMA checks data by the bytes of a security.ima attribute.
	IMA(ctx context.Context, origin string, data, xattr []byte) error
	// Programs checks a container of programs. signature is the PKCS#7 of
	// its trailer over payload, or nil when it is not signed.
	Programs(ctx context.Context, origin string, payload, signature []byte) error
}

// Limits bound one decomposition. Zero fields mean the defaults.
type Limits struct {
	// Depth is how many layers may be taken apart on the way to the kernel.
	Depth int
	// Kernel bounds the output of one decompression in bytes.
	Kernel uint64
	// Output bounds all that is decompressed together, in bytes.
	Output uint64
	// Copies bounds the bytes that programs may hand over by value instead
	// of by reference. The default is twice the image and 64 MiB.
	Copies uint64
	// Memory bounds the maps and records of each run of a program, in bytes
	// asked for; pages that the program never touches cost nothing. A parser
	// of the series reserves one record for the decompressed kernel and 64
	// MiB of initrd, so the default is twice the image and 256 MiB.
	Memory uint64
	// Touched bounds how much of Memory may be real: maps, and records from
	// their first byte to the last that was read or written. The default is
	// twice the image and 64 MiB.
	Touched uint64
	// Instructions bounds each run of a program.
	Instructions uint64
	// Commands bounds the commands of each run of a program.
	Commands int
}

// The default limits.
const (
	DefaultDepth        = 5
	DefaultKernel       = 512 << 20
	DefaultOutput       = 1 << 30
	DefaultInstructions = 16 << 20
	DefaultCommands     = 1024
	defaultCopies       = 64 << 20
	defaultMemory       = 256 << 20
	defaultTouched      = 64 << 20
)

func (l Limits) withDefaults(image uint64) Limits {
	if l.Depth == 0 {
		l.Depth = DefaultDepth
	}
	if l.Kernel == 0 {
		l.Kernel = DefaultKernel
	}
	if l.Output == 0 {
		l.Output = DefaultOutput
	}
	if l.Copies == 0 {
		l.Copies = 2*image + defaultCopies
	}
	if l.Memory == 0 {
		l.Memory = 2*image + defaultMemory
	}
	if l.Touched == 0 {
		l.Touched = 2*image + defaultTouched
	}
	if l.Instructions == 0 {
		l.Instructions = DefaultInstructions
	}
	if l.Commands == 0 {
		l.Commands = DefaultCommands
	}
	return l
}

// An Addon is an image that extends the image being taken apart.
type Addon struct {
	Name string
	Data []byte
}

// Options of Decompose. The zero value takes apart with the stock programs.
type Options struct {
	// Name is what the image is called in origins; "image" if empty.
	Name string
	// Programs is a container or a single object from the operator, or nil.
	// Its programs go before the stock ones. Once one of a level has taken a
	// layer apart, the programs of the level nested in it, if there is one,
	// take its place.
	Programs []byte
	// Stock replaces the stock programs. NoStock drops them.
	Stock   [][]byte
	NoStock bool
	// IgnoreOwn leaves .bpf sections of images alone.
	IgnoreOwn bool
	// Addons in the order in which they apply; the caller sorts them.
	Addons []Addon
	// Profile chooses a profile of the image: a decimal number, or the ID
	// that the profile gives itself. Empty means the default one.
	Profile string
	// HWIDs are this machine's hardware ids (computer hardware ids, CHIDs)
	// as 16-byte EFI_GUIDs, the most specific first; 32 at most.
	HWIDs [][16]byte
	// Compatible is the first compatible text of this machine's own device
	// tree, empty if it has none.
	Compatible string
	// Kdump tells programs that the kernel is for a crash.
	Kdump bool
	// Verifier is asked for verifications; nil means that no policy is in
	// force, and programs that demand one fail.
	Verifier Verifier
	Limits   Limits
	// Keep takes over the memory of what was decompressed; the caller closes
	// it when the Payload is no longer used. If nil, the bytes are copied to
	// the heap instead.
	Keep func(*sealed.Memory)
	// Trace is called for each command as it is carried out. Digests are
	// only computed when it is set.
	Trace func(Command)
	// Print receives what programs print, nil drops it.
	Print  func(program, message string)
	Logger *slog.Logger

	// seriesOnly makes a host that knows only the series, for tests.
	seriesOnly bool
}

func (o *Options) log() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
