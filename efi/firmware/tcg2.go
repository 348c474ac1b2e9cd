// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/measure/eventlog"
)

// EFI_TCG2_PROTOCOL (TCG EFI Protocol Specification for TPM 2.0, level 00
// revision 00.13, section 6).

// ErrTPM means that a measurement did not reach the TPM that it was for.
var ErrTPM = errors.New("measurement did not reach the TPM")

// TPM gets what the guest measures, as it happens. done is the number of
// events that were extended.
type TPM interface {
	Extend(events []eventlog.Event) (done int, err error)
}

// Measuring says where the guest's measurements go. Without it there are no
// protocols for them.
type Measuring struct {
	// Banks are the algorithms of the registers: SHA-1, SHA-256, SHA-384,
	// SHA-512, in the order of their numbers. Without any there is no TCG2.
	Banks []eventlog.Hash
	// TPM gets each event that extends a register. When it fails, the guest
	// ends with ErrTPM. nil is none: registers and log are kept here alone.
	TPM TPM
	// CC is the kind of confidential guest that the image is told it runs in,
	// 0 for none. Its registers are kept here alone.
	CC CCType
}

// Measurements are what a guest has measured, and what firmware has measured
// of the images it loaded for it.
type Measurements struct {
	// Log has an event per measurement, as GetEventLog shows it to the guest.
	Log *eventlog.Log
	// Registers are all that were extended, from a reset of the machine on.
	Registers eventlog.Values
	// Images are the files of the images that were measured into PCR 4, in
	// the order of their events.
	Images [][]byte
	// CC and Measured are log and registers of a confidential guest, SHA-384
	// alone; in place of PCRs are indices of measurement registers: 0 is the
	// one of the launch, n+1 the n-th that can be extended.
	CC       *eventlog.Log
	Measured eventlog.Registers
	// Unlogged counts events that registers were extended with and that are
	// not in a log: it was full, or the guest wanted none of it. Then the log
	// does not explain the registers.
	Unlogged int
}

// Limits of measurements.
const (
	maxPCR = 23
	// maxHashed bounds what is hashed for one guest in all, in bytes.
	maxHashed = 8 << 30
	// maxEventData bounds what describes an event, in bytes.
	maxEventData = 64 << 10
)

// Bits of EFI_TCG2_EVENT_ALGORITHM_BITMAP (section 6.4.1), which are those of
// EFI_CC_EVENT_ALGORITHM_BITMAP too.
func algorithmBit(h eventlog.Hash) uint32 {
	switch h {
	case eventlog.SHA1:
		return 1
	case eventlog.SHA256:
		return 2
	case eventlog.SHA384:
		return 4
	case eventlog.SHA512:
		return 8
	}
	return 0
}

// Formats of logs, bits of EFI_TCG2_EVENT_LOG_BITMAP.
const (
	logTCG12 = 1
	logTCG2  = 2
)

// Flags of HashLogExtendEvent (section 6.6).
const (
	extendOnly = 1
	peImage    = 0x10
)

const (
	eventHeader = 14 // size of EFI_TCG2_EVENT_HEADER, which is packed
	sizeofEvent = 4 + eventHeader
)

// tcg2 is the state behind the protocol.
type tcg2 struct {
	banks     []eventlog.Hash
	tpm       TPM
	registers eventlog.Values
	events    []eventlog.Event
	images    [][]byte
	unlogged  int
	log       logArea  // crypto agile
	old       *logArea // SHA-1 only, nil without that bank
	final     finalTable
	hashed    *uint64
}

func tcg2Functions() []string {
	return []string{"TCG2.GetCapability", "TCG2.GetEventLog", "TCG2.HashLogExtendEvent", "TCG2.SubmitCommand",
		"TCG2.GetActivePcrBanks", "TCG2.SetActivePcrBanks", "TCG2.GetResultOfSetActivePcrBanks"}
}

// measuringServices are those of the protocols for measurements.
func measuringServices() []service {
	return []service{
		{name: "TCG2.GetCapability", params: params("this:- capability"), do: (*Firmware).tcgCapability},
		{name: "TCG2.GetEventLog", params: params("this:- format:n location:- last:- truncated:-"), do: (*Firmware).tcgGetLog},
		{name: "TCG2.HashLogExtendEvent", params: params("this:- flags data size event"), do: (*Firmware).tcgExtend},
		{name: "TCG2.SubmitCommand", params: params("this:- size:n command room:n response"), do: (*Firmware).tcgCommand},
		{name: "TCG2.GetActivePcrBanks", params: params("this:- banks"), do: (*Firmware).tcgBanks},
		{name: "TCG2.SetActivePcrBanks", params: params("this:- banks"), do: (*Firmware).tcgSetBanks},
		{name: "TCG2.GetResultOfSetActivePcrBanks", params: params("this:- present response"), do: (*Firmware).tcgSetResult},
		{name: "CC.GetCapability", params: params("this:- capability"), do: (*Firmware).ccCapability},
		{name: "CC.GetEventLog", params: params("this:- format:n location:- last:- truncated:-"), do: (*Firmware).ccGetLog},
		{name: "CC.HashLogExtendEvent", params: params("this:- flags data size event"), do: (*Firmware).ccExtend},
		{name: "CC.MapPcrToMrIndex", params: params("this:- pcr:n index:-"), do: (*Firmware).ccMap},
	}
}

func guidTCG2() GUID {
	return guid(0x607f766c, 0x7455, 0x42be, 0x93, 0x0b, 0xe4, 0xd7, 0x6d, 0xb2, 0x72, 0x0f)
}

// guidFinalEvents is EFI_TCG2_FINAL_EVENTS_TABLE_GUID (section 7).
func guidFinalEvents() GUID {
	return guid(0x1e2ed096, 0x30e2, 0x4254, 0xbd, 0x89, 0x86, 0x3b, 0xbe, 0xf8, 0x23, 0x25)
}

// offerMeasuring installs the protocols that the caller wants.
func (f *Firmware) offerMeasuring(functions func([]byte, ...string) []byte) error {
	m := f.cfg.Measure
	if m == nil {
		return nil
	}
	hashed := new(uint64)
	if len(m.Banks) > 0 {
		t := &tcg2{banks: m.Banks, tpm: m.TPM, registers: eventlog.Values{}, hashed: hashed}
		old := false
		for _, h := range m.Banks {
			if algorithmBit(h) == 0 || t.registers[h] != nil {
				return fmt.Errorf("bank %s: %w", h, eventlog.ErrHash)
			}
			t.registers[h] = eventlog.Registers{}
			old = old || h == eventlog.SHA1
		}
		head, err := (&eventlog.Log{Banks: m.Banks}).WriteTCG()
		if err != nil {
			return err
		}
		if err := f.newLogArea(&t.log, head); err != nil {
			return err
		}
		if old {
			t.old = &logArea{}
			if err := f.newLogArea(t.old, nil); err != nil {
				return err
			}
		}
		if err := f.newFinalTable(&t.final, guidFinalEvents()); err != nil {
			return err
		}
		at, err := f.newObject(BootServicesData, functions(nil, tcg2Functions()...))
		if err != nil {
			return err
		}
		f.newHandle(proto{guidTCG2(), at})
		f.tcg2 = t
	}
	return f.offerCC(m.CC, hashed, functions)
}

// Measurements returns what was measured; nil when nothing is to be.
func (f *Firmware) Measurements() *Measurements {
	if f.tcg2 == nil && f.cc == nil {
		return nil
	}
	m := &Measurements{}
	if t := f.tcg2; t != nil {
		m.Log = &eventlog.Log{Format: eventlog.TCG2, Banks: t.banks, Events: t.events}
		m.Registers, m.Images, m.Unlogged = t.registers, t.images, t.unlogged
	}
	if c := f.cc; c != nil {
		m.CC = &eventlog.Log{Format: eventlog.TCG2, Banks: []eventlog.Hash{eventlog.SHA384}, Events: c.events}
		m.Measured = c.registers
		m.Unlogged += c.unlogged
	}
	return m
}

func (t *tcg2) bits() uint32 {
	var b uint32
	for _, h := range t.banks {
		b |= algorithmBit(h)
	}
	return b
}

func (t *tcg2) formats() uint32 {
	if t.old != nil {
		return logTCG12 | logTCG2
	}
	return logTCG2
}

// Sizes of EFI_TCG2_BOOT_SERVICE_CAPABILITY (section 6.4): of version 1.0,
// which ends before the number of banks, and of 1.1.
const (
	capability10 = 28
	capability11 = 36
)

// tcgCapability answers callers of both versions of the structure.
func (f *Firmware) tcgCapability(c *call) Status {
	t := f.tcg2
	if t == nil || c.args[0] == 0 {
		return InvalidParameter
	}
	have := c.out(c.args[1], 1)
	if have == nil {
		return InvalidParameter
	}
	size := uint64(have[0])
	switch {
	case size < capability10:
		have[0] = capability11
		return BufferTooSmall
	case size < capability11:
		size = capability10
	default:
		size = capability11
	}
	b := make([]byte, capability11)
	b[0], b[1], b[2], b[3], b[4] = byte(size), 1, 1, 1, 1
	if size == capability10 {
		b[2] = 0
	}
	le.PutUint32(b[8:], t.bits())
	le.PutUint32(b[12:], t.formats())
	b[16] = 1                  // there is a TPM
	le.PutUint16(b[18:], 4096) // most bytes of a command
	le.PutUint16(b[20:], 4096) // and of a response
	copy(b[24:], "LEEP")       // the manufacturer, as a number "PEEL"
	le.PutUint32(b[28:], uint32(len(t.banks)))
	le.PutUint32(b[32:], t.bits())
	copy(c.out(c.args[1], size), b)
	return Success
}

func (f *Firmware) tcgGetLog(c *call) Status {
	t := f.tcg2
	if t == nil || c.args[0] == 0 {
		return InvalidParameter
	}
	area := &t.log
	switch {
	case c.args[1]&0xffffffff == logTCG2:
	case c.args[1]&0xffffffff == logTCG12 && t.old != nil:
		area = t.old
	default:
		return InvalidParameter
	}
	area.answer(c)
	if c.bad == nil {
		t.final.started = true
	}
	return Success
}

func (f *Firmware) tcgExtend(c *call) Status {
	t := f.tcg2
	if t == nil {
		return InvalidParameter
	}
	e, s := f.readEvent(c, t.banks, t.hashed)
	if s != Success {
		return s
	}
	c.notef("PCR %d %v %q", e.PCR, e.Type, e.Describe())
	return f.measure(e, c.args[1]&extendOnly == 0)
}

// tpmNoCommand is the response of a TPM to a command that it does not have:
// TPM_ST_NO_SESSIONS, ten bytes, TPM_RC_COMMAND_CODE (TPM 2.0 Library, part 2,
// section 6.6), big endian.
func tpmNoCommand() []byte { return []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x43} }

// tcgCommand passes no command on: what a guest may do to a TPM is to extend
// it.
func (f *Firmware) tcgCommand(c *call) Status {
	size, at, room, out := c.args[1]&0xffffffff, c.args[2], c.args[3]&0xffffffff, c.args[4]
	if f.tcg2 == nil || c.args[0] == 0 || size < 10 || room == 0 || c.in(at, size) == nil || c.out(out, room) == nil {
		return InvalidParameter
	}
	answer := tpmNoCommand()
	if room < uint64(len(answer)) {
		return BufferTooSmall
	}
	copy(c.out(out, uint64(len(answer))), answer)
	return Success
}

func (f *Firmware) tcgBanks(c *call) Status {
	if f.tcg2 == nil || c.args[0] == 0 {
		return InvalidParameter
	}
	c.put32(c.args[1], f.tcg2.bits())
	return Success
}

// tcgSetBanks changes nothing: that would take a reset of the machine.
func (f *Firmware) tcgSetBanks(c *call) Status {
	if f.tcg2 == nil || c.args[0] == 0 {
		return InvalidParameter
	}
	want, have := uint32(c.args[1]), f.tcg2.bits()
	switch {
	case want == 0 || want&^have != 0:
		return InvalidParameter
	case want != have:
		return Unsupported
	}
	return Success
}

func (f *Firmware) tcgSetResult(c *call) Status {
	if f.tcg2 == nil || c.args[0] == 0 {
		return InvalidParameter
	}
	c.put32(c.args[1], 0)
	c.put32(c.args[2], 0)
	return Success
}
