// SPDX-License-Identifier: Apache-2.0

package hwid

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ErrSyntax means that a text is no id.
var ErrSyntax = errors.New("not a hardware id")

const (
	// Standard is the number of ids that Microsoft specifies, HardwareID-0 to
	// -14 ("Specifying Hardware IDs for a Computer", Windows drivers
	// documentation).
	Standard = 15
	// Count adds those that systemd made up (258, chid-fundamental.c), which
	// tell machines apart by their panels.
	Count = 18
)

// ID is a computer hardware id in the byte order of EFI_GUID: the first three
// fields little endian. The zero value is no id.
type ID [16]byte

// String returns the usual text form, lower case without braces.
func (id ID) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(id[0:]), le.Uint16(id[4:]), le.Uint16(id[6:]), id[8:10], id[10:])
}

// Parse reads the text form of an id, with or without braces. It fails with
// ErrSyntax.
func Parse(s string) (ID, error) {
	t := s
	if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
		t = t[1 : len(t)-1]
	}
	bad := fmt.Errorf("%w: %.64q, want xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", ErrSyntax, s)
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return ID{}, bad
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(t, "-", ""))
	if err != nil || len(raw) != 16 {
		return ID{}, bad
	}
	return swap([16]byte(raw)), nil
}

// swap turns big endian GUID fields into those of EFI_GUID and back.
func swap(b [16]byte) ID {
	return ID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// field is a string that ids are made of; the order is that in which they are
// hashed.
type field uint

const (
	manufacturer field = iota
	family
	product
	sku
	boardVendor
	board
	biosVendor
	biosVersion
	biosMajor
	biosMinor
	enclosure
	panel
	fields
)

// recipes returns which fields make up each id, by its number.
func recipes() [Count][]field {
	return [Count][]field{
		0:  {manufacturer, family, product, sku, biosVendor, biosVersion, biosMajor, biosMinor},
		1:  {manufacturer, family, product, biosVendor, biosVersion, biosMajor, biosMinor},
		2:  {manufacturer, product, biosVendor, biosVersion, biosMajor, biosMinor},
		3:  {manufacturer, family, product, sku, boardVendor, board},
		4:  {manufacturer, family, product, sku},
		5:  {manufacturer, family, product},
		6:  {manufacturer, sku, boardVendor, board},
		7:  {manufacturer, sku},
		8:  {manufacturer, product, boardVendor, board},
		9:  {manufacturer, product},
		10: {manufacturer, family, boardVendor, board},
		11: {manufacturer, family},
		12: {manufacturer, enclosure},
		13: {manufacturer, boardVendor, board},
		14: {manufacturer},

		Standard + 0: {manufacturer, family, product, panel},
		Standard + 1: {manufacturer, family, panel},
		Standard + 2: {manufacturer, sku, panel},
	}
}

// order is the order in which systemd's stub looks for a match, from the most
// to the least specific. It leaves out those with firmware versions, which
// change, and those too general.
func order() [12]int {
	return [12]int{Standard + 2, Standard + 1, Standard + 0, 3, 6, 8, 10, 4, 5, 7, 9, 11}
}

// Compute returns the ids of a machine by their numbers. smbios maps the file
// names of /sys/class/dmi/id to their contents, panelID is that of PanelID or
// empty. An id that needs a string the machine does not have is the zero ID; a
// string of SMBIOS that is there and empty counts as such.
func Compute(smbios map[string]string, panelID string) [Count]ID {
	have, ok := read(smbios)
	have[panel], ok[panel] = panelID, panelID != ""
	var ids [Count]ID
	for n, recipe := range recipes() {
		var parts []string
		for _, f := range recipe {
			if !ok[f] {
				parts = nil
				break
			}
			parts = append(parts, have[f])
		}
		if parts != nil {
			ids[n] = compute(strings.Join(parts, "&"))
		}
	}
	return ids
}

// ForMatching returns the ids that the machine has of those that systemd's
// stub compares with .hwids, the most specific first.
func ForMatching(smbios map[string]string, panelID string) [][16]byte {
	ids := Compute(smbios, panelID)
	var list [][16]byte
	for _, n := range order() {
		if ids[n] != (ID{}) {
			list = append(list, ids[n])
		}
	}
	return list
}

// read picks the fields out of the strings.
func read(smbios map[string]string) (have [fields]string, ok [fields]bool) {
	for f, name := range map[field]string{
		manufacturer: "sys_vendor", family: "product_family", product: "product_name", sku: "product_sku",
		boardVendor: "board_vendor", board: "board_name", biosVendor: "bios_vendor", biosVersion: "bios_version",
	} {
		if s, found := smbios[name]; found {
			have[f], ok[f] = clean(s), true
		}
	}
	// Releases and types are bytes: the release as two hexadecimal digits,
	// the type as one or two.
	if major, minor, found := strings.Cut(strings.TrimSpace(smbios["bios_release"]), "."); found {
		for f, s := range map[field]string{biosMajor: major, biosMinor: minor} {
			if v, err := strconv.ParseUint(s, 10, 8); err == nil {
				have[f], ok[f] = fmt.Sprintf("%02x", v), true
			}
		}
	}
	if v, err := strconv.ParseUint(strings.TrimSpace(smbios["chassis_type"]), 10, 8); err == nil {
		have[enclosure], ok[enclosure] = fmt.Sprintf("%x", v), true
	}
	return have, ok
}

// clean takes off spaces at both ends, and zeros that lead after the spaces,
// as fwupd and systemd do.
func clean(s string) string {
	s = strings.TrimLeft(strings.TrimRight(s, "\n"), " ")
	return strings.TrimRight(strings.TrimLeft(s, "0"), " ")
}

// compute makes a version 5 UUID (RFC 9562, section 5.5) of the UTF-16LE text
// in Microsoft's namespace 70ffd812-4c7f-4c7d-0000-000000000000.
func compute(text string) ID {
	h := sha1.New()
	h.Write([]byte{0x70, 0xff, 0xd8, 0x12, 0x4c, 0x7f, 0x4c, 0x7d, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, u := range utf16.Encode([]rune(text)) {
		h.Write([]byte{byte(u), byte(u >> 8)})
	}
	u := [16]byte(h.Sum(nil)[:16])
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return swap(u)
}
