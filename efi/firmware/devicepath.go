// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Device paths (UEFI, chapter 10).

// Types of nodes.
const (
	nodeMedia    = 4
	nodeEnd      = 0x7f
	mediaVendor  = 3
	mediaFile    = 4
	endEntire    = 0xff
	nodeHeader   = 4
	maxPathNodes = 64
)

func endPath() []byte { return []byte{nodeEnd, endEntire, nodeHeader, 0} }

// vendorMedia is a vendor-defined media node (UEFI, section 10.3.5.3).
func vendorMedia(g GUID) []byte {
	return append([]byte{nodeMedia, mediaVendor, 20, 0}, g[:]...)
}

// fileNode is a file path node (UEFI, section 10.3.5.4).
func fileNode(name string) []byte {
	text := utf16z(strings.ReplaceAll("/"+strings.TrimPrefix(name, "/"), "/", `\`))
	b := []byte{nodeMedia, mediaFile, 0, 0}
	le.PutUint16(b[2:], uint16(nodeHeader+len(text)))
	return append(b, text...)
}

// path reads the device path at addr, its end included.
func (f *Firmware) path(addr uint64) ([]byte, error) {
	var out []byte
	for range maxPathNodes {
		h, err := f.view(addr+uint64(len(out)), nodeHeader)
		if err != nil {
			return nil, fmt.Errorf("device path: %w", err)
		}
		n := uint64(le.Uint16(h[2:]))
		if n < nodeHeader || uint64(len(out))+n > maxPath {
			return nil, fmt.Errorf("device path at %#x: node of %d bytes", addr, n)
		}
		b, err := f.view(addr+uint64(len(out)), n)
		if err != nil {
			return nil, fmt.Errorf("device path: %w", err)
		}
		out = append(out, b...)
		if h[0] == nodeEnd && h[1] == endEntire {
			return out, nil
		}
	}
	return nil, fmt.Errorf("device path at %#x has more than %d nodes", addr, maxPathNodes)
}

// filePath returns the text of the file nodes of a path that path has read.
func filePath(b []byte) string {
	var out string
	for len(b) >= nodeHeader {
		n := int(le.Uint16(b[2:]))
		if n < nodeHeader || n > len(b) {
			break
		}
		if b[0] == nodeMedia && b[1] == mediaFile {
			var u []uint16
			for i := nodeHeader; i+1 < n; i += 2 {
				v := le.Uint16(b[i:])
				if v == 0 {
					break
				}
				u = append(u, v)
			}
			out += "/" + strings.Trim(strings.ReplaceAll(string(utf16.Decode(u)), `\`, "/"), "/")
		}
		b = b[n:]
	}
	return strings.TrimPrefix(out, "/")
}

// onlyFiles tells whether a path is made of file nodes, one at least.
func onlyFiles(b []byte) bool {
	n := 0
	for len(b) >= nodeHeader && b[0] == nodeMedia && b[1] == mediaFile {
		size := int(le.Uint16(b[2:]))
		if size < nodeHeader || size > len(b) {
			return false
		}
		b = b[size:]
		n++
	}
	return n > 0 && bytes.Equal(b, endPath())
}

// locateDevicePath finds the handle with a protocol whose device path is the
// longest beginning of the given one (UEFI, section 7.3.8).
func (f *Firmware) locateDevicePath(c *call) Status {
	g, at, deviceAt := c.guid(c.args[0]), c.args[1], c.args[2]
	addr := c.u64(at)
	if c.out(at, 8); c.bad != nil {
		return InvalidParameter
	}
	want, err := f.path(addr)
	if err != nil {
		c.bad = err
		return InvalidParameter
	}
	best, length := uint64(0), -1
	for _, h := range f.handles {
		p, ok := h.find(guidDevicePath())
		if _, has := h.find(g); !ok || !has {
			continue
		}
		have, err := f.path(p)
		if err != nil {
			continue // the guest broke its own handle
		}
		have = have[:len(have)-nodeHeader]
		if bytes.HasPrefix(want, have) && len(have) > length {
			best, length = h.id, len(have)
		}
	}
	if length < 0 {
		return NotFound
	}
	c.put64(at, addr+uint64(length))
	c.put64(deviceAt, best)
	c.notef("%#x", best)
	return Success
}
