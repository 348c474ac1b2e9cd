// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
)

// maxText bounds the text of one section in a description, in bytes.
const maxText = 16 << 10

func (d describer) uki(l *Layer, f *pe.File, depth int) {
	img, err := uki.Read(f)
	if err != nil {
		// Detect said why; the sections are worth seeing all the same.
		for _, s := range f.Sections {
			l.Sections = append(l.Sections, d.peSection(f, s))
		}
		return
	}
	if st := uki.StubOf(f); st.Name != "" {
		l.Stub = &Stub{st.Name, st.Version}
	}
	profile := 0
	if len(img.Profiles) > 0 {
		l.Profiles = append(l.Profiles, Profile{Number: uki.Base, Title: "base"})
	}
	number := uki.Base
	for _, h := range f.Sections {
		s := d.peSection(f, h)
		rule, known := uki.RuleFor(h.Name)
		if h.Name == uki.ProfileS {
			number++
			profile = number + 1
			p := img.Profiles[number]
			l.Profiles = append(l.Profiles, Profile{Number: p.Number, ID: p.ID, Title: p.Title})
		}
		s.Known, s.Profile = known, profile
		if known {
			if s.PCR = rule.PCR; img.Addon {
				s.PCR = rule.AddonPCR
			}
			if s.PCR == 0 {
				s.PCR = -1
			}
			data := f.Data(h)
			if isText(h.Name) {
				text, err := sectionText(h.Name, data)
				if err != nil {
					l.problem(fmt.Errorf("%s: %w", h.Name, err))
				}
				s.Text = text
			}
			if err := s.machine(data); err != nil {
				l.problem(fmt.Errorf("%s: %w", h.Name, err))
			}
			if h.Name == uki.Linux {
				offset := uint64(h.PointerToRawData)
				d.inside(l, h.Name, &offset, "", data, depth)
			}
		}
		l.Sections = append(l.Sections, s)
	}
}

// machine fills in which machines the section is for.
func (s *Section) machine(data []byte) error {
	switch s.Name {
	case uki.DTB, uki.DTBAuto:
		t, err := fdt.Parse(data)
		if err != nil {
			return err
		}
		s.Compatible = "overlay"
		if names, err := t.Root.Texts("compatible"); err == nil && len(names) > 0 {
			s.Compatible = names[0]
		}
	case uki.HWIDs:
		list, err := uki.ParseHWIDs(data)
		if err != nil {
			return err
		}
		for _, h := range list {
			kind := "devicetree"
			if h.Type == uki.HWIDFirmware {
				kind = "firmware"
			}
			s.HWIDs = append(s.HWIDs, HWID{kind, h.String(), h.Name, h.Compatible})
		}
	}
	return nil
}

// thin describes an image that names files.
func (d describer) thin(l *Layer, f *pe.File) {
	for _, h := range f.Sections {
		s := d.peSection(f, h)
		if isText(h.Name) {
			// Detect said what is wrong with it.
			s.Text, _ = sectionText(h.Name, f.Data(h))
		}
		l.Sections = append(l.Sections, s)
	}
	st := uki.StubOf(f)
	l.Stub = &Stub{st.Name, st.Version}
	t, err := uki.ReadThin(f)
	if err != nil {
		return // Detect said so
	}
	ref := func(r uki.Ref) ThinFile { return ThinFile{r.Path, hex.EncodeToString(r.SHA256[:])} }
	l.Thin = &Thin{Kernel: ref(t.Kernel), Cmdline: t.Cmdline}
	if t.Initrd != nil {
		initrd := ref(*t.Initrd)
		l.Thin.Initrd = &initrd
	}
}

// isText reports whether a section of a UKI holds text.
func isText(name string) bool {
	switch name {
	case uki.OSRel, uki.Cmdline, uki.Uname, uki.SBAT, uki.ProfileS, uki.PCRSig, uki.PCRPKey:
		return true
	}
	return false
}

func sectionText(name string, data []byte) (string, error) {
	if name == uki.Cmdline {
		return uki.CmdlineText(data)
	}
	if len(data) > maxText {
		return "", fmt.Errorf("%w: %d bytes, at most %d are shown", errNoText, len(data), maxText)
	}
	data = bytes.TrimRight(data, "\x00")
	if !utf8.Valid(data) {
		return "", fmt.Errorf("%w: not UTF-8", errNoText)
	}
	return string(data), nil
}

// elf describes parser containers and envelopes by their sections.
func (d describer) elf(l *Layer, b []byte, depth int) {
	e, err := linux.ParseELF(b)
	if err != nil {
		l.problem(err)
		return
	}
	for _, s := range e.Sections {
		data := e.Data(s)
		if s.Name == "" || s.Name == ".shstrtab" {
			continue
		}
		out := Section{Name: s.Name, Offset: s.Offset, Size: uint64(len(data)), VirtualSize: s.Size, SHA256: sum(data), PCR: -1}
		if d.Digests {
			out.SHA384, out.SHA512 = sums(data)
		}
		l.Sections = append(l.Sections, out)
		offset := s.Offset
		d.inside(l, s.Name, &offset, "", data, depth)
	}
}
