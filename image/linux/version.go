// SPDX-License-Identifier: Apache-2.0

package linux

import (
	"bytes"
	"strings"
)

// Banner returns the text that a kernel prints first, "Linux version 6.12.1
// (builder) …", out of the bytes of an uncompressed kernel, without its line
// end. It returns "" when there is none. b is searched once.
func Banner(b []byte) string {
	magic := []byte("Linux version ")
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			return ""
		}
		b = b[i:]
		// The format string of /proc/version begins in the same way.
		if len(b) > len(magic) && b[len(magic)] >= '0' && b[len(magic)] <= '9' {
			if s := text(b); s != "" {
				return s
			}
		}
		b = b[len(magic):]
	}
}

// Release returns the release (uname -r) out of a banner or out of the
// version text of a bzImage.
func Release(version string) string {
	version = strings.TrimPrefix(version, "Linux version ")
	release, _, _ := strings.Cut(version, " ")
	return release
}
