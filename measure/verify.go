// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/peelboot/peel/measure/eventlog"
)

// Verdict is what a handed-over log and a TPM say together.
type Verdict struct {
	// Checks has the registers that the log explains.
	Checks []Check `json:"checks"`
	// Kexecs counts the measured kexecs in the log.
	Kexecs int `json:"kexecs"`
	// FromReset are the registers that the log explains from the reset of
	// the machine on; for the others it begins at the values that peel read
	// before the kexec, which the log alone vouches for.
	FromReset []uint32 `json:"from_reset,omitempty"`
	// Unlogged are registers that were extended before the kexec by something
	// that the log does not have.
	Unlogged []uint32 `json:"unlogged,omitempty"`
}

// OK reports whether all registers are what the log says, and there are any.
func (v *Verdict) OK() bool {
	return len(v.Checks) > 0 && !slices.ContainsFunc(v.Checks, func(c Check) bool { return !c.OK })
}

// Verify replays a log that peel handed over against the registers of the TPM,
// for the registers that a separator was measured into; for a log without
// separator, for all registers that it has events of. A value that the log
// itself states without a separator behind it is not compared.
func Verify(l *eventlog.Log, got eventlog.Values) (*Verdict, error) {
	v := &Verdict{}
	want := eventlog.Values{}
	var pcrs []uint32
	// A value that a log states, and that nothing follows, proves nothing:
	// whoever wrote the log could read the register.
	stated := map[uint32]bool{}
	for i := range l.Events {
		e := &l.Events[i]
		if IsSeparator(e) && !slices.Contains(pcrs, e.PCR) {
			pcrs = append(pcrs, e.PCR)
		}
		if IsSeparator(e) {
			delete(stated, e.PCR)
		}
		if snap, ok := snapshot(e); ok {
			v.Kexecs++
			for _, regs := range snap {
				for pcr := range regs {
					stated[pcr] = true
				}
			}
		}
	}
	all := len(pcrs) == 0
	if all {
		pcrs = l.PCRs()
	}
	for _, h := range l.Banks {
		if !h.Available() {
			continue
		}
		regs, unlogged, err := replayKexecs(l, h)
		if err != nil {
			return nil, err
		}
		if err := acceptPadded(l, h, regs, got[h]); err != nil {
			return nil, err
		}
		want[h] = eventlog.Registers{}
		for _, pcr := range pcrs {
			if value, ok := regs[pcr]; ok && !(stated[pcr] && slices.Contains(unlogged, pcr)) {
				want[h][pcr] = value
			}
			switch {
			case slices.Contains(unlogged, pcr):
				if !slices.Contains(v.Unlogged, pcr) {
					v.Unlogged = append(v.Unlogged, pcr)
				}
			case !slices.Contains(v.FromReset, pcr):
				v.FromReset = append(v.FromReset, pcr)
			}
		}
	}
	v.FromReset = slices.DeleteFunc(v.FromReset, func(p uint32) bool { return slices.Contains(v.Unlogged, p) })
	slices.Sort(v.FromReset)
	slices.Sort(v.Unlogged)
	v.Checks = CheckValues(want, got)
	if len(v.Checks) == 0 {
		return v, fmt.Errorf("the log explains no register of the TPM: %w", ErrMismatch)
	}
	return v, nil
}

// acceptPadded puts into regs what a kernel without code for the bank has made of
// IMA's list, for registers that have that value. SHA-1 is then all that binds
// them.
func acceptPadded(l *eventlog.Log, h eventlog.Hash, regs, got eventlog.Registers) error {
	padded, ok := l.PadIMA(h)
	if !ok {
		return nil
	}
	other, _, err := replayKexecs(padded, h)
	if err != nil {
		return err
	}
	for pcr, value := range other {
		if bytes.Equal(value, got[pcr]) {
			regs[pcr] = value
		}
	}
	return nil
}

// replayKexecs is Replay that takes registers from a snapshot where the log
// before it does not lead there.
func replayKexecs(l *eventlog.Log, h eventlog.Hash) (eventlog.Registers, []uint32, error) {
	regs := eventlog.Registers{}
	var unlogged []uint32
	rest := *l
	rest.Events = nil
	flush := func() error {
		var before eventlog.Registers
		if len(regs) > 0 {
			before = regs
		}
		out, err := rest.ReplayFrom(h, before)
		rest.Events = nil
		if err == nil {
			regs = out
		}
		return err
	}
	for _, e := range l.Events {
		snap, ok := snapshot(&e)
		if !ok {
			rest.Events = append(rest.Events, e)
			continue
		}
		if err := flush(); err != nil {
			return nil, nil, err
		}
		for pcr, value := range snap[h] {
			old, ok := regs[pcr]
			if !ok {
				old = eventlog.Initial(h, pcr)
			}
			if !bytes.Equal(old, value) && !slices.Contains(unlogged, pcr) {
				unlogged = append(unlogged, pcr)
			}
			regs[pcr] = value
		}
	}
	return regs, unlogged, flush()
}

// snapshot reads the registers out of an event that finish made.
func snapshot(e *eventlog.Event) (eventlog.Values, bool) {
	id, data, ok := eventlog.ParseTagged(e.Data)
	if !ok || e.Content != eventlog.PCClient || e.Type != eventlog.NoAction || id != TagKexec {
		return nil, false
	}
	text, ok := bytes.CutPrefix(data, []byte(snapshotText+"\x00"))
	v := eventlog.Values{}
	if !ok || json.Unmarshal(text, &v) != nil {
		return nil, false
	}
	for h, regs := range v {
		for _, value := range regs {
			if len(value) != h.Size() {
				return nil, false
			}
		}
	}
	return v, true
}
