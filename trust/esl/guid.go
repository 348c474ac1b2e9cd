// SPDX-License-Identifier: Apache-2.0

package esl

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// GUID is an EFI_GUID as it lies in memory: the first three fields little
// endian (UEFI specification, appendix A).
type GUID [16]byte

// String returns the registry form, "d719b2cb-3d3a-4596-a3bc-dad00e67656f".
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[0:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// MarshalText returns String.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// ParseGUID reads the registry form.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("GUID %q: %w", s, ErrSyntax)
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return g, fmt.Errorf("GUID %q: %w", s, ErrSyntax)
	}
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(b[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(b[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(b[6:]))
	copy(g[8:], b[8:])
	return g, nil
}

// Names of the variables' vendors (UEFI specification, sections 3.3 and
// 32.6; shim's SHIM_LOCK_GUID).
const (
	GlobalVariable        = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	ImageSecurityDatabase = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	ShimLock              = "605dab50-e046-4300-abb6-3dd810dd8b23"
)
