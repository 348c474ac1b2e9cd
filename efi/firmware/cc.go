// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"fmt"

	"github.com/peelboot/peel/measure/eventlog"
)

// EFI_CC_MEASUREMENT_PROTOCOL (UEFI, section 38.2), for confidential guests,
// whose processor has measurement registers in place of a TPM's.

// CCType is a kind of confidential guest (UEFI, section 38.2.1, EFI_CC_TYPE).
type CCType uint8

// Kinds of confidential guest.
const (
	CCNone CCType = iota
	CCSEV
	CCTDX
)

// String returns "none", "sev" or "tdx".
func (t CCType) String() string {
	switch t {
	case CCNone:
		return "none"
	case CCSEV:
		return "sev"
	case CCTDX:
		return "tdx"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// maxMR is the highest index of a measurement register: that of the launch,
// which nothing extends, and four that run time has.
const maxMR = 4

// cc is the state behind the protocol.
type cc struct {
	kind      CCType
	registers eventlog.Registers
	events    []eventlog.Event
	unlogged  int
	log       logArea
	final     finalTable
	hashed    *uint64
}

func ccFunctions() []string {
	return []string{"CC.GetCapability", "CC.GetEventLog", "CC.HashLogExtendEvent", "CC.MapPcrToMrIndex"}
}

func guidCC() GUID {
	return guid(0x96751a3d, 0x72f4, 0x41a6, 0xa7, 0x94, 0xed, 0x5d, 0x0e, 0x67, 0xae, 0x6b)
}

// guidCCFinalEvents is EFI_CC_FINAL_EVENTS_TABLE_GUID (UEFI, section 38.3).
func guidCCFinalEvents() GUID {
	return guid(0xdd4a4648, 0x2de7, 0x4665, 0x96, 0x4d, 0x21, 0xd9, 0xef, 0x5f, 0xb4, 0x46)
}

// ccBanks are the algorithms: there is but one.
func ccBanks() []eventlog.Hash { return []eventlog.Hash{eventlog.SHA384} }

func (f *Firmware) offerCC(kind CCType, hashed *uint64, functions func([]byte, ...string) []byte) error {
	if kind == CCNone {
		return nil
	}
	m := &cc{kind: kind, registers: eventlog.Registers{}, hashed: hashed}
	head, err := (&eventlog.Log{Banks: ccBanks()}).WriteTCG()
	if err != nil {
		return err
	}
	if err := f.newLogArea(&m.log, head); err != nil {
		return err
	}
	if err := f.newFinalTable(&m.final, guidCCFinalEvents()); err != nil {
		return err
	}
	at, err := f.newObject(BootServicesData, functions(nil, ccFunctions()...))
	if err != nil {
		return err
	}
	f.newHandle(proto{guidCC(), at})
	f.cc = m
	return nil
}

// sizeofCC is that of EFI_CC_BOOT_SERVICE_CAPABILITY.
const sizeofCC = 20

func (f *Firmware) ccCapability(c *call) Status {
	if f.cc == nil || c.args[0] == 0 {
		return InvalidParameter
	}
	have := c.out(c.args[1], 1)
	if have == nil {
		return InvalidParameter
	}
	if have[0] < sizeofCC {
		have[0] = sizeofCC
		return BufferTooSmall
	}
	b := make([]byte, sizeofCC)
	b[0], b[1], b[3] = sizeofCC, 1, 1 // versions 1.0
	le.PutUint32(b[8:], algorithmBit(eventlog.SHA384))
	le.PutUint32(b[12:], logTCG2)
	b[16] = byte(f.cc.kind)
	copy(c.out(c.args[1], sizeofCC), b)
	return Success
}

func (f *Firmware) ccGetLog(c *call) Status {
	if f.cc == nil || c.args[0] == 0 || c.args[1]&0xffffffff != logTCG2 {
		return InvalidParameter
	}
	f.cc.log.answer(c)
	if c.bad == nil {
		f.cc.final.started = true
	}
	return Success
}

func (f *Firmware) ccExtend(c *call) Status {
	if f.cc == nil {
		return InvalidParameter
	}
	e, s := f.readEvent(c, ccBanks(), f.cc.hashed)
	if s != Success {
		return s
	}
	c.notef("register %d %v %q", e.PCR, e.Type, e.Describe())
	return f.measureCC(e, c.args[1]&extendOnly == 0)
}

// measureCC extends a register, of which the event has the index in place of a
// PCR, and logs.
func (f *Firmware) measureCC(e eventlog.Event, log bool) Status {
	m := f.cc
	if e.PCR > maxMR || e.PCR == 0 && e.Extends() {
		return InvalidParameter
	}
	if d, ok := e.Digest(eventlog.SHA384); ok && e.Extends() {
		old, ok := m.registers[e.PCR]
		if !ok {
			old = eventlog.Initial(eventlog.SHA384, e.PCR)
		}
		m.registers[e.PCR] = eventlog.SHA384.Extend(old, d)
	}
	if !log {
		if e.Extends() {
			m.unlogged++
		}
		return Success
	}
	b, err := encodeEvent(ccBanks(), &e)
	if err != nil || !m.log.add(f, b) {
		m.unlogged++
		return VolumeFull
	}
	m.events = append(m.events, e)
	if !m.final.add(f, b) {
		m.unlogged++
		return VolumeFull
	}
	return Success
}

// mrOf returns the index of the register that takes the place of a PCR (UEFI,
// section 38.4, table of the mapping for TDX).
func mrOf(pcr uint32) (index uint32, ok bool) {
	switch {
	case pcr == 0:
		return 0, true
	case pcr == 1 || pcr == 7:
		return 1, true
	case pcr <= 6:
		return 2, true
	case pcr <= 15:
		return 3, true
	}
	return 0, false
}

func (f *Firmware) ccMap(c *call) Status {
	index, ok := mrOf(uint32(c.args[1]))
	if f.cc == nil || c.args[0] == 0 || !ok {
		return InvalidParameter
	}
	c.put32(c.args[2], index)
	c.notef("%d", index)
	return Success
}
