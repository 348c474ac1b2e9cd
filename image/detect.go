// SPDX-License-Identifier: Apache-2.0

package image

import (
	"strings"

	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/magic"
)

// Info is what Detect found out about a run of bytes.
type Info struct {
	Kind Kind
	// Arch is the architecture the bytes are for, ArchUnknown when nothing
	// says it.
	Arch Arch
	// PE is set when the bytes are also a PE image that Parse of package pe
	// accepts: always for a UKI or an addon, mostly for kernels.
	PE *pe.File
	// Method is the compression method: of the bytes for KindCompress, of
	// the payload for KindZboot and KindBzImage.
	Method string
	// Err tells what is wrong with bytes that have the magic number of Kind
	// but do not hold to its format. A boot must not go on with them.
	Err error
}

// Detect says what b is, by its headers alone: at most a few kilobytes of it
// are read, and nothing is decompressed. The kinds are tried from the most
// special to the most general: a zboot image, a bzImage and an Image are PE
// images as well.
func Detect(b []byte) Info {
	switch {
	case linux.IsELF(b):
		return detectELF(b)
	case zboot.Is(b):
		return detectZboot(b)
	case linux.IsBzImage(b):
		return detectBzImage(b)
	case linux.IsImage(b):
		return detectImage(b)
	}
	if m := magic.Method(b); m != "" {
		return Info{Kind: KindCompress, Method: m}
	}
	if len(b) >= 2 && b[0] == 'M' && b[1] == 'Z' {
		return detectPE(b)
	}
	return Info{Kind: KindUnknown}
}

func detectZboot(b []byte) Info {
	in := Info{Kind: KindZboot}
	z, err := zboot.Parse(b)
	if err != nil {
		in.Err = err
		return in
	}
	in.Method = magic.Method(z.Payload())
	in.PE, in.Err = pe.Parse(b)
	if in.PE != nil {
		in.Arch = ArchOfMachine(in.PE.Machine)
	}
	return in
}

func detectBzImage(b []byte) Info {
	in := Info{Kind: KindBzImage, Arch: ArchX86}
	k, err := linux.ParseBzImage(b)
	if err != nil {
		in.Err = err
		return in
	}
	in.Method = magic.Method(k.Payload())
	if k.XLoadFlags&linux.XKernel64 != 0 {
		in.Arch = ArchX86_64
	}
	// A kernel without an EFI stub begins with MZ or not, and has no PE
	// header; it boots all the same.
	in.PE, in.Err = optionalPE(b)
	return in
}

func detectImage(b []byte) Info {
	in := Info{Kind: KindImage}
	k, err := linux.ParseImage(b)
	if err != nil {
		in.Err = err
		return in
	}
	in.Arch = Arch(k.Arch)
	in.PE, in.Err = optionalPE(b)
	return in
}

// optionalPE parses b as PE if it has a PE signature. An image that has one
// and breaks the format's rules is an error even where a PE header is not
// needed: firmware would refuse what peel accepts.
func optionalPE(b []byte) (*pe.File, error) {
	if !pe.Is(b) {
		return nil, nil
	}
	return pe.Parse(b)
}

func detectPE(b []byte) Info {
	f, err := pe.Parse(b)
	if err != nil {
		if !pe.Is(b) {
			return Info{Kind: KindUnknown, Err: err}
		}
		return Info{Kind: KindPE, Err: err}
	}
	in := Info{Kind: KindPE, Arch: ArchOfMachine(f.Machine), PE: f}
	switch {
	case uki.IsThin(f):
		in.Kind = KindThin
		_, in.Err = uki.ReadThin(f)
		return in
	case uki.IsUKI(f):
		in.Kind = KindUKI
	case uki.IsAddon(f):
		in.Kind = KindAddon
	default:
		return in
	}
	_, in.Err = uki.Read(f)
	return in
}

// detectELF tells parser containers and envelopes, which are known by their
// section names, from kernels.
func detectELF(b []byte) Info {
	e, err := linux.ParseELF(b)
	if err != nil {
		return Info{Kind: KindUnknown, Err: err}
	}
	for _, s := range e.Sections {
		switch {
		case numbered(s.Name, ".bpf."):
			return Info{Kind: KindContainer}
		case s.Name == ".kernel" || s.Name == ".uki" || numbered(s.Name, ".pe."):
			return Info{Kind: KindEnvelope, Arch: Arch(e.Arch)}
		}
	}
	if e.IsVmlinux() {
		return Info{Kind: KindVmlinux, Arch: Arch(e.Arch)}
	}
	return Info{Kind: KindUnknown}
}

// numbered reports whether name is prefix and one digit.
func numbered(name, prefix string) bool {
	digit, ok := strings.CutPrefix(name, prefix)
	return ok && len(digit) == 1 && digit[0] >= '0' && digit[0] <= '9'
}
