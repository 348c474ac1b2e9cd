// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"fmt"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/measure/eventlog"
)

// Measurements on their way into registers and logs.

// readEvent checks the arguments of HashLogExtendEvent, which those of CC are
// like, and computes the digests. EV_NO_ACTION has none.
func (f *Firmware) readEvent(c *call, banks []eventlog.Hash, hashed *uint64) (eventlog.Event, Status) {
	flags, dataAt, size, at := c.args[1], c.args[2], c.args[3], c.args[4]
	var e eventlog.Event
	head := c.in(at, sizeofEvent)
	if head == nil || c.args[0] == 0 {
		return e, InvalidParameter
	}
	whole, header := uint64(le.Uint32(head)), uint64(le.Uint32(head[4:]))
	e = eventlog.Event{PCR: le.Uint32(head[10:]), Type: eventlog.Type(le.Uint32(head[14:])), Content: eventlog.PCClient}
	if header < eventHeader || whole < 4+header {
		return e, InvalidParameter
	}
	if whole-4-header > maxEventData {
		return e, OutOfResources
	}
	data := c.in(at+4+header, whole-4-header)
	if c.bad != nil {
		return e, InvalidParameter
	}
	e.Data = bytes.Clone(data)
	if e.Type == eventlog.NoAction {
		return eventlog.NewEvent(e.PCR, e.Type, banks, e.Data), Success
	}
	if dataAt == 0 {
		return e, InvalidParameter
	}
	measured := c.in(dataAt, size)
	if c.bad != nil {
		return e, InvalidParameter
	}
	if size > maxHashed || *hashed > maxHashed-size {
		return e, OutOfResources
	}
	*hashed += size
	if c.bad = f.touch(measured); c.bad != nil {
		return e, OutOfResources
	}
	if flags&peImage == 0 {
		return eventlog.NewEvent(e.PCR, e.Type, banks, e.Data, measured), Success
	}
	p, err := pe.Parse(measured)
	if err != nil {
		c.notef("%v", err)
		return e, Unsupported
	}
	if e.Digests, err = imageDigests(p, banks); err != nil {
		c.notef("%v", err)
		return e, Unsupported
	}
	return e, Success
}

// imageDigests are those by Authenticode, without signatures.
func imageDigests(p *pe.File, banks []eventlog.Hash) ([]eventlog.Digest, error) {
	var out []eventlog.Digest
	for _, h := range banks {
		d, err := p.Digest(h.Crypto())
		if err != nil {
			return nil, err
		}
		out = append(out, eventlog.Digest{Hash: h, Value: d})
	}
	return out, nil
}

// measure extends registers and logs.
func (f *Firmware) measure(e eventlog.Event, log bool) Status {
	t := f.tcg2
	switch {
	case e.PCR > maxPCR:
		return InvalidParameter
	case e.PCR >= 17 && e.PCR <= 22 && e.Extends():
		// Those of a dynamic launch are not for firmware's locality.
		return DeviceError
	}
	if e.Extends() {
		if t.tpm != nil {
			if _, err := t.tpm.Extend([]eventlog.Event{e}); err != nil {
				f.fatal = fmt.Errorf("%w: %w", ErrTPM, err)
				return DeviceError
			}
		}
		for _, d := range e.Digests {
			r := t.registers[d.Hash]
			old, ok := r[e.PCR]
			if !ok {
				old = eventlog.Initial(d.Hash, e.PCR)
			}
			r[e.PCR] = d.Hash.Extend(old, d.Value)
		}
	}
	if !log {
		if e.Extends() {
			t.unlogged++
		}
		return Success
	}
	if !t.record(f, &e) {
		t.unlogged++
		return VolumeFull
	}
	return Success
}

// record adds an event to the logs.
func (t *tcg2) record(f *Firmware, e *eventlog.Event) bool {
	b, err := encodeEvent(t.banks, e)
	if err != nil || !t.log.add(f, b) {
		return false
	}
	t.events = append(t.events, *e)
	ok := true
	if t.old != nil {
		ok = t.old.add(f, encodeEvent12(e))
	}
	return t.final.add(f, b) && ok
}
