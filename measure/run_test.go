// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"errors"
	"testing"

	"github.com/peelboot/peel/measure/eventlog"
)

// ranUKI is what a stub that does as Predict says has measured of an image.
func ranUKI(t *testing.T, img []byte, banks []eventlog.Hash) *Run {
	t.Helper()
	p, err := Predict("x.efi", img, Options{Banks: banks})
	if err != nil {
		t.Fatal(err)
	}
	r := &Run{Log: &eventlog.Log{Banks: banks}, Registers: eventlog.Values{}, Cmdline: p.Cases[0].Cmdline}
	for _, e := range p.Cases[0].Events {
		if e.PCR == PCRBootLoader && e.Type != eventlog.EFIBootServicesApp {
			continue
		}
		if e.PCR == PCRBootLoader {
			r.Images = append(r.Images, img)
		}
		r.Log.Events = append(r.Log.Events, e)
	}
	if r.Registers, err = r.Log.ReplayAll(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFromRun(t *testing.T) {
	img := sections(t, "257", parts()...)
	banks := eventlog.Banks()
	want, err := Predict("x.efi", img, Options{Banks: banks})
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromRun("x.efi", img, ranUKI(t, img, banks), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for h, regs := range want.Cases[0].Values {
		for pcr, v := range regs {
			if g := got.Cases[0].Values[h][pcr]; !bytes.Equal(g, v) {
				t.Errorf("PCR %d of %s is %s, want %s", pcr, h, g, v)
			}
		}
	}
	if d, err := Compare(&want.Cases[0], got.Cases[0].Log(banks), nil); err != nil || len(d) != 0 {
		t.Errorf("Compare(Predict, FromRun) = %v, %v", d, err)
	}
	// Registers are told as they were, also where the log has gaps.
	r := ranUKI(t, img, banks)
	r.Registers[eventlog.SHA1][PCRKernelBoot] = bytes.Repeat([]byte{7}, 20)
	r.Unlogged = 1
	if got, err = FromRun("x.efi", img, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if v := got.Cases[0].Values[eventlog.SHA1][PCRKernelBoot]; v[0] != 7 || len(got.Notes) < 2 {
		t.Errorf("PCR 11 of sha1 is %s, notes %q", v, got.Notes)
	}
	if _, err := FromRun("x.efi", []byte("MZ"), r, Options{}); !errors.Is(err, ErrImage) {
		t.Errorf("FromRun(no image) = %v, want %v", err, ErrImage)
	}
}

// The log tells which device tree the stub took.
func TestFromRunDeviceTree(t *testing.T) {
	img := sections(t, "257", ".linux", "k", ".dtbauto", "one", ".dtbauto", "two")
	banks := []eventlog.Hash{eventlog.SHA256}
	p, err := Predict("x.efi", img, Options{Banks: banks})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range p.Cases {
		got, err := FromRun("x.efi", img, &Run{Log: want.Log(banks)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c := got.Cases[0]; c.DeviceTree != want.DeviceTree || c.Name != want.Name {
			t.Errorf("FromRun() = case %q, tree %d, want %q, %d", c.Name, c.DeviceTree, want.Name, want.DeviceTree)
		}
	}
	for _, r := range []*Run{nil, {}, {Log: &eventlog.Log{}}} {
		if _, err := FromRun("x.efi", img, r, Options{}); !errors.Is(err, eventlog.ErrHash) {
			t.Errorf("FromRun(%+v) = %v, want %v", r, err, eventlog.ErrHash)
		}
	}
}

// What a run extends is what the parse route extends for the same image.
func TestPlanKexecRun(t *testing.T) {
	img := sections(t, "257", parts()...)
	banks := []eventlog.Hash{eventlog.SHA1, eventlog.SHA256}
	before := eventlog.Values{}
	for _, h := range banks {
		before[h] = eventlog.Registers{}
		for _, pcr := range KexecPCRs() {
			before[h][pcr] = bytes.Repeat([]byte{byte(pcr)}, h.Size())
		}
	}
	for _, mode := range []Mode{ModeExtend, ModeLog} {
		o := KexecOptions{Mode: mode, Banks: banks, Before: before}
		k, err := PlanKexecRun(ranUKI(t, img, eventlog.Banks()), o)
		if err != nil {
			t.Fatal(err)
		}
		extends := 0
		for i := range k.Extends {
			if k.Extends[i].Extends() {
				extends++
			}
		}
		if want := len(k.Extends); mode == ModeExtend && extends != want || mode == ModeLog && extends != 0 || want <= len(KexecPCRs()) {
			t.Errorf("mode %s: %d of %d events extend", mode, extends, want)
		}
		if mode == ModeLog {
			continue
		}
		for i, pcr := range KexecPCRs() {
			if e := k.Extends[i]; !IsSeparator(&e) || e.PCR != pcr {
				t.Errorf("event %d is %v of PCR %d, want a separator of %d", i, e.Type, e.PCR, pcr)
			}
		}
		v, err := Verify(k.Log, k.After)
		if err != nil || !v.OK() || v.Kexecs != 1 {
			t.Errorf("Verify(log, values after) = %+v, %v", v, err)
		}
		again, err := k.Log.WriteTCG()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := eventlog.ReadTCG(again); err != nil {
			t.Errorf("log cannot be read again: %v", err)
		}
	}
	for name, tt := range map[string]struct {
		change func(*Run, *KexecOptions)
		want   error
	}{
		"a gap in the log": {func(r *Run, _ *KexecOptions) { r.Unlogged = 1 }, ErrMismatch},
		"another bank":     {func(r *Run, o *KexecOptions) { r.Log.Banks = banks; o.Banks = eventlog.Banks() }, ErrMismatch},
		"a forged snapshot": {func(r *Run, _ *KexecOptions) {
			text := []byte(snapshotText + "\x00{}")
			r.Log.Events = append(r.Log.Events, eventlog.NewEvent(PCRKernelBoot, eventlog.NoAction, r.Log.Banks, eventlog.AppendTagged(nil, TagKexec, text)))
		}, ErrMismatch},
		"a forged separator": {func(r *Run, _ *KexecOptions) {
			r.Log.Events = append(r.Log.Events, Separator(r.Log.Banks, PCRKernelBoot))
		}, ErrMismatch},
		"no bank":    {func(_ *Run, o *KexecOptions) { o.Banks = nil }, eventlog.ErrHash},
		"register 0": {func(_ *Run, o *KexecOptions) { o.PCRs = []uint32{0} }, ErrCase},
	} {
		r, o := ranUKI(t, img, eventlog.Banks()), KexecOptions{Mode: ModeExtend, Banks: banks}
		tt.change(r, &o)
		if _, err := PlanKexecRun(r, o); !errors.Is(err, tt.want) {
			t.Errorf("PlanKexecRun(%s) = %v, want %v", name, err, tt.want)
		}
	}
}

// Registers of a bank that the log does not have have nowhere to go; FromRun
// crashed.
func TestFromRunBankWithoutLog(t *testing.T) {
	img := sections(t, "257", parts()...)
	r := ranUKI(t, img, []eventlog.Hash{eventlog.SHA256})
	r.Registers[eventlog.SHA1] = eventlog.Registers{PCRKernelBoot: make([]byte, 20)}
	p, err := FromRun("x.efi", img, r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := p.Cases[0].Values[eventlog.SHA1]; ok {
		t.Errorf("values of sha1: %v, want none", v)
	}
}
