// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/peelboot/peel/measure/eventlog"
)

// Difference is where a log and a prediction part in one register.
type Difference struct {
	PCR uint32 `json:"pcr"`
	// Event counts the events of this register from 0.
	Event int `json:"event"`
	// Expected and Found describe the events there; empty when one side has
	// no more.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	// Later tells that the events that were expected come later in the log:
	// something was measured in between.
	Later bool `json:"later,omitempty"`
}

// String says it in one line.
func (d Difference) String() string {
	switch {
	case d.Found == "":
		return fmt.Sprintf("PCR %d event %d: expected %s; the log has no more events", d.PCR, d.Event, d.Expected)
	case d.Expected == "":
		return fmt.Sprintf("PCR %d event %d: the log has %s, which was not expected", d.PCR, d.Event, d.Found)
	case d.Later:
		return fmt.Sprintf("PCR %d event %d: the log has %s before the expected %s", d.PCR, d.Event, d.Found, d.Expected)
	}
	return fmt.Sprintf("PCR %d event %d: expected %s, the log has %s", d.PCR, d.Event, d.Expected, d.Found)
}

// Compare tells for each register that a prediction has events of where a log
// parts from it, by the digests of one bank that both have. What user space
// extends after the predicted events is not a difference: a log may go on. It
// fails with ErrMismatch when no bank is common.
func Compare(c *Case, l *eventlog.Log, pcrs []uint32) ([]Difference, error) {
	var bank eventlog.Hash
	for _, h := range l.Banks {
		if _, ok := c.Values[h]; ok {
			bank = h
		}
	}
	if bank == 0 {
		return nil, fmt.Errorf("the log has banks %v, none of the prediction: %w", l.Banks, ErrMismatch)
	}
	mine := eventlog.Log{Events: c.Events}
	if pcrs == nil {
		pcrs = mine.PCRs()
	}
	var out []Difference
	for _, pcr := range pcrs {
		want, got := extending(mine.For(pcr)), extending(l.For(pcr))
		for i := range max(len(want), len(got)) {
			if i >= len(want) {
				// What follows is not firmware's or the stub's to predict,
				// unless nothing at all was expected here.
				if len(want) == 0 {
					out = append(out, Difference{PCR: pcr, Event: i, Found: line(got[i])})
				}
				break
			}
			d := Difference{PCR: pcr, Event: i, Expected: line(want[i])}
			if i < len(got) {
				w, _ := want[i].Digest(bank)
				g, _ := got[i].Digest(bank)
				if bytes.Equal(w, g) {
					continue
				}
				d.Found = line(got[i])
				d.Later = slices.ContainsFunc(got[i:], func(e eventlog.Event) bool {
					g, _ := e.Digest(bank)
					return bytes.Equal(w, g)
				})
			}
			out = append(out, d)
			break
		}
	}
	return out, nil
}

func extending(list []eventlog.Event) []eventlog.Event {
	return slices.DeleteFunc(slices.Clone(list), func(e eventlog.Event) bool { return !e.Extends() })
}

func line(e eventlog.Event) string {
	name := e.Type.String()
	if e.Content != eventlog.PCClient {
		name = string(e.Content)
	}
	return fmt.Sprintf("%s %q", name, e.Describe())
}

// Check is the outcome for one register of one bank.
type Check struct {
	Bank eventlog.Hash  `json:"bank"`
	PCR  uint32         `json:"pcr"`
	Want eventlog.Bytes `json:"want"`
	Got  eventlog.Bytes `json:"got"`
	OK   bool           `json:"ok"`
}

// CheckValues compares registers that were read with those that should be,
// for the registers and banks that both have.
func CheckValues(want, got eventlog.Values) []Check {
	var out []Check
	for _, h := range want.Banks() {
		for _, pcr := range want[h].PCRs() {
			v, ok := got[h][pcr]
			if ok {
				out = append(out, Check{h, pcr, want[h][pcr], v, bytes.Equal(v, want[h][pcr])})
			}
		}
	}
	return out
}
