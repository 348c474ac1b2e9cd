// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"

	"github.com/peelboot/peel/trust/sbat"
)

// sbatSection is the name of the section.
const sbatSection = ".sbat"

// checkSBAT compares the .sbat section of a PE layer with the level. It
// refuses an image with more than one such section, as shim does: readers
// that take the first and readers that take the last would disagree.
func (v *Verifier) checkSBAT(s *subject, l *LayerReport) error {
	if s.pe == nil {
		return nil
	}
	level := v.Level.Merge(v.Policy.SBAT)
	r := &SBATReport{Level: level.Date, Source: v.LevelSource}
	l.SBAT = r
	refuse := func(err error, format string, args ...any) error {
		r.Reason = fmt.Sprintf(format, args...)
		l.Reason = r.Reason
		return fmt.Errorf("%w: %w", ErrSBAT, err)
	}
	var data []byte
	for _, sec := range s.pe.Sections {
		if sec.Name != sbatSection {
			continue
		}
		if r.Present {
			return refuse(sbat.ErrSyntax, "it has more than one .sbat section, so nobody can say which one counts")
		}
		r.Present = true
		data = s.pe.Data(sec)
	}
	if !r.Present {
		if v.Policy.SBATRequired && s.Inside == "" {
			return refuse(sbat.ErrSyntax, "it has no .sbat section, which the policy demands (%s)", v.Policy.origin("sbat.required"))
		}
		r.Good, r.Reason = true, "it has no .sbat section; shim asks for one only of what it starts itself"
		return nil
	}
	entries, err := sbat.ParseSection(data)
	if err != nil {
		return refuse(err, "its .sbat section cannot be read: %v", err)
	}
	r.Entries = entries
	if err := level.Check(entries); err != nil {
		return refuse(err, "%v", err)
	}
	r.Good, r.Reason = true, "no component is below the level"
	if level.Empty() {
		r.Reason = "there is no SBAT level to compare with"
	}
	return nil
}
