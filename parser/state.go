// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"slices"
	"strings"

	"github.com/peelboot/peel/image"
)

// state is what layers have yielded so far. Each program works on a copy, and
// only a program that succeeds has its copy kept.
type state struct {
	kernel   []byte // nil until a program of this layer gave one
	final    bool   // the kernel boots as it is
	origin   string // of kernel
	outside  bool   // the kernel is an addon's
	ucode    []image.Part
	initrds  []image.Part
	cmdlines []image.Part
	dtb      *image.Part
	overlays []image.Part
	extra    []image.Part

	// For the next layer: FILLed parts in order, and which are addons.
	next   []part
	addons []part
	took   bool // the addons given to this layer are used
}

// part is a piece with the path that leads to it.
type part struct {
	name    string
	data    []byte
	outside bool // from Options.Addons
}

// clone is a copy that can be changed without changing s.
func (s *state) clone() *state {
	c := *s
	c.ucode = slices.Clone(s.ucode)
	c.initrds = slices.Clone(s.initrds)
	c.cmdlines = slices.Clone(s.cmdlines)
	c.overlays = slices.Clone(s.overlays)
	c.extra = slices.Clone(s.extra)
	c.kernel, c.final, c.next, c.addons, c.took = nil, false, nil, nil, false
	return &c
}

// extraNames are the parts of Result.Extra by subcommand.
var extraNames = map[Sub]string{
	SubUname: ".uname", SubOsrel: ".osrel", SubProfile: ".profile", SubPCRSig: ".pcrsig",
	SubPCRPKey: ".pcrpkey", SubSBAT: ".sbat", SubSplash: ".splash",
}

// partNames are the names of the parts that boot by subcommand, spelled like
// the sections of a UKI.
var partNames = map[Sub]string{
	SubKernel: ".linux", SubInitrd: ".initrd", SubInitrdAdd: ".initrd", SubCmdline: ".cmdline",
	SubCmdlineAdd: ".cmdline", SubUcodeAdd: ".ucode", SubDTB: ".dtb", SubOverlayAdd: ".dtb", SubAddon: ".addon",
}

func partName(s Sub) string {
	if n, ok := partNames[s]; ok {
		return n
	}
	return extraNames[s]
}

// put notes a part under its subcommand. It reports false for a subcommand
// that is not one of a part.
func (s *state) put(sub Sub, flags uint8, p image.Part) bool {
	switch sub {
	case SubKernel:
		s.kernel, s.origin, s.outside = p.Data, p.Origin, p.Outside
		s.final = flags&FlagFinal != 0
	case SubInitrd:
		s.initrds = []image.Part{p}
	case SubInitrdAdd:
		s.initrds = append(s.initrds, p)
	case SubCmdline:
		s.cmdlines = []image.Part{p}
	case SubCmdlineAdd:
		s.cmdlines = append(s.cmdlines, p)
	case SubUcodeAdd:
		s.ucode = append(s.ucode, p)
	case SubDTB:
		// A whole tree takes the place of the one before it, and of what
		// was to be applied to that one.
		s.dtb, s.overlays = &p, nil
	case SubOverlayAdd:
		s.overlays = append(s.overlays, p)
	case SubAddon:
		s.addons = append(s.addons, part{p.Origin, p.Data, p.Outside})
	default:
		name, ok := extraNames[sub]
		if !ok {
			return false
		}
		s.extra = slices.DeleteFunc(s.extra, func(o image.Part) bool { return o.Name == name })
		s.extra = append(s.extra, p)
	}
	return true
}

// CleanCmdline brings the text of a .cmdline section into the form in which
// systemd-stub hands it on: up to the first NUL, control characters as spaces,
// none at the ends.
func CleanCmdline(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	clean := []byte(s)
	for i, c := range clean {
		if c < ' ' {
			clean[i] = ' '
		}
	}
	return strings.Trim(string(clean), " ")
}

// cmdline joins the command lines of all parts, in order.
func (s *state) cmdline() string {
	var texts []string
	for _, p := range s.cmdlines {
		if t := CleanCmdline(p.Data); t != "" {
			texts = append(texts, t)
		}
	}
	return strings.Join(texts, " ")
}
