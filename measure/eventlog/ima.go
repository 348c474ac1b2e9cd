// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// PCRIMA is the register that IMA extends unless configured otherwise.
const PCRIMA = 10

const maxTemplateName = 64

// looksLikeIMA reports whether b can begin with an entry of a list of
// measurements: the first is the aggregate of the boot registers.
func looksLikeIMA(b []byte) bool {
	if len(b) < 28 {
		return false
	}
	le := binary.LittleEndian
	n := uint64(le.Uint32(b[24:]))
	if le.Uint32(b) > maxPCR || n == 0 || n > maxTemplateName || 28+n > uint64(len(b)) {
		return false
	}
	name := b[28 : 28+n]
	for _, c := range name {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return bytes.HasPrefix(name, []byte("ima")) || bytes.HasPrefix(name, []byte("evm-sig")) || bytes.Contains(name, []byte("d-ng"))
}

// ReadIMA reads the list of the kernel's integrity measurements,
// /sys/kernel/security/ima/binary_runtime_measurements: per entry u32 PCR, 20
// bytes SHA-1 digest, u32 length and name of the template, u32 length and data
// of the template (template "ima" without that length: 20 bytes and a
// NUL-terminated name of at most 256 bytes). Numbers are little endian, as of
// ima_canonical_fmt and of little-endian machines.
//
// The list holds SHA-1 digests alone; other banks are extended with the digest
// of the template data (ima_calc_field_array_hash in ima_crypto.c, Linux 5.8
// and later), which the events have as well; but see PadIMA. A violation, an entry of zeros, extends
// with ones.
func ReadIMA(b []byte) (*Log, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("0x%x bytes, at most 0x%x: %w", len(b), MaxSize, ErrLimit)
	}
	l := &Log{Format: IMA, Banks: Banks()}
	for at := uint64(0); at < uint64(len(b)); {
		if len(l.Events) == MaxEvents {
			return nil, fmt.Errorf("more than %d entries: %w", MaxEvents, ErrLimit)
		}
		next, err := l.readIMA(b, at)
		if err != nil {
			return nil, fmt.Errorf("entry %d at 0x%x: %w", len(l.Events), at, err)
		}
		at = next
	}
	if len(l.Events) == 0 {
		return nil, fmt.Errorf("empty list: %w", ErrUnknown)
	}
	return l, nil
}

func (l *Log) readIMA(b []byte, at uint64) (uint64, error) {
	le := binary.LittleEndian
	head, err := clip(b, at, 28, "header")
	if err != nil {
		return 0, err
	}
	e := Event{PCR: le.Uint32(head), Content: IMATemplate}
	n := uint64(le.Uint32(head[24:]))
	if e.PCR > maxPCR || n == 0 || n > maxTemplateName {
		return 0, fmt.Errorf("PCR %d, template name of 0x%x bytes: %w", e.PCR, n, ErrSyntax)
	}
	name, err := clip(b, at+28, n, "template name")
	if err != nil {
		return 0, err
	}
	for _, c := range name {
		if c < ' ' || c > '~' {
			return 0, fmt.Errorf("template name %.70q: %w", name, ErrSyntax)
		}
	}
	e.Template = string(name)
	at += 28 + n
	if e.Template == "ima" {
		// The oldest template: digest, u32 length and name.
		size, err := clip(b, at, 24, "template data")
		if err != nil {
			return 0, err
		}
		n = 24 + uint64(le.Uint32(size[20:]))
	} else {
		size, err := clip(b, at, 4, "size of template data")
		if err != nil {
			return 0, err
		}
		n = uint64(le.Uint32(size))
		at += 4
	}
	if e.Data, err = clip(b, at, n, "template data"); err != nil {
		return 0, err
	}
	violation := isViolation(head[4:24])
	for _, h := range l.Banks {
		v := head[4:24:24]
		if h != SHA1 && !violation {
			v = h.Sum(e.hashedIMA())
		} else if h != SHA1 {
			v = make([]byte, h.Size())
		}
		e.Digests = append(e.Digests, Digest{h, v})
	}
	l.Events = append(l.Events, e)
	return at + n, nil
}

// PadIMA returns the log as a kernel makes it that had no code for h when IMA
// started: it extends the bank with the SHA-1 digest and zeros behind it
// (ima_calc_field_array_hash in ima_crypto.c). Debian's 6.1 has SHA-384 and
// SHA-512 in modules, which come too late. It returns false where that makes
// no difference.
func (l *Log) PadIMA(h Hash) (*Log, bool) {
	out := *l
	out.Events = slices.Clone(l.Events)
	changed := false
	for i := range out.Events {
		e := &out.Events[i]
		short, ok := e.Digest(SHA1)
		if e.Content != IMATemplate || !ok || h == SHA1 || h.Size() < len(short) || isViolation(short) {
			continue
		}
		e.Digests = slices.Clone(e.Digests)
		for j := range e.Digests {
			if d := &e.Digests[j]; d.Hash == h {
				d.Value = make([]byte, h.Size())
				copy(d.Value, short)
				changed = true
			}
		}
	}
	return &out, changed
}

// hashedIMA returns what the kernel hashed: the template data, for the oldest
// template the digest and the name padded to 256 bytes.
func (e *Event) hashedIMA() []byte {
	if e.Template != "ima" || len(e.Data) < 24 {
		return e.Data
	}
	out := make([]byte, 20+256)
	copy(out, e.Data[:20])
	copy(out[20:], e.Data[24:])
	return out
}

// isViolation reports whether a digest in an IMA list is all zeros: a file was
// open for writing while it was measured.
func isViolation(v []byte) bool { return bytes.Count(v, []byte{0}) == len(v) }

// IMAFields splits template data into its fields: u32 length and bytes each
// (Documentation/security/IMA-templates.rst).
func IMAFields(data []byte) ([][]byte, error) {
	var out [][]byte
	for at := uint64(0); at < uint64(len(data)); {
		size, err := clip(data, at, 4, "length of field")
		if err != nil {
			return nil, err
		}
		n := uint64(binary.LittleEndian.Uint32(size))
		f, err := clip(data, at+4, n, "field")
		if err != nil {
			return nil, err
		}
		out = append(out, f)
		at += 4 + n
	}
	return out, nil
}
