// SPDX-License-Identifier: Apache-2.0

package build

import (
	"encoding/binary"
	"io"
)

// elfPart is a section of an ELF64 file to be streamed.
type elfPart struct {
	name  string
	data  []byte
	flags uint64
	// align is where the section begins, a multiple of it, 1 for directly
	// behind the one before.
	align uint64
}

// chunks is a file in pieces.
type chunks [][]byte

func (c chunks) size() (n int64) {
	for _, b := range c {
		n += int64(len(b))
	}
	return n
}

// WriteTo writes the pieces in order.
func (c chunks) WriteTo(w io.Writer) (n int64, err error) {
	for _, b := range c {
		k, err := w.Write(b)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Numbers of ELF-64 (System V ABI, chapter 4).
const (
	elfHeader   = 64
	elfSection  = 64
	elfRel      = 1
	elfExec     = 2
	elfNone     = 0
	elfAArch64  = 183
	elfAlloc    = 2
	elfProgbits = 1
	elfStrtab   = 3
)

// elfFile lays out an ELF64 file of sections without segments. The section
// table follows the header when first is set, else it stands at the end. The
// string table is the last section, and its own name the last in it: parsers
// of the kernel series read past a name that ends the table.
func elfFile(typ, machine uint16, first bool, parts []elfPart) chunks {
	le := binary.LittleEndian
	parts = append(parts[:len(parts):len(parts)], elfPart{name: ".shstrtab", align: 1})
	if first {
		parts[len(parts)-1].align = 8
	}
	names := []byte{0}
	table := make([]byte, elfSection*(len(parts)+1))
	at := uint64(elfHeader)
	if first {
		at += uint64(len(table))
	}
	var body chunks
	pad := func(align uint64) {
		if n := -at & (align - 1); n > 0 {
			body = append(body, make([]byte, n))
			at += n
		}
	}
	for i, p := range parts {
		h := table[(i+1)*elfSection:]
		le.PutUint32(h, uint32(len(names)))
		names = append(append(names, p.name...), 0)
		kind := uint32(elfProgbits)
		if i == len(parts)-1 {
			kind, p.data = elfStrtab, names
		}
		pad(max(p.align, 1))
		le.PutUint32(h[4:], kind)
		le.PutUint64(h[8:], p.flags)
		le.PutUint64(h[24:], at)
		le.PutUint64(h[32:], uint64(len(p.data)))
		le.PutUint64(h[48:], 1)
		body = append(body, p.data)
		at += uint64(len(p.data))
	}
	head := make([]byte, elfHeader)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], typ)
	le.PutUint16(head[18:], machine)
	le.PutUint32(head[20:], 1)
	le.PutUint16(head[52:], elfHeader)
	le.PutUint16(head[58:], elfSection)
	le.PutUint16(head[60:], uint16(len(parts)+1))
	le.PutUint16(head[62:], uint16(len(parts)))
	if first {
		le.PutUint64(head[40:], elfHeader)
		return append(chunks{head, table}, body...)
	}
	pad(8)
	le.PutUint64(head[40:], at)
	return append(append(chunks{head}, body...), table)
}
