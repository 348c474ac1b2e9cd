// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"fmt"

	"github.com/peelboot/peel/measure/eventlog"
)

// Event logs in guest memory. They are written and never read back: the guest
// may change them to no effect.

const (
	logSize   = 1 << 20
	finalSize = 64 << 10
)

// logArea is a log that GetEventLog shows: it stays where it is and grows.
type logArea struct {
	at, used, last uint64
	truncated      bool
}

// newLogArea takes memory for a log that begins with head.
func (f *Firmware) newLogArea(l *logArea, head []byte) error {
	at, err := f.allocate(BootServicesData, logSize, pageSize, 0)
	if err != nil {
		return fmt.Errorf("%w: event log: %w", ErrMemory, err)
	}
	f.own = append(f.own, Region{Start: at, Size: logSize})
	copy(f.mem[at:], head)
	// A log of a header alone ends with the header.
	*l = logArea{at: at, used: uint64(len(head)), last: at}
	return nil
}

// add appends an event, unless there is no room; from then on the log is
// truncated, so that it has no gaps.
func (l *logArea) add(f *Firmware, b []byte) bool {
	if l.truncated || uint64(len(b)) > logSize-l.used {
		l.truncated = true
		return false
	}
	l.last = l.at + l.used
	copy(f.mem[l.last:], b)
	l.used += uint64(len(b))
	return true
}

// answer is that of GetEventLog: location, last entry, truncated.
func (l *logArea) answer(c *call) {
	at, last, full := c.args[2], c.args[3], c.args[4]
	if at != 0 {
		c.put64(at, l.at)
	}
	if last != 0 {
		v := l.last
		if l.used == 0 {
			v = 0
		}
		c.put64(last, v)
	}
	if full != 0 {
		if b := c.out(full, 1); b != nil {
			b[0] = 0
			if l.truncated {
				b[0] = 1
			}
		}
	}
	c.notef("%d bytes at %#x", l.used, l.at)
}

// finalTable is EFI_TCG2_FINAL_EVENTS_TABLE (TCG EFI Protocol Specification,
// section 7): the events after the first GetEventLog, for a kernel that has
// copied the log by then. Version and number of events, 64 bits each, precede
// them.
type finalTable struct {
	at, used, count uint64
	started         bool
}

func (f *Firmware) newFinalTable(t *finalTable, g GUID) error {
	at, err := f.allocate(ACPINVS, finalSize, pageSize, 0)
	if err != nil {
		return fmt.Errorf("%w: table of final events: %w", ErrMemory, err)
	}
	f.own = append(f.own, Region{Start: at, Size: finalSize})
	le.PutUint64(f.mem[at:], 1)
	*t = finalTable{at: at, used: 16}
	if s := f.setTable(g, at); s != Success {
		return fmt.Errorf("%w: table of final events: %v", ErrMemory, s)
	}
	return nil
}

func (t *finalTable) add(f *Firmware, b []byte) bool {
	if !t.started {
		return true
	}
	if uint64(len(b)) > finalSize-t.used {
		return false
	}
	copy(f.mem[t.at+t.used:], b)
	t.used += uint64(len(b))
	t.count++
	le.PutUint64(f.mem[t.at+8:], t.count)
	return true
}

// encodeEvent returns a TCG_PCR_EVENT2.
func encodeEvent(banks []eventlog.Hash, e *eventlog.Event) ([]byte, error) {
	head, err := (&eventlog.Log{Banks: banks}).WriteTCG()
	if err != nil {
		return nil, err
	}
	b, err := (&eventlog.Log{Banks: banks, Events: []eventlog.Event{*e}}).WriteTCG()
	if err != nil {
		return nil, err
	}
	return b[len(head):], nil
}

// encodeEvent12 returns a TCG_PCR_EVENT: register, type, SHA-1 digest, size,
// data (TCG EFI Protocol Specification, section 5.1).
func encodeEvent12(e *eventlog.Event) []byte {
	b := le.AppendUint32(nil, e.PCR)
	b = le.AppendUint32(b, uint32(e.Type))
	d, ok := e.Digest(eventlog.SHA1)
	if !ok {
		d = make([]byte, 20)
	}
	b = append(b, d...)
	b = le.AppendUint32(b, uint32(len(e.Data)))
	return append(b, e.Data...)
}
