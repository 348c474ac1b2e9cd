// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/peelboot/peel/image/pe"
)

// Attached is a PE image with another certificate table, ready to be written.
// It refers to the bytes of the image it was made from.
type Attached struct {
	head  []byte // headers up to the last one that changed
	body  []byte // the rest of the image, up to the table
	table []byte // padding and entries
}

// PE header fields, relative to the "PE\0\0" signature (Microsoft PE Format,
// sections 3.3 and 3.4): the optional header begins at 24, CheckSum at 64 of
// it, the directories at 96 (PE32) or 112 (PE32+) of it, eight bytes each.
const (
	peOptional    = 24
	peCheckSum    = peOptional + 64
	peDirectory32 = peOptional + 96 + 8*pe.DirCertificate
	peDirectory64 = peOptional + 112 + 8*pe.DirCertificate
	certHeader    = 8
	certAlign     = 8
)

// Keep says which entries of the certificate table stay; nil drops all of
// them, also those of a table that cannot be read.
type Keep func(pe.Certificate) bool

// KeepAll keeps every entry: the new ones follow them.
func KeepAll(pe.Certificate) bool { return true }

// Attach returns the image f with messages, each the DER of one signature, as
// entries of its certificate table, after those entries of f that keep wants.
// Without any entry the image gets no table and is again what it was before
// it was signed, except for up to seven zero bytes of padding.
//
// It fails with ErrImage when f has no room for the table's directory entry
// or when its table is malformed, and with ErrLimit beyond 4 GiB.
func Attach(f *pe.File, keep Keep, messages ...[]byte) (*Attached, error) {
	entry := uint64(f.Offset) + peDirectory64
	if !f.Plus {
		entry = uint64(f.Offset) + peDirectory32
	}
	if len(f.Directories) <= pe.DirCertificate {
		return nil, fmt.Errorf("%w: %d data directories, no entry for a certificate table", ErrImage, len(f.Directories))
	}
	end := uint64(len(f.Raw))
	var table []byte
	if f.CertTable.Size > 0 {
		if f.CertTable.End() != end {
			return nil, fmt.Errorf("%w: %w at 0x%x of 0x%x bytes", ErrImage, pe.ErrTrailingData, f.CertTable.End(), end)
		}
		end = f.CertTable.Offset
		if keep != nil {
			old, err := f.Certificates()
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrImage, err)
			}
			for _, c := range old {
				if keep(c) {
					table = appendEntry(table, c.Revision, c.Type, c.Data)
				}
			}
		}
	}
	for _, m := range messages {
		table = appendEntry(table, pe.CertRevision2, pe.CertTypePKCS, m)
	}
	pad := pe.Padding(int64(end))
	at := end + uint64(pad)
	if at+uint64(len(table)) > math.MaxUint32 {
		return nil, fmt.Errorf("%w: signed image of 0x%x bytes, at most 4 GiB", ErrLimit, at+uint64(len(table)))
	}
	a := &Attached{head: bytes.Clone(f.Raw[:entry+8]), body: f.Raw[entry+8 : end]}
	le := binary.LittleEndian
	clear(a.head[entry : entry+8])
	if len(table) > 0 {
		le.PutUint32(a.head[entry:], uint32(at))
		le.PutUint32(a.head[entry+4:], uint32(len(table)))
		a.table = append(make([]byte, pad, pad+len(table)), table...)
	}
	le.PutUint32(a.head[f.Offset+peCheckSum:], 0)
	le.PutUint32(a.head[f.Offset+peCheckSum:], a.checkSum())
	return a, nil
}

// appendEntry appends a WIN_CERTIFICATE (UEFI specification, section 32.2.4).
func appendEntry(table []byte, revision, typ uint16, data []byte) []byte {
	table = binary.LittleEndian.AppendUint32(table, uint32(certHeader+len(data)))
	table = binary.LittleEndian.AppendUint16(table, revision)
	table = binary.LittleEndian.AppendUint16(table, typ)
	table = append(table, data...)
	for len(table)%certAlign != 0 {
		table = append(table, 0)
	}
	return table
}

// Size returns the size of the image in bytes.
func (a *Attached) Size() int64 { return int64(len(a.head) + len(a.body) + len(a.table)) }

// WriteTo writes the image to w.
func (a *Attached) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for _, b := range [][]byte{a.head, a.body, a.table} {
		k, err := w.Write(b)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Bytes returns the image in one piece.
func (a *Attached) Bytes() []byte { return slices.Concat(a.head, a.body, a.table) }

// Patch returns what Attach changed: the new beginning of the file, and what
// follows the offset at which it was cut. A caller that may write to the file
// f was read from need not write the rest again.
func (a *Attached) Patch() (head []byte, at int64, tail []byte) {
	return a.head, int64(len(a.head) + len(a.body)), a.table
}

// checkSum returns the sum that the CheckSum field holds, the field being
// zero now: 16-bit words with end-around carry, plus the file size.
func (a *Attached) checkSum() uint32 {
	var sum uint64
	odd := false
	for _, b := range [][]byte{a.head, a.body, a.table} {
		if odd && len(b) > 0 {
			sum += uint64(b[0]) << 8
			b, odd = b[1:], false
		}
		for ; len(b) >= 8; b = b[8:] {
			v := binary.LittleEndian.Uint64(b)
			sum += v&0xffff + v>>16&0xffff + v>>32&0xffff + v>>48
		}
		for ; len(b) >= 2; b = b[2:] {
			sum += uint64(binary.LittleEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint64(b[0])
			odd = true
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(a.Size())
}

// PE signs the image f and returns it with the signature: after those it has,
// or in their place when replace is set.
func PE(f *pe.File, k Key, o Options, replace bool) (*Attached, error) {
	m, err := Authenticode(f, k, o)
	if err != nil {
		return nil, err
	}
	keep := Keep(KeepAll)
	if replace {
		keep = nil
	}
	return Attach(f, keep, m)
}

// Strip returns the image f without signatures.
func Strip(f *pe.File) (*Attached, error) { return Attach(f, nil) }

// Parts returns the image in pieces, in order.
func (a *Attached) Parts() [][]byte { return [][]byte{a.head, a.body, a.table} }
