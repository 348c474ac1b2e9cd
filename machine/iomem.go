// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Errors of the parsers of this package.
var (
	// ErrMalformed: a file does not have the form the kernel gives it.
	ErrMalformed = errors.New("machine: malformed")
	// ErrHidden: the kernel blanked the addresses for lack of a privilege
	// (CAP_SYS_ADMIN for /proc/iomem).
	ErrHidden = errors.New("machine: addresses are blanked")
	// ErrLimit: a file holds more than this package reads.
	ErrLimit = errors.New("machine: too much")
)

// limitResources bounds the lines of /proc/iomem.
const limitResources = 1 << 14

// Resource is one line of /proc/iomem.
type Resource struct {
	Range
	// Depth is 0 at the top level and one more than the parent's below it.
	Depth int `json:"depth"`
	// Name is the text after the colon, such as "System RAM".
	Name string `json:"name"`
}

// ParseIOMem reads the text of /proc/iomem (kernel/resource.c). A text in
// which all addresses are zero yields ErrHidden.
func ParseIOMem(b []byte) ([]Resource, error) {
	var out []Resource
	blank := true
	depth := -1
	for i, line := range strings.Split(string(b), "\n") {
		if line == "" {
			continue
		}
		if len(out) == limitResources {
			return nil, fmt.Errorf("%w: /proc/iomem has more than %d lines", ErrLimit, limitResources)
		}
		rest := strings.TrimLeft(line, " ")
		indent := len(line) - len(rest)
		span, name, ok := strings.Cut(rest, " : ")
		from, to, dash := strings.Cut(span, "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		last, err2 := strconv.ParseUint(to, 16, 64)
		if !ok || !dash || err1 != nil || err2 != nil || last < start {
			return nil, fmt.Errorf("%w: /proc/iomem line %d: %.80q", ErrMalformed, i+1, line)
		}
		d := indent / 2
		if indent%2 != 0 || d > depth+1 {
			return nil, fmt.Errorf("%w: /proc/iomem line %d: indented by %d below depth %d", ErrMalformed, i+1, indent, depth)
		}
		depth = d
		blank = blank && last == 0
		out = append(out, Resource{Range: Range{start, last}, Depth: d, Name: name})
	}
	if blank && len(out) > 0 {
		return nil, ErrHidden
	}
	return out, nil
}

func readIOMem(s *snapshot) Fact[[]Resource] {
	f := s.read("proc/iomem", limitFile)
	out := parsed(f, ParseIOMem)
	if out.State == Unknown && f.state == Known {
		if _, err := ParseIOMem(f.data); errors.Is(err, ErrHidden) {
			out.State = NotPermitted
			out.Why = "addresses are blanked: reading them takes CAP_SYS_ADMIN"
		}
	}
	return out
}

// walk calls do for each resource and tells whether it lies inside System RAM.
func walk(in []Resource, do func(r Resource, inRAM bool)) {
	ramDepth := -1
	for _, r := range in {
		if ramDepth >= 0 && r.Depth <= ramDepth {
			ramDepth = -1
		}
		do(r, ramDepth >= 0)
		if t, _ := memoryType(r.Name); ramDepth < 0 && t == RAM {
			ramDepth = r.Depth
		}
	}
}

// topLevel returns the memory that iomem tells of, devices left out: RAM at
// any depth outside other RAM (hot-plugged memory of "dax" and "virtio_mem"
// devices lies one deeper), other memory at the top level.
func topLevel(in []Resource) []MemoryRange {
	var out []MemoryRange
	walk(in, func(r Resource, inRAM bool) {
		t, isMemory := memoryType(r.Name)
		if isMemory && !inRAM && (r.Depth == 0 || t == RAM) {
			out = append(out, MemoryRange{r.Range, t})
		}
	})
	return out
}
