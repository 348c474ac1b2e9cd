// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// EFI_DEVICE_PATH_TO_TEXT_PROTOCOL and EFI_DEVICE_PATH_FROM_TEXT_PROTOCOL
// (UEFI, sections 10.6.2 and 10.6.3; the text forms are those of 10.6.1.6).
// Nodes that an image meets here have their own form, all others that of
// Path(type,subtype,data), which any node may have.

// More types of nodes.
const (
	nodeHardware   = 1
	nodeACPI       = 2
	hardwarePCI    = 1
	hardwareVendor = 4
	acpiDevice     = 1
	mediaHardDrive = 1
	endInstance    = 1

	pnpPCI  = 0x0a0341d0 // EISA id PNP0A03
	pnpPCIe = 0x0a0841d0
)

// nodeText is the text of one node, its header included.
func nodeText(b []byte) string {
	if len(b) < nodeHeader {
		return ""
	}
	d := b[nodeHeader:]
	guidAt := func(b []byte) string { return strings.ToUpper(GUID(b[:16]).String()) }
	vendor := func(name string) string {
		if len(d) == 16 {
			return fmt.Sprintf("%s(%s)", name, guidAt(d))
		}
		return fmt.Sprintf("%s(%s,%X)", name, guidAt(d), d[16:])
	}
	switch kind := [2]byte{b[0], b[1]}; {
	case kind == [2]byte{nodeHardware, hardwarePCI} && len(d) == 2:
		return fmt.Sprintf("Pci(%#x,%#x)", d[1], d[0])
	case kind == [2]byte{nodeHardware, hardwareVendor} && len(d) >= 16:
		return vendor("VenHw")
	case kind == [2]byte{nodeACPI, acpiDevice} && len(d) == 8:
		switch hid, uid := le.Uint32(d), le.Uint32(d[4:]); hid {
		case pnpPCI:
			return fmt.Sprintf("PciRoot(%#x)", uid)
		case pnpPCIe:
			return fmt.Sprintf("PcieRoot(%#x)", uid)
		default:
			return fmt.Sprintf("Acpi(%#x,%#x)", hid, uid)
		}
	case kind == [2]byte{nodeMedia, mediaHardDrive} && len(d) == 38:
		part, start, size := le.Uint32(d), le.Uint64(d[4:]), le.Uint64(d[12:])
		switch [2]byte{d[36], d[37]} {
		case [2]byte{1, 1}:
			return fmt.Sprintf("HD(%d,MBR,%#08x,%#x,%#x)", part, le.Uint32(d[20:]), start, size)
		case [2]byte{2, 2}:
			return fmt.Sprintf("HD(%d,GPT,%s,%#x,%#x)", part, guidAt(d[20:]), start, size)
		}
	case kind == [2]byte{nodeMedia, mediaVendor} && len(d) >= 16:
		return vendor("VenMedia")
	case kind == [2]byte{nodeMedia, mediaFile}:
		return fileText(d)
	}
	return fmt.Sprintf("Path(%d,%d,%X)", b[0], b[1], d)
}

// fileText is the name in a file path node.
func fileText(d []byte) string {
	var u []uint16
	for ; len(d) >= 2 && le.Uint16(d) != 0; d = d[2:] {
		u = append(u, le.Uint16(d))
	}
	return string(utf16.Decode(u))
}

// pathText is the text of a path that path has read.
func pathText(b []byte) string {
	var out strings.Builder
	for len(b) >= nodeHeader {
		n := int(le.Uint16(b[2:]))
		if n < nodeHeader || n > len(b) || b[0] == nodeEnd && b[1] == endEntire {
			break
		}
		switch text := out.String(); {
		case b[0] == nodeEnd:
			out.WriteByte(',')
		case text != "" && !strings.HasSuffix(text, ","):
			out.WriteByte('/')
			fallthrough
		default:
			out.WriteString(nodeText(b[:n]))
		}
		b = b[n:]
	}
	return out.String()
}

// node makes a node of a type, subtype and data.
func node(kind, sub byte, data []byte) []byte {
	b := []byte{kind, sub, 0, 0}
	le.PutUint16(b[2:], uint16(nodeHeader+len(data)))
	return append(b, data...)
}

// parseNode is the reverse of nodeText; what has no known form is the name of
// a file.
func parseNode(s string) []byte {
	name, rest, ok := strings.Cut(s, "(")
	if !ok || !strings.HasSuffix(rest, ")") {
		return textNode(s)
	}
	args := strings.Split(strings.TrimSuffix(rest, ")"), ",")
	for len(args) < 5 {
		args = append(args, "")
	}
	bad := false
	number := func(i, bits int) uint64 {
		if args[i] == "" {
			return 0
		}
		v, err := strconv.ParseUint(args[i], 0, bits)
		bad = bad || err != nil
		return v
	}
	id := func(i int) []byte {
		g, err := ParseGUID(strings.ToLower(args[i]))
		bad = bad || err != nil
		return g[:]
	}
	data := func(i int) []byte {
		b, err := hex.DecodeString(args[i])
		bad = bad || err != nil || len(b) > maxPath
		return b
	}
	acpi := func(hid uint32, uid uint64) []byte {
		return node(nodeACPI, acpiDevice, le.AppendUint32(le.AppendUint32(nil, hid), uint32(uid)))
	}
	var out []byte
	switch name {
	case "Pci":
		device, function := byte(number(0, 8)), byte(number(1, 8))
		out = node(nodeHardware, hardwarePCI, []byte{function, device})
	case "VenHw":
		out = node(nodeHardware, hardwareVendor, append(id(0), data(1)...))
	case "VenMedia":
		out = node(nodeMedia, mediaVendor, append(id(0), data(1)...))
	case "PciRoot":
		out = acpi(pnpPCI, number(0, 32))
	case "PcieRoot":
		out = acpi(pnpPCIe, number(0, 32))
	case "Acpi":
		out = acpi(uint32(number(0, 32)), number(1, 32))
	case "HD":
		d := le.AppendUint32(nil, uint32(number(0, 32)))
		d = le.AppendUint64(le.AppendUint64(d, number(3, 64)), number(4, 64))
		switch args[1] {
		case "GPT":
			d = append(append(d, id(2)...), 2, 2)
		case "MBR":
			d = append(append(le.AppendUint32(d, uint32(number(2, 32))), make([]byte, 12)...), 1, 1)
		default:
			bad = true
		}
		out = node(nodeMedia, mediaHardDrive, d)
	case "Path":
		kind, sub := byte(number(0, 8)), byte(number(1, 8))
		bad = bad || kind == nodeEnd // would end the path
		out = node(kind, sub, data(2))
	default:
		bad = true
	}
	if bad {
		return textNode(s)
	}
	return out
}

// textNode is a file path node with just this text.
func textNode(s string) []byte { return node(nodeMedia, mediaFile, utf16z(s)) }

// parsePath is the reverse of pathText, without the end: "/" and "," between
// parentheses belong to a node.
func parsePath(s string) []byte {
	var out []byte
	depth, begin := 0, 0
	flush := func(end int) {
		if end > begin {
			out = append(out, parseNode(s[begin:end])...)
		}
		begin = end + 1
	}
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '/':
			if depth <= 0 {
				flush(i)
			}
		case ',':
			if depth <= 0 {
				flush(i)
				out = append(out, node(nodeEnd, endInstance, nil)...)
			}
		}
	}
	flush(len(s))
	return append(out, endPath()...)
}

// given returns the address of pool memory with b in it, 0 when there is no
// room: so these functions tell that they failed.
func (f *Firmware) given(c *call, b []byte) Status {
	if c.bad != nil || len(b) > maxString*2 {
		return 0
	}
	at, ok := f.newPool(b)
	if !ok {
		return 0
	}
	c.notef("%#x", at)
	return Status(at)
}

func (f *Firmware) nodeToText(c *call) Status {
	head := c.in(c.args[0], nodeHeader)
	if c.bad != nil || le.Uint16(head[2:]) > maxPath {
		return 0
	}
	b := c.in(c.args[0], uint64(le.Uint16(head[2:])))
	return f.given(c, utf16z(nodeText(b)))
}

func (f *Firmware) pathToText(c *call) Status {
	b, err := f.path(c.args[0])
	if err != nil {
		c.bad = err
		return 0
	}
	return f.given(c, utf16z(pathText(b)))
}

func (f *Firmware) textToNode(c *call) Status {
	s := c.text(c.args[0])
	if c.bad != nil || len(s) > maxPath {
		return 0
	}
	return f.given(c, parseNode(s))
}

func (f *Firmware) textToPath(c *call) Status {
	s := c.text(c.args[0])
	if c.bad != nil || len(s) > maxPath {
		return 0
	}
	return f.given(c, bytes.Clone(parsePath(s)))
}
