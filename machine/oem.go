// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"io"
	"strings"
)

// cmdlineExtra is the name by which systemd's stub finds words for the command
// line among the OEM strings (systemd-stub(7)).
const cmdlineExtra = "io.systemd.stub.kernel-cmdline-extra="

// Types of SMBIOS structures (DMTF DSP0134, section 7).
const (
	smbiosOEMStrings = 11
	smbiosEnd        = 127
)

// limitDMI bounds the structure table that is looked through.
const limitDMI = 4 << 20

// readCmdlineExtra looks into the OEM strings. All others may hold credentials
// and are not kept.
func readCmdlineExtra(s *snapshot) Fact[string] {
	f := s.readFiltered("sys/firmware/dmi/tables/DMI", limitDMI, func(r io.Reader) ([]byte, error) {
		b, err := io.ReadAll(r)
		if err != nil || len(b) > limitDMI {
			return b, err
		}
		return oemTable(oemString(b, cmdlineExtra)), nil
	})
	if f.state != Known {
		return lost[string](f)
	}
	return KnownFact(strings.TrimPrefix(oemString(f.data, cmdlineExtra), cmdlineExtra), f.path)
}

// oemString returns the first OEM string that begins with prefix: structures
// have a type, the length of their formatted part, a handle, and behind the
// formatted part strings that each end in a zero, with one more behind the
// last (DSP0134, section 6.1). A table that is cut short ends where it is.
func oemString(b []byte, prefix string) string {
	for len(b) >= 4 && b[0] != smbiosEnd {
		kind, n := b[0], int(b[1])
		if n < 4 || n > len(b) {
			return ""
		}
		b = b[n:]
		end := bytes.Index(b, []byte{0, 0})
		if end < 0 {
			end = len(b)
		}
		if kind == smbiosOEMStrings {
			for _, text := range bytes.Split(b[:end], []byte{0}) {
				if bytes.HasPrefix(text, []byte(prefix)) {
					return string(text)
				}
			}
		}
		b = b[min(end+2, len(b)):]
	}
	return ""
}

// oemTable is a table of SMBIOS with one OEM string, or none.
func oemTable(text string) []byte {
	var b []byte
	if text != "" {
		b = append([]byte{smbiosOEMStrings, 5, 0, 0, 1}, text...)
		b = append(b, 0, 0)
	}
	return append(b, smbiosEnd, 4, 1, 0, 0, 0)
}
