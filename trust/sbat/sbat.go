// SPDX-License-Identifier: Apache-2.0

package sbat

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrSyntax: the text is not SBAT.
	ErrSyntax = errors.New("malformed SBAT")
	// ErrRevoked: a component's generation is below the level's.
	ErrRevoked = errors.New("revoked by SBAT level")
)

// Limits on one text.
const (
	maxSize  = 64 << 10
	maxLines = 512
)

// Entry is one line of a .sbat section.
type Entry struct {
	Component  string `json:"component"`
	Generation uint32 `json:"generation"`
	Vendor     string `json:"vendor,omitempty"`
	Package    string `json:"package,omitempty"`
	Version    string `json:"version,omitempty"`
	URL        string `json:"url,omitempty"`
}

// Minimum is one line of a revocation level.
type Minimum struct {
	Component  string `json:"component"`
	Generation uint32 `json:"generation"`
}

// Level is a revocation level: per component the lowest generation that may
// boot.
type Level struct {
	// Date is the level's own date stamp, YYYYMMDDNN, from the first line.
	Date string `json:"date,omitempty"`
	// Minimums hold the other lines and the first one, in order.
	Minimums []Minimum `json:"minimums,omitempty"`
}

// ParseSection reads the contents of a .sbat section. Zero bytes at the end
// are padding; zero bytes inside are an error, since readers that work on C
// strings would not see what follows them.
func ParseSection(b []byte) ([]Entry, error) {
	lines, err := split(b)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for i, l := range lines {
		f := strings.Split(l, ",")
		// shim takes the first six fields and ignores more.
		if len(f) < 6 {
			return nil, fmt.Errorf("line %d has %d fields, want 6: %w", i+1, len(f), ErrSyntax)
		}
		g, err := generation(f[1])
		if err != nil || f[0] == "" {
			return nil, fmt.Errorf("line %d: component %q, generation %q: %w", i+1, f[0], f[1], ErrSyntax)
		}
		out = append(out, Entry{f[0], g, f[2], f[3], f[4], strings.Join(f[5:], ",")})
	}
	if len(out) == 0 || out[0].Component != "sbat" {
		return nil, fmt.Errorf("first line does not describe sbat itself: %w", ErrSyntax)
	}
	return out, nil
}

// ParseLevel reads a revocation level: lines of component, generation and,
// on the first one, a date.
func ParseLevel(b []byte) (Level, error) {
	var lv Level
	lines, err := split(b)
	if err != nil {
		return lv, err
	}
	for i, l := range lines {
		f := strings.Split(l, ",")
		if len(f) < 2 || f[0] == "" {
			return lv, fmt.Errorf("line %d has %d fields, want at least 2: %w", i+1, len(f), ErrSyntax)
		}
		g, err := generation(f[1])
		if err != nil {
			return lv, fmt.Errorf("line %d: generation %q: %w", i+1, f[1], ErrSyntax)
		}
		if i == 0 && f[0] == "sbat" && len(f) > 2 {
			lv.Date = f[2]
		}
		lv.Minimums = append(lv.Minimums, Minimum{f[0], g})
	}
	return lv, nil
}

// Merge returns the stricter of two levels, component by component.
func (lv Level) Merge(o Level) Level {
	out := Level{Date: max(lv.Date, o.Date)}
	out.Minimums = append(out.Minimums, lv.Minimums...)
	for _, m := range o.Minimums {
		found := false
		for i := range out.Minimums {
			if out.Minimums[i].Component == m.Component {
				out.Minimums[i].Generation = max(out.Minimums[i].Generation, m.Generation)
				found = true
			}
		}
		if !found {
			out.Minimums = append(out.Minimums, m)
		}
	}
	return out
}

// Empty reports whether the level demands nothing.
func (lv Level) Empty() bool { return len(lv.Minimums) == 0 }

// Check compares entries with the level. Every entry counts, also one that
// repeats a component; components the level does not name pass.
func (lv Level) Check(entries []Entry) error {
	for _, e := range entries {
		for _, m := range lv.Minimums {
			if e.Component == m.Component && e.Generation < m.Generation {
				return fmt.Errorf("%s generation %d, the level demands %d: %w",
					e.Component, e.Generation, m.Generation, ErrRevoked)
			}
		}
	}
	return nil
}

// split cuts SBAT text into its lines, whatever they hold, and checks that it
// is text.
func split(b []byte) ([]string, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("%d bytes, at most %d: %w", len(b), maxSize, ErrSyntax)
	}
	b = bytes.TrimRight(b, "\x00")
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // shim skips a UTF-8 byte order mark
	for i, c := range b {
		if (c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f {
			return nil, fmt.Errorf("byte 0x%02x at offset 0x%x: %w", c, i, ErrSyntax)
		}
	}
	var out []string
	for _, l := range strings.Split(string(b), "\n") {
		l = strings.TrimSuffix(l, "\r")
		if l == "" {
			continue
		}
		if len(out) == maxLines {
			return nil, fmt.Errorf("more than %d lines: %w", maxLines, ErrSyntax)
		}
		out = append(out, l)
	}
	return out, nil
}

// generation reads a decimal number from 1 up. shim uses atoi; numbers that
// atoi would read differently are an error here.
func generation(s string) (uint32, error) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, ErrSyntax
	}
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err
}
