// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// maxText bounds a description in characters.
const maxText = 120

// Describe says in one line what an event is about. Nothing in it is proven:
// for most types the data is not what was hashed.
func (e *Event) Describe() string {
	switch e.Content {
	case PCClient:
		return clean(e.describePCClient())
	case IMATemplate:
		return clean(e.describeIMA())
	case Systemd:
		var c struct {
			String    string `json:"string"`
			EventType string `json:"eventType"`
		}
		if json.Unmarshal(e.Data, &c) == nil && c.String != "" {
			return clean(strings.TrimSpace(c.EventType + " " + c.String))
		}
	}
	return clean(string(e.Data))
}

func (e *Event) describePCClient() string {
	switch e.Type {
	case NoAction:
		if n, ok := e.locality(); ok {
			return fmt.Sprintf("TPM started from locality %d", n)
		}
		if _, data, ok := ParseTagged(e.Data); ok {
			return describeNote(data)
		}
		return printable(e.Data)
	case Separator:
		switch {
		case len(e.Data) == 4 && binary.LittleEndian.Uint32(e.Data) == 1:
			return "error separator"
		case len(e.Data) == 4 && (binary.LittleEndian.Uint32(e.Data) == 0 || binary.LittleEndian.Uint32(e.Data) == 0xffffffff):
			return "end of the firmware's own measurements"
		}
		return printable(e.Data)
	case EFIVariableConfig, EFIVariableBoot, EFIVariableBoot2, EFIVariableAuthority:
		if v, ok := ParseVariable(e.Data); ok {
			return fmt.Sprintf("%s-%s, %d bytes", v.Name, v.GUID, len(v.Data))
		}
	case EFIBootServicesApp, EFIBootServicesDriver, EFIRuntimeDriver:
		if p := imagePath(e.Data); p != "" {
			return p
		}
		return "image"
	case EventTag:
		if id, data, ok := ParseTagged(e.Data); ok {
			return fmt.Sprintf("tag 0x%08x %s", id, printable(data))
		}
	case SCRTMVersion:
		return utf16Text(e.Data)
	case EFIFirmwareBlob:
		if len(e.Data) == 16 {
			le := binary.LittleEndian
			return fmt.Sprintf("0x%x bytes at 0x%x", le.Uint64(e.Data[8:]), le.Uint64(e.Data))
		}
	case EFIGPT, EFIGPT2:
		return fmt.Sprintf("partition table, %d bytes", len(e.Data))
	}
	return printable(e.Data)
}

// describeNote describes a tagged event that extends nothing: text, and behind
// a zero perhaps the event, in JSON, that it is about.
func describeNote(data []byte) string {
	text, rest, _ := bytes.Cut(data, []byte{0})
	var about Event
	if json.Unmarshal(rest, &about) != nil || about.Content != PCClient || about.Type == NoAction {
		return printable(text)
	}
	return fmt.Sprintf("%s: %s %s", printable(text), about.Type, about.describePCClient())
}

func (e *Event) describeIMA() string {
	fields, err := IMAFields(e.Data)
	if e.Template == "ima" && len(e.Data) > 24 {
		return printable(e.Data[24:])
	}
	if err != nil || len(fields) < 2 {
		return e.Template
	}
	algo, _, _ := strings.Cut(string(fields[0]), ":")
	return fmt.Sprintf("%s %s", printable(fields[1]), algo)
}

// Variable is the data of an event about an EFI variable
// (UEFI_VARIABLE_DATA, PC Client Platform Firmware Profile, section 10.2.6).
type Variable struct {
	GUID string
	Name string
	Data []byte
}

// ParseVariable reads a UEFI_VARIABLE_DATA: 16 bytes GUID, u64 number of
// characters of the name, u64 size of the data, the name in UTF-16 without a
// final zero, the data; little endian.
func ParseVariable(b []byte) (v Variable, ok bool) {
	if len(b) < 32 {
		return v, false
	}
	le := binary.LittleEndian
	chars, size := le.Uint64(b[16:]), le.Uint64(b[24:])
	rest := uint64(len(b) - 32)
	if chars > 1024 || chars*2 > rest || size != rest-chars*2 {
		return v, false
	}
	v.GUID = fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
	v.Name = utf16Text(b[32 : 32+chars*2])
	v.Data = b[32+chars*2:]
	return v, true
}

// AppendTagged writes a TCG_PCClientTaggedEvent: u32 id, u32 size, data.
func AppendTagged(b []byte, id uint32, data []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// ParseTagged reads a TCG_PCClientTaggedEvent.
func ParseTagged(b []byte) (id uint32, data []byte, ok bool) {
	if len(b) < 8 || uint64(binary.LittleEndian.Uint32(b[4:])) != uint64(len(b)-8) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint32(b), b[8:], true
}

// UTF16 returns text in the encoding of UEFI, with a final zero.
func UTF16(s string) []byte {
	var out []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// imagePath finds the file path in the UEFI_IMAGE_LOAD_EVENT of an image: u64
// address, u64 size, u64 link time address, u64 length of the device path, the
// path. Device path nodes are u8 type, u8 subtype, u16 length; media file
// paths are type 4, subtype 4 (UEFI specification, section 10.3).
func imagePath(b []byte) string {
	if len(b) < 32 {
		return ""
	}
	le := binary.LittleEndian
	n := le.Uint64(b[24:])
	if n > uint64(len(b)-32) {
		return ""
	}
	var out []string
	for p := b[32 : 32+n]; len(p) >= 4; {
		size := int(le.Uint16(p[2:]))
		if size < 4 || size > len(p) || p[0] == 0x7f {
			break
		}
		switch {
		case p[0] == 4 && p[1] == 4:
			out = append(out, utf16Text(p[4:size]))
		case p[0] == 4 && p[1] == 3 && size >= 20:
			g := p[4:20]
			out = append(out, fmt.Sprintf("vendor media %08x-%04x-%04x-%x-%x", le.Uint32(g), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:]))
		}
		p = p[size:]
	}
	return strings.Join(out, " ")
}

// printable shows data as text where it is text, else as hexadecimal.
func printable(b []byte) string {
	if len(b) >= 2 && len(b)%2 == 0 && b[1] == 0 && b[0] != 0 {
		return utf16Text(b)
	}
	text := strings.TrimRight(string(b), "\x00")
	for _, c := range []byte(text) {
		if c < ' ' && c != '\n' && c != '\t' || c > '~' {
			return hex.EncodeToString(b[:min(len(b), maxText/2)])
		}
	}
	return text
}

// utf16Text reads little-endian UTF-16 up to the first zero.
func utf16Text(b []byte) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// clean makes text from a log fit to print in one line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return '.'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText-1]) + "…"
	}
	return s
}
