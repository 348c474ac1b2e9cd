// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/esl"
)

// vendorSection is the section of shim that holds the vendor's certificate
// and deny list.
const vendorSection = ".vendor_cert"

// ReadShim takes the vendor's certificate and deny list out of a shim binary
// (shim's cert.S: u32 sizes of authorised and denied data, u32 offsets of
// both from the start of the section, all little endian). allow holds one
// certificate, or signature lists in shims built with a vendor database.
// Either list may be empty.
func ReadShim(name string, file []byte) (allow, deny trust.List, err error) {
	bad := func(format string, args ...any) (trust.List, trust.List, error) {
		return trust.List{}, trust.List{}, fmt.Errorf("%s: %s: %w", name, fmt.Sprintf(format, args...), ErrUnreadable)
	}
	f, err := pe.Parse(file)
	if err != nil {
		return bad("%v", err)
	}
	sec, ok := f.Find(vendorSection)
	if !ok {
		return bad("no %s section", vendorSection)
	}
	data := f.Data(sec)
	if len(data) < 16 {
		return bad("%s of %d bytes", vendorSection, len(data))
	}
	field := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(data[i:])) }
	cut := func(size, off uint64) ([]byte, error) {
		if off > uint64(len(data)) || size > uint64(len(data))-off {
			return nil, fmt.Errorf("%s: 0x%x bytes at 0x%x of %s, which has 0x%x: %w", name, size, off, vendorSection, len(data), ErrUnreadable)
		}
		return data[off : off+size], nil
	}
	a, err := cut(field(0), field(8))
	if err != nil {
		return bad("%v", err)
	}
	d, err := cut(field(4), field(12))
	if err != nil {
		return bad("%v", err)
	}
	allow = trust.List{Name: "vendor certificate of " + name, Scope: trust.ScopeShim}
	deny = trust.List{Name: "vendor deny list of " + name, Scope: trust.ScopeShim}
	if len(a) > 0 {
		if err := addTo(&allow, a); err != nil {
			return bad("vendor certificate: %v", err)
		}
	}
	if len(d) > 0 {
		entries, err := esl.Parse(d)
		if err != nil {
			return bad("vendor deny list: %v", err)
		}
		deny.AddSignatures(entries)
	}
	return allow, deny, nil
}

// FindShims returns the paths of shim binaries below root in the places where
// boot loaders are installed, sorted.
func FindShims(root string) []string {
	seen := map[string]bool{}
	var out []string
	for _, esp := range []string{"boot/efi", "efi", "boot"} {
		for _, dir := range []string{"EFI", "efi"} {
			for _, n := range []string{"shim*.efi", "SHIM*.EFI"} {
				m, _ := filepath.Glob(filepath.Join(root, esp, dir, "*", n))
				for _, p := range m {
					if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && !seen[p] {
						seen[p] = true
						out = append(out, p)
					}
				}
			}
		}
	}
	sort.Strings(out)
	return out
}
