// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// Registers are the values of one bank, by register.
type Registers map[uint32]Bytes

// Values are the values of several banks.
type Values map[Hash]Registers

// Initial returns the value of a register after a reset of the machine: zeros,
// or ones for the registers of a dynamic launch, 17 to 22 (PC Client Platform
// TPM Profile, section 4.6).
func Initial(h Hash, pcr uint32) []byte {
	v := make([]byte, h.Size())
	if pcr >= 17 && pcr <= 22 {
		for i := range v {
			v[i] = 0xff
		}
	}
	return v
}

const startupLocality = "StartupLocality\x00"

// locality returns the locality from which the TPM was started, if the event
// tells (PC Client Platform Firmware Profile, section 10.4.5.3).
func (e *Event) locality() (byte, bool) {
	if e.Content == PCClient && e.Type == NoAction && len(e.Data) == len(startupLocality)+1 && bytes.HasPrefix(e.Data, []byte(startupLocality)) {
		return e.Data[len(startupLocality)], true
	}
	return 0, false
}

// Replay computes the values that the registers of a bank have after the
// events of l. Registers without an event are left out. It fails with ErrHash
// when the bank cannot be computed or an event has no digest of it.
func (l *Log) Replay(h Hash) (Registers, error) { return l.ReplayFrom(h, nil) }

// ReplayFrom is Replay from values that registers had before the first event.
func (l *Log) ReplayFrom(h Hash, before Registers) (Registers, error) {
	if !h.Available() {
		return nil, fmt.Errorf("bank %s: %w", h, ErrHash)
	}
	out := maps.Clone(before)
	if out == nil {
		out = Registers{}
	}
	for i := range l.Events {
		e := &l.Events[i]
		if n, ok := e.locality(); ok && before == nil {
			v := Initial(h, 0)
			v[len(v)-1] = n
			out[0] = v
			continue
		}
		if !e.Extends() {
			continue
		}
		d, ok := e.Digest(h)
		if !ok {
			return nil, fmt.Errorf("event %d of PCR %d has no %s digest: %w", i, e.PCR, h, ErrHash)
		}
		out[e.PCR] = h.Extend(out.value(h, e.PCR), e.extended(d))
	}
	return out, nil
}

// extended returns what the register was extended with, given what the log
// has.
func (e *Event) extended(d []byte) []byte {
	if e.Content == IMATemplate && isViolation(d) {
		return bytes.Repeat([]byte{0xff}, len(d))
	}
	return d
}

func (r Registers) value(h Hash, pcr uint32) []byte {
	if v, ok := r[pcr]; ok {
		return v
	}
	return Initial(h, pcr)
}

// ReplayAll replays each bank of the log that can be computed.
func (l *Log) ReplayAll() (Values, error) {
	out := Values{}
	for _, h := range l.Banks {
		if !h.Available() {
			continue
		}
		r, err := l.Replay(h)
		if err != nil {
			return nil, err
		}
		out[h] = r
	}
	return out, nil
}

// PCRs returns the registers in ascending order.
func (r Registers) PCRs() []uint32 { return slices.Sorted(maps.Keys(r)) }

// Banks returns the algorithms in the order of their numbers.
func (v Values) Banks() []Hash { return slices.Sorted(maps.Keys(v)) }
