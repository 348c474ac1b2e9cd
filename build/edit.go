// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"slices"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
)

// Edit describes changes to an existing UKI or addon.
type Edit struct {
	// Image is what is changed; it stays as it is.
	Image Content
	// Profile is where: uki.Base, or the number of a profile.
	Profile int
	// Set replaces sections, or adds those that are not there. A name that
	// may appear several times has all its sections replaced by those given.
	Set []NamedContent
	// Drop removes all sections of these names; ErrNoSection if there is
	// none.
	Drop []string
}

// Build lays the changed image out, without signatures. The Image must be
// closed.
//
// The stub keeps its place, and so does each section that did not change,
// unless one before it grew or shrank. A section of the stub itself is
// ErrProtected, except .sbat.
func (e *Edit) Build(ctx context.Context) (*Image, error) {
	return makeImage(ctx, modeProgram, e.build)
}

func (e *Edit) build(_ context.Context, im *Image) error {
	f, err := im.parsePE("image", e.Image)
	if err != nil {
		return err
	}
	if _, err := uki.Read(f); err != nil {
		return fmt.Errorf("%s: %w", e.Image, err)
	}
	st, err := cut(f)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Image, err)
	}
	list := st.rest
	for _, name := range e.Drop {
		if name == uki.SBAT && e.Profile == uki.Base && hasSection(st.file, name) {
			if err := st.removeSBAT(); err != nil {
				return err
			}
			continue
		}
		if list, err = e.drop(st, list, name); err != nil {
			return fmt.Errorf("%s: %w", e.Image, err)
		}
	}
	var names []string
	for _, s := range e.Set {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		var with []section
		for _, s := range e.Set {
			if s.Name != name {
				continue
			}
			b, err := im.in.bytes(s.Content, MaxFile)
			if err != nil {
				return fmt.Errorf("section %s: %w", name, err)
			}
			if len(b) == 0 {
				return fmt.Errorf("%w: section %s is empty; drop it instead", ErrPart, name)
			}
			with = append(with, section{name: name, data: [][]byte{b}})
		}
		if name == uki.SBAT && e.Profile == uki.Base && hasSection(st.file, name) && len(with) == 1 {
			if with, err = st.setSBAT(slices.Concat(with[0].data...)); err != nil {
				return err
			}
			if len(with) == 0 {
				continue
			}
		}
		if list, err = e.set(st, list, name, with); err != nil {
			return fmt.Errorf("%s: %w", e.Image, err)
		}
	}
	if f.CertTable.Size > 0 {
		im.Notes = append(im.Notes, "the image was signed; its signatures are not valid for the changed one and were dropped")
	}
	l, err := st.layout(list, nil)
	if err != nil {
		return err
	}
	im.setLayout(l)
	im.check = func(b []byte) error { return checkImage(b, nil) }
	return nil
}

func hasSection(f *pe.File, name string) bool {
	_, ok := f.Find(name)
	return ok
}

// span returns the part of list that belongs to the profile, .profile itself
// left out.
func (e *Edit) span(list []section) (from, to int, err error) {
	n := uki.Base
	to = len(list)
	found := e.Profile == uki.Base
	for i, s := range list {
		if s.name != uki.ProfileS {
			continue
		}
		if n == e.Profile {
			return from, i, nil
		}
		n++
		if n == e.Profile {
			from, found = i+1, true
		}
	}
	if !found {
		return 0, 0, fmt.Errorf("%w: %d of %d", uki.ErrProfile, e.Profile, n+1)
	}
	return from, to, nil
}

func (e *Edit) drop(st *stub, list []section, name string) ([]section, error) {
	from, to, err := e.span(list)
	if err != nil {
		return nil, err
	}
	kept := slices.Clone(list[:from])
	for _, s := range list[from:to] {
		if s.name != name {
			kept = append(kept, s)
		}
	}
	if len(kept) == to {
		if hasSection(st.file, name) {
			return nil, fmt.Errorf("%w: %s", ErrProtected, name)
		}
		return nil, fmt.Errorf("%w: %s", ErrNoSection, name)
	}
	return append(kept, list[to:]...), nil
}

func (e *Edit) set(st *stub, list []section, name string, with []section) ([]section, error) {
	rule, _ := uki.RuleFor(name)
	switch {
	case name == uki.ProfileS:
		return nil, fmt.Errorf("%w: %s divides the image", ErrProtected, name)
	case hasSection(st.file, name) && name != uki.SBAT:
		return nil, fmt.Errorf("%w: %s", ErrProtected, name)
	case len(with) > 1 && !rule.Multiple:
		return nil, fmt.Errorf("%w: %s", ErrDuplicate, name)
	}
	from, to, err := e.span(list)
	if err != nil {
		return nil, err
	}
	at := to
	out := slices.Clone(list[:from])
	for i, s := range list[from:to] {
		if s.name != name {
			out = append(out, s)
			continue
		}
		if at == to {
			at = from + i
			for _, w := range with {
				w.flags = s.flags
				out = append(out, w)
			}
		}
	}
	if at == to {
		out = append(out, with...)
	}
	return append(out, list[to:]...), nil
}
