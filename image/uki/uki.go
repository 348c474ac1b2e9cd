// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/peelboot/peel/image/pe"
)

// Errors of this package. Each is wrapped with what was found.
var (
	// ErrNotUKI means that the PE image is neither a UKI nor an addon.
	ErrNotUKI = errors.New("neither a unified kernel image nor an addon")
	// ErrDuplicate means that a section which may appear once in the base or
	// in a profile appears again: which one boots would be ambiguous.
	ErrDuplicate = errors.New("section appears more than once")
	// ErrProfile means that there is no profile of that number, or more than
	// MaxProfiles.
	ErrProfile = errors.New("no such profile")
	// ErrSelector means that load options begin with "@" but not with a
	// profile number.
	ErrSelector = errors.New("bad profile selector")
	// ErrText means that a section that must be text is not.
	ErrText = errors.New("section is no text")
	// ErrHWIDs means that a .hwids section is malformed.
	ErrHWIDs = errors.New("bad .hwids section")
)

// Section is a section that the table knows, with its contents.
type Section struct {
	Rule   Rule
	Header pe.Section
	// Data holds min(VirtualSize, SizeOfRawData) bytes, a view of the file.
	// What the stub measures is VirtualSize bytes: Data and zeros.
	Data []byte
}

// Base is the number of the base profile.
const Base = -1

// Profile is a run of sections of a UKI: the base, or what follows one
// .profile section.
type Profile struct {
	// Number counts from 0; Base for the base.
	Number int
	// ID and Title are the fields of that name in .profile, may be empty.
	ID, Title string
	// Sections are in the order of the file, .profile first.
	Sections []Section
}

// Image is a UKI or an addon.
type Image struct {
	File *pe.File
	// Addon tells an addon from a UKI.
	Addon bool
	// Base holds the sections before the first .profile.
	Base Profile
	// Profiles are numbered from 0.
	Profiles []Profile
	// Other are the sections the table does not know, the stub's own.
	Other []pe.Section
}

// IsUKI reports whether f has a .linux section.
func IsUKI(f *pe.File) bool {
	_, ok := f.Find(Linux)
	return ok
}

// IsAddon reports whether f is an EFI application without .linux that has one
// of the sections an addon is made for.
func IsAddon(f *pe.File) bool {
	if IsUKI(f) || f.Subsystem != pe.SubsystemEFIApplication {
		return false
	}
	for _, s := range f.Sections {
		if r, ok := RuleFor(s.Name); ok && r.AddonMain {
			return true
		}
	}
	return false
}

// Read sorts the sections of f into base and profiles. It fails with
// ErrNotUKI, ErrDuplicate or ErrProfile.
func Read(f *pe.File) (*Image, error) {
	img := &Image{File: f, Base: Profile{Number: Base}}
	switch {
	case IsUKI(f):
	case IsAddon(f):
		img.Addon = true
	default:
		return nil, fmt.Errorf("%w: %d sections, none of .linux, .cmdline, .initrd, .ucode, .dtb, .dtbauto", ErrNotUKI, len(f.Sections))
	}
	rules := map[string]Rule{}
	for _, r := range Rules() {
		rules[r.Name] = r
	}
	cur := &img.Base
	seen := map[string]bool{}
	for _, h := range f.Sections {
		rule, ok := rules[h.Name]
		if !ok {
			img.Other = append(img.Other, h)
			continue
		}
		s := Section{Rule: rule, Header: h, Data: f.Data(h)}
		if h.Name == ProfileS {
			if len(img.Profiles) == MaxProfiles {
				return nil, fmt.Errorf("%w: more than %d", ErrProfile, MaxProfiles)
			}
			img.Profiles = append(img.Profiles, Profile{Number: len(img.Profiles)})
			cur = &img.Profiles[len(img.Profiles)-1]
			cur.ID, _ = Field(s.Data, "ID")
			cur.Title, _ = Field(s.Data, "TITLE")
			clear(seen)
		}
		if seen[h.Name] && !rule.Multiple {
			return nil, fmt.Errorf("%w: %s in %s", ErrDuplicate, h.Name, cur.name())
		}
		seen[h.Name] = true
		cur.Sections = append(cur.Sections, s)
	}
	return img, nil
}

func (p *Profile) name() string {
	if p.Number == Base {
		return "the base"
	}
	return fmt.Sprintf("profile @%d", p.Number)
}

// Selection is what boots when a profile is chosen: the profile's sections
// and those of the base that it does not replace, in canonical order.
type Selection struct {
	// Profile is the number of the profile, Base if the image has none.
	Profile  int
	Sections []Section
}

// Select combines the base with profile n. Profile 0 of an image without
// profiles, and Base, give the base alone. Other numbers fail with
// ErrProfile.
func (img *Image) Select(n int) (*Selection, error) {
	sel := &Selection{Profile: n}
	var own []Section
	switch {
	case n == Base || n == 0 && len(img.Profiles) == 0:
		sel.Profile = Base
	case n < 0 || n >= len(img.Profiles):
		return nil, fmt.Errorf("%w: @%d of %d", ErrProfile, n, len(img.Profiles))
	default:
		own = img.Profiles[n].Sections
	}
	for _, r := range Rules() {
		found := named(own, r.Name)
		if len(found) == 0 {
			found = named(img.Base.Sections, r.Name)
		}
		sel.Sections = append(sel.Sections, found...)
	}
	return sel, nil
}

// ProfileByID returns the number of the profile with that ID.
func (img *Image) ProfileByID(id string) (int, error) {
	for _, p := range img.Profiles {
		if id != "" && p.ID == id {
			return p.Number, nil
		}
	}
	return 0, fmt.Errorf("%w: ID %q", ErrProfile, id)
}

func named(list []Section, name string) (found []Section) {
	for _, s := range list {
		if s.Rule.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// Find returns the first section of that name.
func (s *Selection) Find(name string) (Section, bool) {
	if found := named(s.Sections, name); len(found) > 0 {
		return found[0], true
	}
	return Section{}, false
}

// All returns all sections of that name in the order of the file.
func (s *Selection) All(name string) []Section { return named(s.Sections, name) }

// Cmdline returns the command line of .cmdline as the stub hands it on; ok is
// false when there is no such section. It fails with ErrText.
func (s *Selection) Cmdline() (line string, ok bool, err error) {
	sec, ok := s.Find(Cmdline)
	if !ok {
		return "", false, nil
	}
	line, err = CmdlineText(sec.Data)
	return line, true, err
}

// Selector splits a profile selector off load options, the way the stub does:
// "@3 quiet" is profile 3 and "quiet". Without a selector it is profile 0. It
// fails with ErrSelector when "@" is not followed by a number below
// MaxProfiles and then a space or the end.
func Selector(options string) (profile int, rest string, err error) {
	tail, ok := strings.CutPrefix(options, "@")
	if !ok {
		return 0, options, nil
	}
	digits, rest, _ := strings.Cut(tail, " ")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n >= MaxProfiles {
		return 0, "", fmt.Errorf("%w: %.16q", ErrSelector, options)
	}
	return int(n), rest, nil
}
