// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Keys of a record and numbers of contents (CEL 1.1, section 5.2).
const (
	celRecNum      = 0
	celPCR         = 1
	celNV          = 2
	celDigests     = 3
	celContentType = 9
	celContent     = 10

	celTypePCClient = 5
	celTypeIMA      = 7
	celTypeSystemd  = 9
)

// Major types of CBOR (RFC 8949, section 3.1).
const (
	cborUint  = 0
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
)

// cborReader reads the part of CBOR that the format uses: unsigned numbers,
// strings, arrays and maps of definite length.
type cborReader struct {
	b  []byte
	at uint64
}

// head reads the head of an item of a major type.
func (r *cborReader) head(major byte) (uint64, error) {
	first, err := clip(r.b, r.at, 1, "CBOR item")
	if err != nil {
		return 0, err
	}
	if first[0]>>5 != major {
		return 0, fmt.Errorf("CBOR major type %d at 0x%x, want %d: %w", first[0]>>5, r.at, major, ErrSyntax)
	}
	info := first[0] & 31
	r.at++
	if info < 24 {
		return uint64(info), nil
	}
	if info > 27 {
		return 0, fmt.Errorf("CBOR item of indefinite or reserved length at 0x%x: %w", r.at-1, ErrSyntax)
	}
	n := uint64(1) << (info - 24)
	raw, err := clip(r.b, r.at, n, "CBOR number")
	if err != nil {
		return 0, err
	}
	r.at += n
	var wide [8]byte
	copy(wide[8-n:], raw)
	return binary.BigEndian.Uint64(wide[:]), nil
}

func (r *cborReader) str(major byte) ([]byte, error) {
	n, err := r.head(major)
	if err != nil {
		return nil, err
	}
	s, err := clip(r.b, r.at, n, "CBOR string")
	r.at += n
	return s, err
}

func (r *cborReader) peek() byte {
	if r.at >= uint64(len(r.b)) {
		return 0xff
	}
	return r.b[r.at] >> 5
}

func (r *cborReader) fields(n uint64, what string) error {
	got, err := r.head(cborMap)
	if err == nil && got != n {
		err = fmt.Errorf("%s with %d members at 0x%x, want %d: %w", what, got, r.at, n, ErrSyntax)
	}
	return err
}

func (r *cborReader) key(want uint64) error {
	at := r.at
	k, err := r.head(cborUint)
	if err == nil && k != want {
		err = fmt.Errorf("key %d at 0x%x, want %d: %w", k, at, want, ErrSyntax)
	}
	return err
}

func (r *cborReader) uint32() (uint32, error) {
	n, err := r.head(cborUint)
	if err == nil && n > 0xffffffff {
		err = fmt.Errorf("number 0x%x before 0x%x: %w", n, r.at, ErrSyntax)
	}
	return uint32(n), err
}

// ReadCELCBOR reads a Canonical Event Log in CBOR: an array of maps {0:
// recnum, 1: pcr, 3: digests, 9: content type, 10: content}. A digest is {0:
// algorithm, 1: bytes}; content 5 is {0: event type, 1: data}, content 7 {0:
// template, 1: data}, content 9 systemd's JSON text. Records of NV indexes are
// passed over; other contents are refused.
func ReadCELCBOR(b []byte) (*Log, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("0x%x bytes, at most 0x%x: %w", len(b), MaxSize, ErrLimit)
	}
	r := &cborReader{b: b}
	n, err := r.head(cborArray)
	if err != nil {
		return nil, err
	}
	if n > MaxEvents {
		return nil, fmt.Errorf("%d records, at most %d: %w", n, MaxEvents, ErrLimit)
	}
	l := &Log{Format: CELCBOR}
	for i := range n {
		e, err := r.record()
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		if e != nil {
			l.Events = append(l.Events, *e)
		}
	}
	if r.at != uint64(len(b)) {
		return nil, fmt.Errorf("0x%x bytes behind the log: %w", uint64(len(b))-r.at, ErrSyntax)
	}
	l.commonBanks()
	return l, nil
}

// record returns nil for an NV index.
func (r *cborReader) record() (*Event, error) {
	if err := r.fields(5, "record"); err != nil {
		return nil, err
	}
	if err := r.key(celRecNum); err != nil {
		return nil, err
	}
	if _, err := r.head(cborUint); err != nil {
		return nil, err
	}
	index, err := r.head(cborUint)
	if err != nil {
		return nil, err
	}
	e := &Event{}
	if e.PCR, err = r.uint32(); err != nil {
		return nil, err
	}
	if index != celNV && index != celPCR {
		return nil, fmt.Errorf("key %d for a register: %w", index, ErrSyntax)
	}
	if err := r.digests(e); err != nil {
		return nil, err
	}
	if err := r.content(e); err != nil {
		return nil, err
	}
	if index == celNV {
		return nil, nil
	}
	return e, e.checkRegister()
}

func (r *cborReader) digests(e *Event) error {
	if err := r.key(celDigests); err != nil {
		return err
	}
	n, err := r.head(cborArray)
	if err != nil {
		return err
	}
	if n == 0 || n > maxDigests {
		return fmt.Errorf("%d digests: %w", n, ErrSyntax)
	}
	for range n {
		if err := r.fields(2, "digest"); err != nil {
			return err
		}
		if err := r.key(0); err != nil {
			return err
		}
		id, err := r.uint32()
		if err != nil {
			return err
		}
		if err := r.key(1); err != nil {
			return err
		}
		v, err := r.str(cborBytes)
		if err != nil {
			return err
		}
		h := Hash(id)
		if _, twice := e.Digest(h); id > 0xffff || h.Size() == 0 || len(v) != h.Size() || twice {
			return fmt.Errorf("digest of algorithm 0x%x and %d bytes: %w", id, len(v), ErrSyntax)
		}
		e.Digests = append(e.Digests, Digest{h, v})
	}
	return nil
}

func (r *cborReader) content(e *Event) error {
	if err := r.key(celContentType); err != nil {
		return err
	}
	kind, err := r.head(cborUint)
	if err != nil {
		return err
	}
	if err := r.key(celContent); err != nil {
		return err
	}
	switch kind {
	case celTypeSystemd:
		e.Content = Systemd
		v, err := r.str(cborBytes)
		e.Data = v
		return err
	case celTypePCClient, celTypeIMA:
	default:
		return fmt.Errorf("content type %d: %w", kind, ErrSyntax)
	}
	if err := r.fields(2, "content"); err != nil {
		return err
	}
	if err := r.key(0); err != nil {
		return err
	}
	if kind == celTypeIMA {
		e.Content = IMATemplate
		name, err := r.str(cborText)
		if err != nil {
			return err
		}
		if len(name) > maxTemplateName || !utf8.Valid(name) {
			return fmt.Errorf("template name %.70q: %w", name, ErrSyntax)
		}
		e.Template = string(name)
	} else {
		e.Content = PCClient
		if err := r.eventType(e); err != nil {
			return err
		}
	}
	if err := r.key(1); err != nil {
		return err
	}
	v, err := r.str(cborBytes)
	e.Data = v
	return err
}

// eventType reads a number or a name.
func (r *cborReader) eventType(e *Event) error {
	if r.peek() == cborText {
		name, err := r.str(cborText)
		if err != nil {
			return err
		}
		e.Type, err = ParseType(string(name))
		return err
	}
	n, err := r.uint32()
	e.Type = Type(n)
	return err
}

// WriteCELCBOR writes the log as a CBOR array of records, numbered from 0 for
// each register. It fails with ErrWrite for a content other than the three of
// this package.
func (l *Log) WriteCELCBOR() ([]byte, error) {
	out := appendHead(nil, cborArray, uint64(len(l.Events)))
	num := map[uint32]uint64{}
	for i := range l.Events {
		e := &l.Events[i]
		out = appendUints(appendHead(out, cborMap, 5), celRecNum, num[e.PCR], celPCR, uint64(e.PCR), celDigests)
		num[e.PCR]++
		if len(e.Digests) == 0 || len(e.Digests) > maxDigests {
			return nil, fmt.Errorf("event %d has %d digests: %w", i, len(e.Digests), ErrWrite)
		}
		out = appendHead(out, cborArray, uint64(len(e.Digests)))
		for _, d := range e.Digests {
			out = appendUints(appendHead(out, cborMap, 2), 0, uint64(d.Hash), 1)
			out = appendString(out, cborBytes, d.Value)
		}
		out = appendUints(out, celContentType)
		switch e.Content {
		case PCClient:
			out = appendUints(out, celTypePCClient, celContent)
			out = appendUints(appendHead(out, cborMap, 2), 0, uint64(e.Type), 1)
		case IMATemplate:
			out = appendUints(out, celTypeIMA, celContent)
			out = appendUints(appendHead(out, cborMap, 2), 0)
			out = appendUints(appendString(out, cborText, []byte(e.Template)), 1)
		case Systemd:
			if !json.Valid(e.Data) {
				return nil, fmt.Errorf("event %d: content is not JSON: %w", i, ErrWrite)
			}
			out = appendUints(out, celTypeSystemd, celContent)
		default:
			return nil, fmt.Errorf("event %d: content %.20q: %w", i, e.Content, ErrWrite)
		}
		out = appendString(out, cborBytes, e.Data)
	}
	return out, nil
}

// appendHead writes the shortest head of an item.
func appendHead(b []byte, major byte, n uint64) []byte {
	be := binary.BigEndian
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n <= 0xff:
		return append(b, m|24, byte(n))
	case n <= 0xffff:
		return be.AppendUint16(append(b, m|25), uint16(n))
	case n <= 0xffffffff:
		return be.AppendUint32(append(b, m|26), uint32(n))
	}
	return be.AppendUint64(append(b, m|27), n)
}

func appendUints(b []byte, ns ...uint64) []byte {
	for _, n := range ns {
		b = appendHead(b, cborUint, n)
	}
	return b
}

func appendString(b []byte, major byte, s []byte) []byte {
	return append(appendHead(b, major, uint64(len(s))), s...)
}
