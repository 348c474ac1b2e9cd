// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peelboot/peel/image/uki"
)

// hwidJSON is one file of a directory of hardware IDs, as systemd's
// hwids/README describes them.
type hwidJSON struct {
	Type       string   `json:"type"` // devicetree, the default, or uefi-fw
	Name       string   `json:"name"`
	Compatible string   `json:"compatible"`
	FWID       string   `json:"fwid"`
	HWIDs      []string `json:"hwids"`
}

// Limits on a directory of hardware IDs.
const (
	maxHWIDFiles = 16384
	maxHWIDs     = 65536
	// maxFirmware bounds a firmware image, in bytes.
	maxFirmware = 256 << 20
)

// ReadHWIDs reads every *.json below dir, in the order of their paths.
func ReadHWIDs(dir string) ([]uki.HWID, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && strings.HasSuffix(p, ".json") {
			paths = append(paths, p)
		}
		if len(paths) > maxHWIDFiles {
			return fmt.Errorf("%w: %s: more than %d files", ErrLimit, dir, maxHWIDFiles)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var list []uki.HWID
	for _, p := range paths {
		b, err := readFile(p, MaxText)
		if err != nil {
			return nil, err
		}
		ids, err := ParseHWIDs(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		list = append(list, ids...)
	}
	return list, nil
}

// ParseHWIDs reads one JSON description of a machine: "name", "hwids" (a list
// of CHIDs) and "compatible", or with "type": "uefi-fw" "fwid".
func ParseHWIDs(b []byte) ([]uki.HWID, error) {
	var j hwidJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPart, err)
	}
	h := uki.HWID{Type: uki.HWIDDeviceTree, Name: j.Name, Compatible: j.Compatible}
	what := "compatible"
	switch j.Type {
	case "", "devicetree":
	case "uefi-fw":
		h.Type, h.Compatible, what = uki.HWIDFirmware, j.FWID, "fwid"
	default:
		return nil, fmt.Errorf("%w: type %q", ErrPart, j.Type)
	}
	if h.Name == "" || h.Compatible == "" || j.HWIDs == nil {
		return nil, fmt.Errorf("%w: \"name\", \"%s\" or \"hwids\" is missing", ErrPart, what)
	}
	var list []uki.HWID
	for _, s := range j.HWIDs {
		id, err := parseCHID(s)
		if err != nil {
			return nil, err
		}
		h.CHID = id
		list = append(list, h)
	}
	return list, nil
}

// parseCHID reads a CHID in text form into the byte order of EFI_GUID.
func parseCHID(s string) (id [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(s, "{}"), "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: hardware ID %q", ErrPart, s)
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return [16]byte(b), nil
}

// HWIDs returns the .hwids section for a list of hardware IDs (uki.ParseHWIDs
// describes the format). Entries of one machine stand together, sorted and
// without repetition; machines stand in the order of the list.
func HWIDs(list []uki.HWID) ([]byte, error) {
	const entry = 28
	if len(list) > maxHWIDs {
		return nil, fmt.Errorf("%w: %d hardware IDs, at most %d", ErrLimit, len(list), maxHWIDs)
	}
	type machine struct {
		kind             int
		name, compatible string
	}
	var machines []machine
	ids := map[machine][][16]byte{}
	texts := map[string]uint32{}
	n := 0
	for _, h := range list {
		if h.Type != uki.HWIDDeviceTree && h.Type != uki.HWIDFirmware {
			return nil, fmt.Errorf("%w: hardware ID of type %d", ErrPart, h.Type)
		}
		for _, s := range []string{h.Name, h.Compatible} {
			// The reader looks no further than 255 bytes for the NUL.
			if s == "" || len(s) > 255 || strings.ContainsRune(s, 0) {
				return nil, fmt.Errorf("%w: name %q of a machine", ErrPart, s)
			}
			texts[s] = 0
		}
		m := machine{h.Type, h.Name, h.Compatible}
		if _, ok := ids[m]; !ok {
			machines = append(machines, m)
		}
		if !slices.Contains(ids[m], h.CHID) {
			ids[m] = append(ids[m], h.CHID)
			n++
		}
	}
	var names []string
	for s := range texts {
		names = append(names, s)
	}
	slices.Sort(names)
	var strs []byte
	for _, s := range names {
		texts[s] = uint32((n+1)*entry + len(strs))
		strs = append(append(strs, s...), 0)
	}
	le := binary.LittleEndian
	var out []byte
	for _, m := range machines {
		list := ids[m]
		slices.SortFunc(list, func(a, b [16]byte) int { return bytes.Compare(textOrder(a), textOrder(b)) })
		for _, id := range list {
			out = le.AppendUint32(out, uint32(m.kind)<<28|entry)
			out = append(out, id[:]...)
			out = le.AppendUint32(out, texts[m.name])
			out = le.AppendUint32(out, texts[m.compatible])
		}
	}
	out = append(out, make([]byte, entry)...)
	return append(out, strs...), nil
}

// textOrder returns the bytes of a GUID in the order of its text form.
func textOrder(g [16]byte) []byte {
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return g[:]
}

// Firmware returns an .efifw section: a header of little-endian 32-bit words
// (magic 0xfeeddead, size of the header 16, size of the ID with its NUL, size
// of the firmware), the ID that .hwids refers to, the firmware image (systemd
// 258, src/boot/efi-firmware.h).
func Firmware(id string, firmware []byte) ([]byte, error) {
	const magic, header = 0xfeeddead, 16
	if id == "" || len(id) > 255 || strings.ContainsRune(id, 0) || len(firmware) == 0 || len(firmware) > MaxFile/2 {
		return nil, fmt.Errorf("%w: firmware %q of 0x%x bytes", ErrPart, id, len(firmware))
	}
	le := binary.LittleEndian
	out := le.AppendUint32(nil, magic)
	out = le.AppendUint32(out, header)
	out = le.AppendUint32(out, uint32(len(id)+1))
	out = le.AppendUint32(out, uint32(len(firmware)))
	out = append(append(out, id...), 0)
	return append(out, firmware...), nil
}

// ReadFirmware makes an .efifw section of a directory that holds one file, the
// firmware; its ID is the name of the directory.
func ReadFirmware(dir string) ([]byte, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 || !list[0].Type().IsRegular() {
		return nil, fmt.Errorf("%w: %s holds %d entries, want one file", ErrPart, dir, len(list))
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := filepath.Join(dir, list[0].Name())
	b, err := readFile(p, maxFirmware)
	if err != nil {
		return nil, err
	}
	return Firmware(filepath.Base(abs), b)
}

// readFile reads a file of at most limit bytes. What it says about its size is
// not believed: that of a device is 0.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w: more than 0x%x bytes", path, ErrTooLarge, limit)
	}
	return b, nil
}
