// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/trust/sbat"
)

// Lint checks a PE image against the rules by which EDK2's and shim's image
// loaders refuse one, beyond those of pe.Parse, and returns what it violates,
// a line each: 64-bit images of an EFI subsystem; an entry point in a section
// that is code and not writable; no section both writable and executable;
// sections of some size, at aligned addresses if the image promises NX, without
// a gap in the file that no signature would cover; at most one .reloc and one
// .sbat, the latter well formed; relocations not marked as stripped, which
// shim refuses whether there were any or not.
func Lint(f *pe.File) []string {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if !f.Plus {
		say("PE32 image, shim starts PE32+ only")
	}
	if f.Subsystem < pe.SubsystemEFIApplication || f.Subsystem > pe.SubsystemEFIROM {
		say("subsystem %d is none of EFI", f.Subsystem)
	}
	if f.SectionAlignment < 4096 && f.DllCharacteristics&pe.DllNXCompat != 0 {
		say("section alignment 0x%x is below a page in an image that promises NX", f.SectionAlignment)
	}
	if f.SizeOfHeaders < f.FileAlignment {
		say("headers of 0x%x bytes, file alignment 0x%x", f.SizeOfHeaders, f.FileAlignment)
	}
	sbats, relocs, entry := 0, 0, false
	for _, s := range f.Sections {
		const wx = pe.SectionWrite | pe.SectionExecute
		if s.Characteristics&wx == wx {
			say("section %s is writable and executable", s.Name)
		}
		// Stubs up to systemd 252 have such sections; only memory protection
		// makes firmware mind.
		if f.DllCharacteristics&pe.DllNXCompat != 0 && f.SectionAlignment > 0 && s.VirtualAddress%f.SectionAlignment != 0 {
			say("section %s at address 0x%x, alignment 0x%x", s.Name, s.VirtualAddress, f.SectionAlignment)
		}
		if s.VirtualSize == 0 {
			say("section %s has no size in memory", s.Name)
		}
		if s.Name == ".reloc" {
			relocs++
		}
		if s.Name == uki.SBAT {
			sbats++
			if _, err := sbat.ParseSection(f.Data(s)); err != nil {
				say("section .sbat: %v", err)
			}
		}
		if f.EntryPoint >= s.VirtualAddress && uint64(f.EntryPoint) < uint64(s.VirtualAddress)+uint64(s.VirtualSize) {
			entry = true
			if s.Characteristics&pe.SectionExecute == 0 || s.Characteristics&pe.SectionWrite != 0 {
				say("entry point 0x%x lies in %s, which is not code that may only be read", f.EntryPoint, s.Name)
			}
		}
	}
	if f.EntryPoint != 0 && !entry {
		say("entry point 0x%x lies in no section", f.EntryPoint)
	}
	if sbats > 1 {
		say("%d sections .sbat, shim wants one", sbats)
	}
	if relocs > 1 {
		say("%d sections .reloc, shim wants one", relocs)
	}
	const relocsStripped = 1
	if f.Characteristics&relocsStripped != 0 {
		say("relocations are marked as stripped, shim loads nothing at a fixed address")
	}
	for _, e := range f.Unhashed() {
		say("no signature covers the 0x%x bytes at offset 0x%x", e.Size, e.Offset)
	}
	return bad
}

// checkImage reads a finished image with the strict readers.
func checkImage(b []byte, want func(*uki.Image) error) error {
	f, err := pe.Parse(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLint, err)
	}
	if bad := Lint(f); len(bad) > 0 {
		return fmt.Errorf("%w: %s", ErrLint, bad[0])
	}
	img, err := uki.Read(f)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLint, err)
	}
	if want != nil {
		return want(img)
	}
	return nil
}
