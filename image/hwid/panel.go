// SPDX-License-Identifier: Apache-2.0

package hwid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrEDID means that a block does not identify a display.
var ErrEDID = errors.New("not the EDID of a display")

// PanelID returns three letters for the maker and four hexadecimal digits for
// the product of the display that an EDID describes (VESA E-EDID 1.4, section
// 3.4: eight bytes of header, a big endian word with three letters of five bits
// each, a little endian word). It fails with ErrEDID.
func PanelID(edid []byte) (string, error) {
	const block = 128
	if len(edid) < block {
		return "", fmt.Errorf("%w: %d bytes, at least %d", ErrEDID, len(edid), block)
	}
	if !bytes.Equal(edid[:8], []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}) {
		return "", fmt.Errorf("%w: header % x", ErrEDID, edid[:8])
	}
	maker := binary.BigEndian.Uint16(edid[8:])
	var letters [3]byte
	for i := range letters {
		n := byte(maker>>(10-5*i)) & 0x1f
		// Zero is no letter either, but systemd takes it.
		if n > 26 {
			return "", fmt.Errorf("%w: maker 0x%04x at 0x8", ErrEDID, maker)
		}
		letters[i] = '@' + n
	}
	return fmt.Sprintf("%s%04x", letters[:], binary.LittleEndian.Uint16(edid[10:])), nil
}

// Panel chooses the display that stands for the machine, and returns its
// PanelID: the only one, or of several the only one that is built in. displays
// maps names of connectors, such as card0-eDP-1, to EDIDs. It returns nothing
// when there is no such display; the firmware would take the one that it shows
// its own output on, which nothing tells afterwards.
func Panel(displays map[string][]byte) string {
	var all, inside []string
	for _, name := range slices.Sorted(maps.Keys(displays)) {
		id, err := PanelID(displays[name])
		if err != nil {
			continue
		}
		all = append(all, id)
		if builtIn(name) {
			inside = append(inside, id)
		}
	}
	switch {
	case len(all) == 1:
		return all[0]
	case len(inside) == 1:
		return inside[0]
	}
	return ""
}

// builtIn tells by the kind of a connector (kernel, drivers/gpu/drm/drm_connector.c)
// whether the display belongs to the machine.
func builtIn(connector string) bool {
	for _, kind := range []string{"-eDP-", "-LVDS-", "-DSI-", "-DPI-", "-SPI-"} {
		if strings.Contains(connector, kind) {
			return true
		}
	}
	return false
}
