// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"errors"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/measure/eventlog"
)

// measuringRig is a guest with both protocols; this is the address of theirs.
func measuringRig(t testing.TB, m *Measuring) (r *rig, this uint64) {
	t.Helper()
	return newRig(t, func(c *Config) { c.Measure = m }), scratch + 0x70000
}

// putEvent writes an EFI_TCG2_EVENT, or an EFI_CC_EVENT.
func (r *rig) putEvent(at uint64, pcr uint32, kind eventlog.Type, data string) uint64 {
	b := le.AppendUint32(nil, uint32(sizeofEvent+len(data)))
	b = le.AppendUint32(b, eventHeader)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint32(b, pcr)
	b = le.AppendUint32(b, uint32(kind))
	return r.put(at, append(b, data...))
}

const (
	eventAt = scratch + 0x1000
	dataAt  = scratch + 0x2000
	outAt   = scratch + 0x3000
)

func TestTCG2Capability(t *testing.T) {
	r, this := measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA1, eventlog.SHA256}})
	r.put(outAt, []byte{capability11})
	r.want(Success, "TCG2.GetCapability", this, outAt)
	b := r.mem[outAt : outAt+capability11]
	if b[0] != capability11 || b[1] != 1 || b[2] != 1 || le.Uint32(b[8:]) != 3 || le.Uint32(b[12:]) != 3 || b[16] != 1 || le.Uint32(b[28:]) != 2 || le.Uint32(b[32:]) != 3 {
		t.Errorf("capability = %x", b)
	}
	// A caller of version 1.0 has no room for the number of banks.
	r.put(outAt, append([]byte{capability10}, bytes.Repeat([]byte{0xee}, 63)...))
	r.want(Success, "TCG2.GetCapability", this, outAt)
	if b := r.mem[outAt : outAt+64]; b[0] != capability10 || b[2] != 0 || b[16] != 1 || b[capability10] != 0xee {
		t.Errorf("capability of version 1.0 = %x", b)
	}
	r.put(outAt, []byte{4})
	r.want(BufferTooSmall, "TCG2.GetCapability", this, outAt)
	if r.mem[outAt] != capability11 {
		t.Errorf("size that is needed = %d, want %d", r.mem[outAt], capability11)
	}
	r.want(Success, "TCG2.GetActivePcrBanks", this, outAt)
	if got := le.Uint32(r.mem[outAt:]); got != 3 {
		t.Errorf("active banks = %#x, want 3", got)
	}
	for banks, want := range map[uint64]Status{0: InvalidParameter, 3: Success, 2: Unsupported, 4: InvalidParameter, 7: InvalidParameter} {
		r.want(want, "TCG2.SetActivePcrBanks", this, banks)
	}
	r.put64(outAt, ^uint64(0))
	r.want(Success, "TCG2.GetResultOfSetActivePcrBanks", this, outAt, outAt+4)
	if got := r.get64(outAt); got != 0 {
		t.Errorf("result of SetActivePcrBanks = %#x, want 0", got)
	}
	// Without the SHA-1 bank there is no log of SHA-1.
	r, this = measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA384}})
	r.put(outAt, []byte{64})
	r.want(Success, "TCG2.GetCapability", this, outAt)
	if b := r.mem[outAt:]; le.Uint32(b[8:]) != 4 || le.Uint32(b[12:]) != logTCG2 {
		t.Errorf("capability = %x", b[:36])
	}
	r.want(InvalidParameter, "TCG2.GetEventLog", this, logTCG12, outAt, outAt+8, outAt+16)
}

// log reads what GetEventLog shows.
func (r *rig) log(this, format uint64) (*eventlog.Log, uint64, bool) {
	r.t.Helper()
	r.want(Success, "TCG2.GetEventLog", this, format, outAt, outAt+8, outAt+16)
	at, last := r.get64(outAt), r.get64(outAt+8)
	if at == 0 {
		return nil, 0, false
	}
	l, err := eventlog.ReadTCG(r.mem[at : at+logSize])
	if err != nil {
		r.t.Fatalf("log of format %d: %v", format, err)
	}
	return l, last - at, r.mem[outAt+16] != 0
}

func TestTCG2Log(t *testing.T) {
	banks := eventlog.Banks()
	r, this := measuringRig(t, &Measuring{Banks: banks})
	if l, last, full := r.log(this, logTCG2); len(l.Events) != 0 || last != 0 || full {
		t.Errorf("empty log has %d events, last %#x, truncated %v", len(l.Events), last, full)
	}
	if at := r.Tables()[guidFinalEvents()]; r.get64(at) != 1 || r.get64(at+8) != 0 {
		t.Errorf("final events = version %d, %d events", r.get64(at), r.get64(at+8))
	}
	r.put(dataAt, []byte("measured"))
	want := []eventlog.Event{
		eventlog.NewEvent(11, eventlog.IPL, banks, []byte("one"), []byte("measured")),
		eventlog.NewEvent(12, eventlog.EventTag, banks, []byte("two"), []byte("mea")),
		eventlog.NewEvent(11, eventlog.NoAction, banks, []byte("three")),
	}
	r.want(Success, "TCG2.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 11, eventlog.IPL, "one"))
	r.want(Success, "TCG2.HashLogExtendEvent", this, 0, dataAt, 3, r.putEvent(eventAt, 12, eventlog.EventTag, "two"))
	r.want(Success, "TCG2.HashLogExtendEvent", this, 0, 0, 0, r.putEvent(eventAt, 11, eventlog.NoAction, "three"))
	l, last, full := r.log(this, logTCG2)
	old, _, _ := r.log(this, logTCG12)
	if len(l.Events) != 3 || len(old.Events) != 3 || full || last == 0 || last == r.get64(outAt) {
		t.Fatalf("%d and %d events, truncated %v, last %#x", len(l.Events), len(old.Events), full, last)
	}
	m := r.Measurements()
	for i, w := range want {
		for _, got := range []eventlog.Event{l.Events[i], m.Log.Events[i]} {
			if got.PCR != w.PCR || got.Type != w.Type || !bytes.Equal(got.Data, w.Data) || len(got.Digests) != 4 {
				t.Errorf("event %d = %+v, want %+v", i, got, w)
			}
			for j, d := range got.Digests {
				if !bytes.Equal(d.Value, w.Digests[j].Value) {
					t.Errorf("event %d: %s = %x, want %x", i, d.Hash, d.Value, w.Digests[j].Value)
				}
			}
		}
		if d, ok := old.Events[i].Digest(eventlog.SHA1); !ok || !bytes.Equal(d, w.Digests[0].Value) {
			t.Errorf("event %d of the old log has %x", i, d)
		}
	}
	regs, err := m.Log.ReplayAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range banks {
		for _, pcr := range []uint32{11, 12} {
			if !bytes.Equal(regs[h][pcr], m.Registers[h][pcr]) {
				t.Errorf("PCR %d of %s is %s, the log replays to %s", pcr, h, m.Registers[h][pcr], regs[h][pcr])
			}
		}
	}
	// The events after the first GetEventLog are in the table of final ones.
	at := r.Tables()[guidFinalEvents()]
	head, err := (&eventlog.Log{Banks: banks}).WriteTCG()
	if err != nil {
		t.Fatal(err)
	}
	final, err := eventlog.ReadTCG(append(head, r.mem[at+16:at+finalSize]...))
	if err != nil || len(final.Events) != 3 || r.get64(at+8) != 3 {
		t.Errorf("final events: %d of %d, %v", len(final.Events), r.get64(at+8), err)
	}
	// What is extended alone is in no log.
	r.want(Success, "TCG2.HashLogExtendEvent", this, extendOnly, dataAt, 8, r.putEvent(eventAt, 9, eventlog.IPL, "x"))
	if m := r.Measurements(); len(m.Log.Events) != 3 || m.Unlogged != 1 || m.Registers[eventlog.SHA256][9] == nil {
		t.Errorf("%d events, %d unlogged", len(m.Log.Events), m.Unlogged)
	}
}

// An image is measured by Authenticode: without its checksum.
func TestTCG2Image(t *testing.T) {
	r, this := measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA256}})
	b := tiny(0x8664, 0x1000)
	r.put(dataAt, b)
	r.want(Success, "TCG2.HashLogExtendEvent", this, peImage, dataAt, uint64(len(b)), r.putEvent(eventAt, 4, eventlog.EFIBootServicesApp, "x"))
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := f.Digest(eventlog.SHA256.Crypto())
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Measurements().Log.Events[0].Digest(eventlog.SHA256); !bytes.Equal(got, want) {
		t.Errorf("digest = %x, want %x", got, want)
	}
	r.want(Unsupported, "TCG2.HashLogExtendEvent", this, peImage, dataAt, 16, r.putEvent(eventAt, 4, eventlog.EFIBootServicesApp, "x"))
	// An image that firmware loads is measured by firmware.
	if err := r.Start(b); err != nil {
		t.Fatal(err)
	}
	m := r.Measurements()
	if n := len(m.Log.Events); n != 2 || m.Log.Events[1].PCR != pcrBootLoader || len(m.Images) != 1 || !bytes.Equal(m.Images[0], b) {
		t.Errorf("%d events, %d images", n, len(m.Images))
	}
}

func TestTCG2Hostile(t *testing.T) {
	r, this := measuringRig(t, &Measuring{Banks: eventlog.Banks(), CC: CCTDX})
	const end = rigStart + rigSize
	good := func() uint64 { return r.putEvent(eventAt, 1, eventlog.IPL, "x") }
	change := func(f func(b []byte)) uint64 { at := good(); f(r.mem[at:]); return at }
	for _, p := range []string{"TCG2.", "CC."} {
		for name, a := range map[string][]uint64{
			"no this":                 {0, 0, dataAt, 8, good()},
			"no event":                {this, 0, dataAt, 8, 0},
			"event at the end of RAM": {this, 0, dataAt, 8, end - 8},
			"event beyond RAM":        {this, 0, dataAt, 8, ^uint64(0) - 3},
			"data beyond RAM":         {this, 0, end - 4, 8, good()},
			"data that wraps":         {this, 0, ^uint64(0) - 4, 8, good()},
			"no data":                 {this, 0, 0, 8, good()},
			"size that wraps":         {this, 0, dataAt, ^uint64(0), good()},
		} {
			if got := r.do(p+"HashLogExtendEvent", a...); got != InvalidParameter {
				t.Errorf("%sHashLogExtendEvent(%s) = %v, want %v", p, name, got, InvalidParameter)
			}
		}
		for name, tt := range map[string]struct {
			change func(b []byte)
			want   Status
		}{
			"size 0":                {func(b []byte) { le.PutUint32(b, 0) }, InvalidParameter},
			"size of the header":    {func(b []byte) { le.PutUint32(b, eventHeader) }, InvalidParameter},
			"header of 13 bytes":    {func(b []byte) { le.PutUint32(b[4:], 13) }, InvalidParameter},
			"header that is larger": {func(b []byte) { le.PutUint32(b[4:], ^uint32(0)) }, InvalidParameter},
			"data of 4 GiB":         {func(b []byte) { le.PutUint32(b, ^uint32(0)) }, OutOfResources},
			"register 24":           {func(b []byte) { le.PutUint32(b[10:], 24) }, InvalidParameter},
			"register 2^32-1":       {func(b []byte) { le.PutUint32(b[10:], ^uint32(0)) }, InvalidParameter},
		} {
			if got := r.do(p+"HashLogExtendEvent", this, 0, dataAt, 8, change(tt.change)); got != tt.want {
				t.Errorf("%sHashLogExtendEvent(%s) = %v, want %v", p, name, got, tt.want)
			}
		}
		for _, at := range []uint64{0, end - 1, end, ^uint64(0), r.slots} {
			if got := r.do(p+"GetCapability", this, at); got != InvalidParameter && (at != end-1 || got != BufferTooSmall) {
				t.Errorf("%sGetCapability(%#x) = %v, want %v", p, at, got, InvalidParameter)
			}
			if at == 0 {
				continue // GetEventLog may be asked for less
			}
			for i := range 3 {
				a := []uint64{this, logTCG2, outAt, outAt + 8, outAt + 16}
				if a[2+i] = at; at == end-1 && i == 2 {
					continue
				}
				if got := r.do(p+"GetEventLog", a...); got != InvalidParameter {
					t.Errorf("%sGetEventLog(%#x) = %v, want %v", p, a, got, InvalidParameter)
				}
			}
		}
		r.want(InvalidParameter, p+"GetEventLog", this, 4, outAt, outAt+8, outAt+16)
		r.want(Success, p+"GetEventLog", this, logTCG2, 0, 0, 0)
	}
	// Registers of a dynamic launch are not for firmware.
	r.want(DeviceError, "TCG2.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 17, eventlog.IPL, "x"))
	r.want(InvalidParameter, "TCG2.GetActivePcrBanks", this, end-2)
	r.want(InvalidParameter, "TCG2.GetResultOfSetActivePcrBanks", this, outAt, r.slots+4)
	r.want(InvalidParameter, "TCG2.SubmitCommand", this, 10, end-4, 10, outAt)
	r.want(InvalidParameter, "TCG2.SubmitCommand", this, 10, dataAt, 10, r.slots)
	r.want(BufferTooSmall, "TCG2.SubmitCommand", this, 10, dataAt, 9, outAt)
	r.want(Success, "TCG2.SubmitCommand", this, 10, dataAt, 16, outAt)
	if got := r.mem[outAt : outAt+10]; !bytes.Equal(got, tpmNoCommand()) {
		t.Errorf("response = %x", got)
	}
	if m := r.Measurements(); len(m.Log.Events) != 0 || len(m.CC.Events) != 0 || len(m.Measured) != 0 || len(m.Registers[eventlog.SHA1]) != 0 {
		t.Errorf("refused measurements are in registers or logs: %+v", m)
	}
	r.sane()
}

// A log that is full says so, has no gaps, and the registers go on.
func TestTCG2Full(t *testing.T) {
	r, this := measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA256}})
	r.put64(outAt, 0)
	at := r.putEvent(eventAt, 11, eventlog.IPL, "")
	le.PutUint32(r.mem[at:], sizeofEvent+60<<10)
	n := 0
	for r.do("TCG2.HashLogExtendEvent", this, 0, dataAt, 8, at) == Success {
		if n++; n > 100 {
			t.Fatal("the log is never full")
		}
	}
	r.want(VolumeFull, "TCG2.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 11, eventlog.IPL, "small"))
	l, _, full := r.log(this, logTCG2)
	if !full || len(l.Events) != n {
		t.Errorf("log of %d events, truncated %v; want %d", len(l.Events), full, n)
	}
	m := r.Measurements()
	want := eventlog.Initial(eventlog.SHA256, 11)
	for range n + 2 {
		want = eventlog.SHA256.Extend(want, eventlog.SHA256.Sum(r.mem[dataAt:dataAt+8]))
	}
	if !bytes.Equal(m.Registers[eventlog.SHA256][11], want) || m.Unlogged != 2 {
		t.Errorf("register = %s, want %x; %d unlogged", m.Registers[eventlog.SHA256][11], want, m.Unlogged)
	}
	// The table of final events is full much earlier.
	r, this = measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA256}})
	r.log(this, logTCG2)
	at = r.putEvent(eventAt, 11, eventlog.IPL, "")
	le.PutUint32(r.mem[at:], sizeofEvent+60<<10)
	r.want(Success, "TCG2.HashLogExtendEvent", this, 0, dataAt, 8, at)
	r.want(VolumeFull, "TCG2.HashLogExtendEvent", this, 0, dataAt, 8, at)
	r.sane()
}

// What is hashed in all is bounded.
func TestTCG2Hashed(t *testing.T) {
	r, this := measuringRig(t, &Measuring{Banks: []eventlog.Hash{eventlog.SHA1}})
	*r.tcg2.hashed = maxHashed - 4
	r.want(OutOfResources, "TCG2.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 11, eventlog.IPL, "x"))
	r.want(Success, "TCG2.HashLogExtendEvent", this, 0, dataAt, 4, r.putEvent(eventAt, 11, eventlog.IPL, "x"))
}

func TestCC(t *testing.T) {
	r, this := measuringRig(t, &Measuring{CC: CCTDX})
	if got := r.do("LocateProtocol", r.putGUID(outAt, guidTCG2()), 0, outAt+16); got != NotFound {
		t.Errorf("LocateProtocol(TCG2) = %v, want %v", got, NotFound)
	}
	r.want(Success, "LocateProtocol", r.putGUID(outAt, guidCC()), 0, outAt+16)
	r.put(outAt, []byte{19})
	r.want(BufferTooSmall, "CC.GetCapability", this, outAt)
	r.want(Success, "CC.GetCapability", this, outAt)
	if b := r.mem[outAt : outAt+sizeofCC]; b[0] != sizeofCC || le.Uint32(b[8:]) != 4 || le.Uint32(b[12:]) != 2 || b[16] != 2 {
		t.Errorf("capability = %x", b)
	}
	for pcr, want := range []uint32{0, 1, 2, 2, 2, 2, 2, 1, 3, 3, 3, 3, 3, 3, 3, 3} {
		r.want(Success, "CC.MapPcrToMrIndex", this, uint64(pcr), outAt)
		if got := le.Uint32(r.mem[outAt:]); got != want {
			t.Errorf("MapPcrToMrIndex(%d) = %d, want %d", pcr, got, want)
		}
	}
	r.want(InvalidParameter, "CC.MapPcrToMrIndex", this, 16, outAt)
	r.put(dataAt, []byte("measured"))
	r.want(Success, "CC.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 3, eventlog.IPL, "x"))
	r.want(InvalidParameter, "CC.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 0, eventlog.IPL, "x"))
	r.want(InvalidParameter, "CC.HashLogExtendEvent", this, 0, dataAt, 8, r.putEvent(eventAt, 5, eventlog.IPL, "x"))
	m := r.Measurements()
	want := eventlog.SHA384.Extend(make([]byte, 48), eventlog.SHA384.Sum([]byte("measured")))
	if m.Log != nil || len(m.CC.Events) != 1 || !bytes.Equal(m.Measured[3], want) {
		t.Errorf("log %v, %d events, register 3 = %s, want %x", m.Log, len(m.CC.Events), m.Measured[3], want)
	}
	r.want(InvalidParameter, "CC.GetEventLog", this, logTCG12, outAt, outAt+8, outAt+16)
	r.want(Success, "CC.GetEventLog", this, logTCG2, outAt, outAt+8, outAt+16)
	if l, err := eventlog.ReadTCG(r.mem[r.get64(outAt):][:logSize]); err != nil || len(l.Events) != 1 || l.Events[0].PCR != 3 {
		t.Errorf("log = %+v, %v", l, err)
	}
	if _, ok := r.Tables()[guidCCFinalEvents()]; !ok {
		t.Error("no table of final events")
	}
}

// A service of a protocol that is not offered can be called only by a guest
// that guesses where it is.
func TestMeasuringAbsent(t *testing.T) {
	r := newRig(t, nil)
	for _, s := range measuringServices() {
		r.want(InvalidParameter, s.name, scratch, scratch, scratch, scratch, scratch)
	}
	if r.Measurements() != nil {
		t.Error("measurements without being asked for")
	}
	p := r.plat
	for _, banks := range [][]eventlog.Hash{{eventlog.SM3}, {eventlog.SHA256, eventlog.SHA256}, {0}} {
		if _, err := New(p, Config{Arch: r.cfg.Arch, Regions: []Region{{rigStart, rigSize, Conventional, 0}}, Measure: &Measuring{Banks: banks}}); !errors.Is(err, eventlog.ErrHash) {
			t.Errorf("New(banks %v) = %v, want %v", banks, err, eventlog.ErrHash)
		}
	}
	if _, err := New(p, Config{Arch: r.cfg.Arch, Regions: []Region{{rigStart, 256 << 10, Conventional, 0}}, Measure: &Measuring{Banks: eventlog.Banks()}}); !errors.Is(err, ErrMemory) {
		t.Errorf("New(256 KiB) = %v, want %v", err, ErrMemory)
	}
}
