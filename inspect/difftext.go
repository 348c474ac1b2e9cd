// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"fmt"
	"io"
)

// WriteText prints the differences for people, one paragraph each. Equal
// images give nothing.
func (d *Diff) WriteText(w io.Writer) error {
	p := printer{w: bufio.NewWriter(w)}
	if !d.Equal {
		p.line("", "a  %s, %s", printable(d.A.Path), bytesize(d.A.Size))
		p.line("", "b  %s, %s", printable(d.B.Path), bytesize(d.B.Size))
	}
	for i, c := range d.Changes {
		// What is known of the image in a section goes with the section.
		if i == 0 || c.What != WhatLayer || d.Changes[i-1].What != WhatSection || d.Changes[i-1].Path != c.Path {
			p.line("", "")
			p.line("", "%-8s %s%s", c.Change, printable(c.Path), whatText(c))
		}
		for _, f := range c.Facts {
			switch {
			case c.What == WhatSignature:
				p.line("         ", "%s", printable(f.A+f.B))
			default:
				p.line("         ", "%s: %s → %s", f.Name, orNone(f.A), orNone(f.B))
			}
		}
		for _, l := range c.Lines {
			p.line("         ", "%s", printable(shorten(l, 200)))
		}
	}
	return p.w.Flush()
}

// whatText says what changed about the thing at the path.
func whatText(c Change) string {
	switch {
	case c.What == WhatSignature:
		return ": signature"
	case c.What == WhatRest:
		return fmt.Sprintf(": bytes outside of all sections, %s → %s", bytesize(c.A.Size), bytesize(c.B.Size))
	case c.A != nil && c.B != nil && c.A.Size == c.B.Size:
		return fmt.Sprintf("  %s", bytesize(c.A.Size))
	case c.A != nil && c.B != nil:
		return fmt.Sprintf("  %s → %s", bytesize(c.A.Size), bytesize(c.B.Size))
	case c.A != nil:
		return "  " + bytesize(c.A.Size)
	}
	return "  " + bytesize(c.B.Size)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return printable(shorten(s, 120))
}
