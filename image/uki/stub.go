// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/peelboot/peel/image/pe"
)

// Names of the programs that images begin with.
const (
	StubSystemd    = "systemd-stub"
	StubLanzaboote = "lanzaboote"
	StubStubble    = "stubble"
)

// Stub is the program in front of the sections.
type Stub struct {
	// Name is one of the names above, empty when the image does not tell.
	Name string
	// Version is as the stub spells it, may be empty.
	Version string
}

// maxStubText bounds how much of .sbat and .sdmagic is looked at, in bytes.
const maxStubText = 16 << 10

// StubOf says which stub f has: by the text that systemd's puts into .sdmagic
// for boot loaders, by the components of .sbat, and by the sections of a thin
// image.
func StubOf(f *pe.File) Stub {
	if IsThin(f) {
		return Stub{Name: StubLanzaboote}
	}
	text := func(name string) string {
		s, ok := f.Find(name)
		if !ok {
			return ""
		}
		data := f.Data(s)
		return string(untilNUL(data[:min(len(data), maxStubText)]))
	}
	var st Stub
	for line := range strings.Lines(text(SBAT)) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if len(fields) < 5 {
			continue
		}
		switch fields[0] {
		case StubStubble, StubSystemd, StubLanzaboote:
			if st.Name == "" {
				st = Stub{fields[0], fields[4]}
			}
		}
	}
	// The magic names the very build, .sbat may have been merged from several
	// components.
	if magic, ok := strings.CutPrefix(text(".sdmagic"), "#### LoaderInfo: "); ok {
		magic, _, _ = strings.Cut(magic, " ####")
		if name, version, ok := strings.Cut(magic, " "); ok && name == StubSystemd && st.Name != StubStubble {
			st = Stub{name, version}
		}
	}
	return st
}

// Major returns the number that Version begins with, 0 if there is none.
func (s Stub) Major() int {
	digits := s.Version
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// String returns name and version.
func (s Stub) String() string { return strings.TrimSpace(s.Name + " " + s.Version) }

// trimText is Text with the zeros that align a section taken off as well.
func trimText(b []byte) string {
	return strings.TrimSpace(string(bytes.TrimRight(untilNUL(b), "\x00")))
}
