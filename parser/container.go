// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"
	"strings"
)

// Limits on containers, those of the series.
const (
	// MaxPrograms is how many programs one level of a container holds:
	// .bpf.1 to .bpf.8.
	MaxPrograms = 8
	// MaxLevels is how deep containers nest: one and four more inside it.
	MaxLevels = 5

	programPrefix = ".bpf."
	nestedSection = ".bpf.nested"
)

// A Container holds programs that are tried in order on one layer, and those
// for the layer below.
type Container struct {
	// Programs are BPF objects: light skeletons wrapped in an ELF file, or
	// objects as clang writes them. Programs[0] is .bpf.1.
	Programs [][]byte
	// Nested holds the programs for the next layer, or is nil.
	Nested *Container
	// Payload is the container without its signature, which covers it.
	Payload []byte
	// Signature is the PKCS#7 of a module-style trailer, or nil.
	Signature []byte
}

// IsContainer tells whether b is an ELF file with a section of programs,
// well formed or not.
func IsContainer(b []byte) bool {
	payload, _, err := SplitTrailer(b)
	if err != nil {
		payload = b
	}
	sections, err := elfSections(payload, 1<<16)
	if err != nil {
		return false
	}
	for _, s := range sections {
		if strings.HasPrefix(s.name, programPrefix) {
			return true
		}
	}
	return false
}

// ParseContainer reads a container of programs: an ELF64 file in which
// sections other than the names are .bpf.1 to .bpf.8 without a gap, and at
// most one .bpf.nested, a container again. A signature trailer is split off
// but not checked.
//
// Errors wrap ErrContainer or ErrTrailer; more than five levels are ErrLimit.
func ParseContainer(b []byte) (*Container, error) { return parseLevel(b, 0) }

func parseLevel(b []byte, depth int) (*Container, error) {
	if depth >= MaxLevels {
		return nil, fmt.Errorf("%w: containers nested more than %d deep", ErrLimit, MaxLevels)
	}
	payload, signature, err := SplitTrailer(b)
	if err != nil {
		return nil, err
	}
	sections, err := elfSections(payload, maxContainerSections)
	if err != nil {
		return nil, err
	}
	c := &Container{Payload: payload, Signature: signature}
	var programs [MaxPrograms + 1][]byte
	last := 0
	var nested []byte
	for _, s := range sections {
		switch {
		case s.name == ".shstrtab" && s.kind == elfSectionString:
		case s.kind == elfSectionNoBits || len(s.data) == 0:
			return nil, fmt.Errorf("%w: section %q is empty", ErrContainer, s.name)
		case s.name == nestedSection:
			if nested != nil {
				return nil, fmt.Errorf("%w: %s is there twice", ErrContainer, s.name)
			}
			nested = s.data
		default:
			n, ok := programNumber(s.name)
			if !ok {
				return nil, fmt.Errorf("%w: section %q", ErrContainer, s.name)
			}
			if programs[n] != nil {
				return nil, fmt.Errorf("%w: %s is there twice", ErrContainer, s.name)
			}
			programs[n] = s.data
			last = max(last, n)
		}
	}
	for i := 1; i <= last; i++ {
		if programs[i] == nil {
			return nil, fmt.Errorf("%w: %s%d is missing", ErrContainer, programPrefix, i)
		}
		c.Programs = append(c.Programs, programs[i])
	}
	if last == 0 {
		return nil, fmt.Errorf("%w: no %s1", ErrContainer, programPrefix)
	}
	if nested != nil {
		if c.Nested, err = parseLevel(nested, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", nestedSection, err)
		}
	}
	return c, nil
}

// programNumber decodes .bpf.N, where N is one digit from 1 to 8.
func programNumber(name string) (int, bool) {
	d, ok := strings.CutPrefix(name, programPrefix)
	if !ok || len(d) != 1 || d[0] < '1' || d[0] > '0'+MaxPrograms {
		return 0, false
	}
	return int(d[0] - '0'), true
}

// BuildContainer packs programs, .bpf.1 first, and a container for the next
// layer, nil for none, the way the series' objcopy recipe does. nested goes in
// as it is, its signature included. The same input gives the same bytes.
func BuildContainer(programs [][]byte, nested []byte) ([]byte, error) {
	if len(programs) == 0 || len(programs) > MaxPrograms {
		return nil, fmt.Errorf("%w: %d programs, 1 to %d go in", ErrContainer, len(programs), MaxPrograms)
	}
	var sections []elfSection
	for i, p := range programs {
		if len(p) == 0 {
			return nil, fmt.Errorf("%w: program %d is empty", ErrContainer, i+1)
		}
		sections = append(sections, elfSection{name: fmt.Sprintf("%s%d", programPrefix, i+1), data: p})
	}
	if nested != nil {
		if _, err := parseLevel(nested, 1); err != nil {
			return nil, fmt.Errorf("%s: %w", nestedSection, err)
		}
		sections = append(sections, elfSection{name: nestedSection, data: nested})
	}
	return writeELF(sections), nil
}

// programs reads what may stand where programs are expected: a container, or
// a single BPF object, which is a container of one.
func programs(b []byte) (*Container, error) {
	if IsContainer(b) {
		return ParseContainer(b)
	}
	payload, signature, err := SplitTrailer(b)
	if err != nil {
		return nil, err
	}
	if !isELF64(payload) {
		return nil, fmt.Errorf("%w: neither a container nor a BPF object", ErrContainer)
	}
	return &Container{Programs: [][]byte{payload}, Payload: payload, Signature: signature}, nil
}
