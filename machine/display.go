// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"io"
	"strings"
)

// What is kept of an EDID: header, maker and product (VESA E-EDID 1.4, section
// 3.4). Behind them are serial numbers.
const (
	edidKept  = 12
	edidBlock = 128
)

// readDisplays reads which displays are connected, from those files of the
// kernel's connectors that are not empty.
func readDisplays(s *snapshot) Fact[map[string][]byte] {
	const dir = "sys/class/drm"
	names, f := s.list(dir)
	if f.state != Known {
		return lost[map[string][]byte](f)
	}
	out := map[string][]byte{}
	for _, n := range names {
		// Cards are card0, their connectors card0-HDMI-A-1.
		if !strings.HasPrefix(n, "card") || !strings.Contains(n, "-") {
			continue
		}
		e := s.readFiltered(dir+"/"+n+"/edid", limitFile, func(r io.Reader) ([]byte, error) {
			b, err := io.ReadAll(r)
			if err != nil || len(b) < edidBlock {
				return nil, err
			}
			return append(b[:edidKept:edidKept], make([]byte, edidBlock-edidKept)...), nil
		})
		if e.state == Known && len(e.data) > 0 {
			out[n] = e.data
		}
	}
	return KnownFact(out, f.path)
}
