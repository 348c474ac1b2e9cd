// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

// celRecord is a record of a Canonical Event Log (CEL 1.1, section 5.3). The
// members' order is the specification's.
type celRecord struct {
	RecNum  *uint64         `json:"recnum,omitempty"`
	PCR     *uint32         `json:"pcr,omitempty"`
	NVIndex *uint64         `json:"nv_index,omitempty"`
	Digests []celDigest     `json:"digests"`
	Type    string          `json:"content_type"`
	Content json.RawMessage `json:"content,omitempty"`
}

type celDigest struct {
	Hash   string `json:"hashAlg"`
	Digest string `json:"digest"`
}

// celPCClient is the content of a PC client event. The type is a name or a
// number, the data hexadecimal.
type celPCClient struct {
	Type json.RawMessage `json:"event_type"`
	Data string          `json:"event_data"`
}

type celIMA struct {
	Name string `json:"template_name"`
	Data string `json:"template_data"`
}

// ReadCELJSON reads a Canonical Event Log in JSON: an array of records, or
// records one after the other with white space or record separators (0x1e, RFC
// 7464) between, as systemd keeps /run/log/systemd/tpm2-measure.log. Records
// of NV indexes are passed over: no register belongs to them.
func ReadCELJSON(b []byte) (*Log, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("0x%x bytes, at most 0x%x: %w", len(b), MaxSize, ErrLimit)
	}
	text := bytes.ReplaceAll(b, []byte{0x1e}, []byte{' '})
	dec := json.NewDecoder(bytes.NewReader(text))
	array := false
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) > 0 && t[0] == '[' {
		array = true
		if _, err := dec.Token(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
	}
	l := &Log{Format: CELJSON}
	for {
		if array && !dec.More() {
			if _, err := dec.Token(); err != nil {
				return nil, fmt.Errorf("end of the array: %w: %w", ErrTruncated, err)
			}
			break
		}
		if len(l.Events) == MaxEvents {
			return nil, fmt.Errorf("more than %d records: %w", MaxEvents, ErrLimit)
		}
		var r celRecord
		err := dec.Decode(&r)
		if err == io.EOF && !array {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("record %d at 0x%x: %w: %w", len(l.Events), dec.InputOffset(), ErrSyntax, err)
		}
		if r.PCR == nil && r.NVIndex != nil {
			continue
		}
		e, err := r.event()
		if err != nil {
			return nil, fmt.Errorf("record %d before 0x%x: %w", len(l.Events), dec.InputOffset(), err)
		}
		l.Events = append(l.Events, *e)
	}
	l.commonBanks()
	return l, nil
}

func (r *celRecord) event() (*Event, error) {
	if r.PCR == nil {
		return nil, fmt.Errorf("no register: %w", ErrSyntax)
	}
	if len(r.Digests) == 0 || len(r.Digests) > maxDigests {
		return nil, fmt.Errorf("%d digests: %w", len(r.Digests), ErrSyntax)
	}
	e := &Event{PCR: *r.PCR, Content: Content(r.Type)}
	for _, d := range r.Digests {
		h, err := ParseHash(d.Hash)
		if err != nil {
			return nil, err
		}
		v, err := hex.DecodeString(d.Digest)
		if _, twice := e.Digest(h); err != nil || len(v) != h.Size() || twice {
			return nil, fmt.Errorf("%s digest %.140q: %w", h, d.Digest, ErrSyntax)
		}
		e.Digests = append(e.Digests, Digest{h, v})
	}
	switch e.Content {
	case PCClient:
		var c celPCClient
		if err := json.Unmarshal(r.Content, &c); err != nil {
			return nil, fmt.Errorf("content: %w: %w", ErrSyntax, err)
		}
		var name string
		if json.Unmarshal(c.Type, &name) != nil {
			name = string(c.Type)
		}
		var err error
		if e.Type, err = ParseType(name); err != nil {
			return nil, err
		}
		if e.Data, err = celBytes(c.Data); err != nil {
			return nil, fmt.Errorf("event_data: %w", err)
		}
	case IMATemplate:
		var c celIMA
		if err := json.Unmarshal(r.Content, &c); err != nil {
			return nil, fmt.Errorf("content: %w: %w", ErrSyntax, err)
		}
		if len(c.Name) > maxTemplateName {
			return nil, fmt.Errorf("template name of %d bytes: %w", len(c.Name), ErrSyntax)
		}
		e.Template = c.Name
		var err error
		if e.Data, err = celBytes(c.Data); err != nil {
			return nil, fmt.Errorf("template_data: %w", err)
		}
	default:
		var compact bytes.Buffer
		if len(r.Content) > 0 {
			if err := json.Compact(&compact, r.Content); err != nil {
				return nil, fmt.Errorf("content: %w: %w", ErrSyntax, err)
			}
		}
		e.Data = compact.Bytes()
	}
	return e, e.checkRegister()
}

// celBytes reads hexadecimal digits, or base64, which some writers use.
func celBytes(s string) ([]byte, error) {
	if v, err := hex.DecodeString(s); err == nil {
		return v, nil
	}
	v, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%.40q is neither hexadecimal nor base64: %w", s, ErrSyntax)
	}
	return v, nil
}

// commonBanks sets the banks that every event has, in the order of the first.
func (l *Log) commonBanks() {
	l.Banks = nil
	if len(l.Events) == 0 {
		return
	}
	for _, d := range l.Events[0].Digests {
		all := true
		for i := range l.Events {
			_, ok := l.Events[i].Digest(d.Hash)
			all = all && ok
		}
		if all {
			l.Banks = append(l.Banks, d.Hash)
		}
	}
}

// WriteCELJSON writes the log as a JSON array of records, numbered from 0 for
// each register. EV_NO_ACTION events stay: readers skip them by their type.
func (l *Log) WriteCELJSON() ([]byte, error) {
	out := []byte("[\n")
	num := map[uint32]uint64{}
	for i := range l.Events {
		e := &l.Events[i]
		r := celRecord{RecNum: new(uint64), PCR: &e.PCR, Type: string(e.Content)}
		*r.RecNum = num[e.PCR]
		num[e.PCR]++
		for _, d := range e.Digests {
			r.Digests = append(r.Digests, celDigest{d.Hash.String(), d.Value.String()})
		}
		var content any
		switch e.Content {
		case PCClient:
			name, err := json.Marshal(e.Type.String())
			if err != nil {
				return nil, err
			}
			content = celPCClient{name, e.Data.String()}
		case IMATemplate:
			content = celIMA{e.Template, e.Data.String()}
		default:
			if !json.Valid(e.Data) {
				return nil, fmt.Errorf("event %d: content %.20q is not JSON: %w", i, e.Content, ErrWrite)
			}
			content = json.RawMessage(e.Data)
		}
		var err error
		if r.Content, err = json.Marshal(content); err != nil {
			return nil, fmt.Errorf("event %d: %w: %w", i, ErrWrite, err)
		}
		line, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w: %w", i, ErrWrite, err)
		}
		if i > 0 {
			out = append(out, ",\n"...)
		}
		out = append(out, line...)
	}
	return append(out, "\n]\n"...), nil
}
