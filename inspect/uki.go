// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"fmt"
	"unicode/utf8"

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
			l.Sections = append(l.Sections, peSection(f, s))
		}
		return
	}
	profile := 0
	if len(img.Profiles) > 0 {
		l.Profiles = append(l.Profiles, Profile{Number: uki.Base, Title: "base"})
	}
	number := uki.Base
	for _, h := range f.Sections {
		s := peSection(f, h)
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
			if h.Name == uki.Linux {
				offset := uint64(h.PointerToRawData)
				d.inside(l, h.Name, &offset, "", data, depth)
			}
		}
		l.Sections = append(l.Sections, s)
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
		l.Sections = append(l.Sections, Section{
			Name: s.Name, Offset: s.Offset, Size: uint64(len(data)), VirtualSize: s.Size, SHA256: sum(data), PCR: -1,
		})
		offset := s.Offset
		d.inside(l, s.Name, &offset, "", data, depth)
	}
}
