// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Errors of this package. Each is wrapped with what was found and where.
var (
	// ErrUnknown: the bytes are none of the logs that are known here.
	ErrUnknown = errors.New("not an event log")
	// ErrSyntax: the bytes are not what they should be.
	ErrSyntax = errors.New("malformed event log")
	// ErrTruncated: a size points past the end.
	ErrTruncated = errors.New("truncated event log")
	// ErrLimit: more than this package reads.
	ErrLimit = errors.New("event log limit exceeded")
	// ErrHash: an algorithm is not known, or not available.
	ErrHash = errors.New("unknown hash algorithm")
	// ErrWrite: a log cannot be told in the chosen format.
	ErrWrite = errors.New("event log cannot be written in this format")
)

// Limits on one log. The firmware's logs are at most some 100 KiB; an IMA
// list can hold a line for each file that was ever opened.
const (
	MaxSize    = 64 << 20
	MaxEvents  = 1 << 19
	maxDigests = 16
	maxPCR     = 31
)

// Format is how a log is written.
type Format string

// Formats.
const (
	TCG2    Format = "tcg2"     // crypto agile, TCG_PCR_EVENT2
	TCG12   Format = "tcg1.2"   // SHA-1 only, TCG_PCR_EVENT
	CELJSON Format = "cel-json" // Canonical Event Log as JSON
	CELCBOR Format = "cel-cbor" // Canonical Event Log as CBOR
	IMA     Format = "ima"      // binary_runtime_measurements of Linux
)

// Content says what the data of an event is (CEL, section 4.1).
type Content string

// Kinds of content.
const (
	PCClient    Content = "pcclient_std" // Type and Data are the firmware profile's
	IMATemplate Content = "ima_template" // Template and Data are IMA's
	Systemd     Content = "systemd"      // Data is JSON, as systemd writes it
)

// Digest is a digest of one bank.
type Digest struct {
	Hash  Hash  `json:"hash"`
	Value Bytes `json:"digest"`
}

// Event is one entry of a log.
type Event struct {
	// PCR is the register, 0 to 31.
	PCR uint32 `json:"pcr"`
	// Type matters when Content is PCClient.
	Type Type `json:"type"`
	// Content says what Data is; other values than the three of this package
	// come from a Canonical Event Log.
	Content Content `json:"content"`
	// Template is the name of an IMA template.
	Template string `json:"template,omitempty"`
	// Digests are what the banks were extended with.
	Digests []Digest `json:"digests"`
	// Data describes the event; only for some types it is what was hashed.
	Data Bytes `json:"data,omitempty"`
}

// Extends reports whether the event changed a register: EV_NO_ACTION does
// not.
func (e *Event) Extends() bool { return e.Content != PCClient || e.Type != NoAction }

// checkRegister refuses registers that there are not, but of events that change
// none: firmware writes those with all bits set.
func (e *Event) checkRegister() error {
	if e.PCR > maxPCR && e.Extends() {
		return fmt.Errorf("PCR %d, at most %d: %w", e.PCR, maxPCR, ErrSyntax)
	}
	return nil
}

// Digest returns the digest of a bank.
func (e *Event) Digest(h Hash) ([]byte, bool) {
	for _, d := range e.Digests {
		if d.Hash == h {
			return d.Value, true
		}
	}
	return nil, false
}

// NewEvent makes an event of a PC client type: its digests are those of
// measured, which need not be the same as data.
func NewEvent(pcr uint32, t Type, banks []Hash, data []byte, measured ...[]byte) Event {
	e := Event{PCR: pcr, Type: t, Content: PCClient, Data: data}
	for _, h := range banks {
		d := Digest{Hash: h, Value: make([]byte, h.Size())}
		if t != NoAction {
			d.Value = h.Sum(measured...)
		}
		e.Digests = append(e.Digests, d)
	}
	return e
}

// Consistent reports whether the digests are those of Data, for the types
// whose data is what was hashed. checked is false for other types. Of variables
// firmware with a TPM 1.2 hashes the contents alone (TCG EFI Platform
// Specification 1.22).
func (e *Event) Consistent() (ok, checked bool) {
	switch {
	case e.Content == IMATemplate:
	case e.Content != PCClient:
		return false, false
	default:
		switch e.Type {
		case Separator, EFIAction, SCRTMVersion, EFIVariableConfig, EFIVariableAuthority:
		default:
			return false, false
		}
	}
	for _, d := range e.Digests {
		if !d.Hash.Available() || e.Content == IMATemplate && (isViolation(d.Value) || e.Template == "ima") {
			continue
		}
		checked = true
		if bytes.Equal(d.Value, d.Hash.Sum(e.Data)) {
			continue
		}
		v, variable := ParseVariable(e.Data)
		if d.Hash != SHA1 || e.Type != EFIVariableConfig || !variable || !bytes.Equal(d.Value, d.Hash.Sum(v.Data)) {
			return false, true
		}
	}
	return checked, checked
}

// Log is a list of events in order.
type Log struct {
	// Format is what the log was read from.
	Format Format `json:"format"`
	// Banks are the algorithms that every event has a digest of, in the
	// order of the log.
	Banks []Hash `json:"banks"`
	// Sizes are the lengths of digests, for algorithms this package does not
	// know; in the order of Banks.
	sizes map[Hash]int
	// Class is the platform class of a TCG log: 0 client, 1 server.
	Class  uint32  `json:"-"`
	Events []Event `json:"events"`
}

// For returns the events of one register.
func (l *Log) For(pcr uint32) []Event {
	var out []Event
	for _, e := range l.Events {
		if e.PCR == pcr {
			out = append(out, e)
		}
	}
	return out
}

// PCRs returns the registers that events extend, ascending.
func (l *Log) PCRs() []uint32 {
	var out []uint32
	for i := range l.Events {
		if e := &l.Events[i]; e.Extends() && !slices.Contains(out, e.PCR) {
			out = append(out, e.PCR)
		}
	}
	slices.Sort(out)
	return out
}

// Append adds the events of another log that has digests of all banks of
// this one.
func (l *Log) Append(events ...Event) error {
	for i, e := range events {
		for _, h := range l.Banks {
			if _, ok := e.Digest(h); !ok {
				return fmt.Errorf("event %d of PCR %d has no digest of bank %s: %w", i, e.PCR, h, ErrWrite)
			}
		}
	}
	l.Events = append(l.Events, events...)
	return nil
}

// Read reads a log of any format.
func Read(b []byte) (*Log, error) {
	switch f := Detect(b); f {
	case TCG2, TCG12:
		return ReadTCG(b)
	case CELJSON:
		return ReadCELJSON(b)
	case CELCBOR:
		return ReadCELCBOR(b)
	case IMA:
		return ReadIMA(b)
	}
	return nil, fmt.Errorf("%d bytes: %w", len(b), ErrUnknown)
}

// Detect tells the format by the first bytes, "" when it is none.
func Detect(b []byte) Format {
	text := bytes.TrimLeft(b, " \t\r\n\x1e")
	switch {
	case len(b) == 0:
		return ""
	case isSpecID(b):
		return TCG2
	case len(text) > 0 && (text[0] == '[' || text[0] == '{'):
		return CELJSON
	case b[0]>>5 == 4: // a CBOR array
		return CELCBOR
	case looksLikeIMA(b):
		return IMA
	case looksLikeTCG12(b):
		return TCG12
	}
	return ""
}

// clip cuts n bytes off b. n is compared as uint64 so that no sum can wrap.
func clip(b []byte, off, n uint64, what string) ([]byte, error) {
	if off > uint64(len(b)) || n > uint64(len(b))-off {
		return nil, fmt.Errorf("%s of 0x%x bytes at 0x%x, log of 0x%x: %w", what, n, off, len(b), ErrTruncated)
	}
	return b[off : off+n : off+n], nil
}
