// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/trust/sbat"
)

// Lines of SBAT: the format's own, and those by which a UKI and an addon can
// be revoked when the builder gives none. They are the lines that ukify
// writes, so that one revocation reaches images of both.
const (
	sbatHead  = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md"
	sbatUKI   = "uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/"
	sbatAddon = "uki-addon,1,UKI Addon,addon,1,https://www.freedesktop.org/software/systemd/man/latest/systemd-stub.html"
)

// mergeSBAT joins the SBAT lines of stub and kernel, nil for none, with the
// given texts, or with line when there are none. Lines of the texts that stub
// or kernel have as well are not repeated.
func mergeSBAT(stub, kernel *pe.File, texts [][]byte, line string) ([]byte, error) {
	var lines []string
	add := func(what string, b []byte, given bool) error {
		if _, err := sbat.ParseSection(b); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrPart, what, err)
		}
		all := strings.Split(strings.TrimRight(string(bytes.TrimRight(b, "\x00")), "\n"), "\n")
		for i, l := range all {
			l = strings.TrimSuffix(l, "\r")
			if i == 0 && strings.HasPrefix(l, "sbat,") || l == "" {
				continue
			}
			// The text of an image that was taken apart has them already.
			if given && slices.Contains(lines, l) {
				continue
			}
			lines = append(lines, l)
		}
		return nil
	}
	for _, f := range []struct {
		what string
		pe   *pe.File
	}{{"SBAT of the stub", stub}, {"SBAT of the kernel", kernel}} {
		if f.pe == nil {
			continue
		}
		if s, ok := f.pe.Find(uki.SBAT); ok && len(f.pe.Data(s)) > 0 {
			if err := add(f.what, f.pe.Data(s), false); err != nil {
				return nil, err
			}
		}
	}
	for i, t := range texts {
		if err := add(fmt.Sprintf("SBAT text %d", i+1), t, true); err != nil {
			return nil, err
		}
	}
	if len(texts) == 0 {
		lines = append(lines, line)
	}
	return []byte(sbatHead + "\n" + strings.Join(lines, "\n") + "\n"), nil
}
