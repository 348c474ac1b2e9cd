// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/measure/eventlog"
)

// Mode says what happens to a TPM when a kernel is started by kexec.
type Mode string

// Modes.
const (
	// ModeOff measures nothing.
	ModeOff Mode = "off"
	// ModeLog writes the log and hands it over, but extends nothing.
	ModeLog Mode = "log"
	// ModeExtend extends the registers as well.
	ModeExtend Mode = "extend"
)

// KexecPCRs are the registers that a measured kexec extends unless told
// otherwise: those of the kernel and what it gets. PCR 4 is firmware's; who
// wants the image in there says so.
func KexecPCRs() []uint32 {
	return []uint32{PCRKernelInitrd, PCRKernelBoot, PCRKernelConfig, PCRSysext}
}

// TagKexec is the tag of peel's own events: "peel" in ASCII, as the little
// endian number it is written as.
const TagKexec = 0x6c656570

// Texts of peel's own events. They are measured with a final zero.
const (
	separatorText = "kexec: what follows was measured by peel in the running kernel"
	snapshotText  = "kexec: registers before"
	omittedText   = "kexec: not extended"
)

// Separator is the event that opens what peel measures into a register before
// a kexec. No firmware and no stub makes it, so that no value that follows it is
// ever that of a fresh boot.
func Separator(banks []eventlog.Hash, pcr uint32) eventlog.Event {
	text := append([]byte(separatorText), 0)
	return eventlog.NewEvent(pcr, eventlog.EventTag, banks, eventlog.AppendTagged(nil, TagKexec, text), text)
}

// IsSeparator reports whether e is Separator's event.
func IsSeparator(e *eventlog.Event) bool {
	id, data, ok := eventlog.ParseTagged(e.Data)
	return ok && e.Content == eventlog.PCClient && e.Type == eventlog.EventTag && id == TagKexec &&
		string(data) == separatorText+"\x00"
}

// KexecOptions say what a kexec measures.
type KexecOptions struct {
	// Mode is ModeExtend, or ModeLog: then nothing is extended, and the log
	// says so.
	Mode Mode
	// Banks are those that the TPM has.
	Banks []eventlog.Hash
	// PCRs are the registers; KexecPCRs if nil.
	PCRs []uint32
	// Before are the registers before the first extend, as read from the
	// TPM; nil when there is none.
	Before eventlog.Values
	// History is the log of the running system, nil when it is not known.
	History *eventlog.Log
}

// Kexec is what a measured kexec does.
type Kexec struct {
	// Extends are the events to extend, in order.
	Extends []eventlog.Event
	// Log is what the next kernel gets: the history, the registers before,
	// and the extends.
	Log *eventlog.Log
	// After are the registers after the extends, when those before are
	// known.
	After eventlog.Values
}

// PlanKexec says what to extend and to log when the payload of an image is
// about to be started by kexec: per register a separator, then the events that
// firmware, stub and kernel would have made of the same image. PCR 9 holds the
// final command line and RAM disk, without the log that is handed over; a
// command line or RAM disk that does not come from the image is in PCR 12 or 13
// too, as the stub has it for what lies beside an image.
func PlanKexec(name string, b []byte, profile int, p *image.Payload, o KexecOptions) (*Kexec, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	events, err := payloadEvents(name, b, profile, p, o.Banks)
	if err != nil {
		return nil, err
	}
	return planKexec(events, o)
}

// check tells options of no use, and puts in what is not given.
func (o *KexecOptions) check() error {
	if len(o.Banks) == 0 {
		return fmt.Errorf("no bank: %w", eventlog.ErrHash)
	}
	if o.PCRs == nil {
		o.PCRs = KexecPCRs()
	}
	for _, pcr := range o.PCRs {
		if pcr > 23 || pcr < 4 || pcr == 5 || pcr == 6 || pcr == eventlog.PCRIMA || pcr >= 16 && pcr <= 22 {
			return fmt.Errorf("PCR %d is not one that a boot of a kernel extends: %w", pcr, ErrCase)
		}
	}
	return nil
}

// planKexec puts the separators before events and makes the log.
func planKexec(events []eventlog.Event, o KexecOptions) (*Kexec, error) {
	k := &Kexec{}
	for _, pcr := range o.PCRs {
		k.Extends = append(k.Extends, Separator(o.Banks, pcr))
	}
	for _, e := range events {
		if slices.Contains(o.PCRs, e.PCR) {
			k.Extends = append(k.Extends, e)
		}
	}
	if o.Mode == ModeLog {
		var err error
		if k.Extends, err = omitted(k.Extends, o.Banks); err != nil {
			return nil, err
		}
	}
	return k, k.finish(o)
}

// payloadEvents are the events of a payload that was taken out of an image.
func payloadEvents(name string, b []byte, profile int, p *image.Payload, banks []eventlog.Hash) ([]eventlog.Event, error) {
	var events []eventlog.Event
	pre, err := Predict(name, b, Options{Banks: banks, Profile: &profile})
	switch {
	case err == nil:
		c := pre.caseFor(p)
		for _, e := range c.Events {
			if e.PCR == PCRKernelInitrd || e.PCR == PCRBootLoader && e.Type != eventlog.EFIBootServicesApp {
				continue
			}
			events = append(events, e)
		}
	case image.Detect(b).Kind == image.KindUKI:
		return nil, err
	default:
		// No image of UEFI: the kernel itself is all there is.
		data := loadEvent(name)
		events = append(events, eventlog.NewEvent(PCRBootLoader, eventlog.IPL, banks, data, b))
	}
	events = append(events, outsideEvents(banks, p)...)
	return append(events, kernelRelease{}.events(banks, p.Cmdline, ramDisk(p))...), nil
}

// omitted turns events into EV_NO_ACTION events that tell them.
func omitted(list []eventlog.Event, banks []eventlog.Hash) ([]eventlog.Event, error) {
	var out []eventlog.Event
	for _, e := range list {
		data, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		text := append([]byte(omittedText+"\x00"), data...)
		out = append(out, eventlog.NewEvent(e.PCR, eventlog.NoAction, banks, eventlog.AppendTagged(nil, TagKexec, text)))
	}
	return out, nil
}

// caseFor picks the case whose device tree the payload uses.
func (p *Prediction) caseFor(pay *image.Payload) *Case {
	if pay.DTB != nil {
		for i := range p.Cases {
			c := &p.Cases[i]
			for _, e := range c.Events {
				d, ok := e.Digest(eventlog.SHA256)
				if ok && c.DeviceTree >= 0 && e.PCR == PCRKernelBoot && bytes.Equal(d, eventlog.SHA256.Sum(pay.DTB.Data)) {
					return c
				}
			}
		}
	}
	return &p.Cases[0]
}

// outsideEvents are those of parts that do not come from the image.
func outsideEvents(banks []eventlog.Hash, p *image.Payload) []eventlog.Event {
	var out []eventlog.Event
	for _, part := range p.CmdlineParts {
		if part.Outside {
			out = append(out, loadOptionsEvent(banks, p.Cmdline))
			break
		}
	}
	for _, part := range p.RAMDisk() {
		if !part.Outside {
			continue
		}
		if rule, ok := ruleOf(part.Name); ok {
			out = append(out, rule.event(banks, part.Data))
		} else {
			out = append(out, taggedEvent(banks, PCRKernelConfig, TagInitrdAddon, part.Name, part.Data))
		}
	}
	if p.DTB != nil && p.DTB.Outside {
		out = append(out, taggedEvent(banks, PCRKernelConfig, TagDeviceTreeAddon, p.DTB.Name, p.DTB.Data))
	}
	return out
}

// ramDisk lists the runs of bytes of the RAM disk as peel hands it over: zeros
// up to a multiple of four between parts, none behind the last.
func ramDisk(p *image.Payload) [][]byte {
	var out [][]byte
	at := 0
	for _, part := range p.RAMDisk() {
		if pad := -at & 3; pad != 0 {
			out = append(out, make([]byte, pad))
			at += pad
		}
		out = append(out, part.Data)
		at += len(part.Data)
	}
	return out
}

// finish makes the log and the values.
func (k *Kexec) finish(o KexecOptions) error {
	k.Log = &eventlog.Log{Format: eventlog.TCG2, Banks: o.Banks}
	if o.History != nil {
		k.Log.Class = o.History.Class
		if err := k.Log.Append(withBanks(o.History.Events, o.Banks)...); err != nil {
			return fmt.Errorf("log of the running system: %w", err)
		}
	}
	if o.Before != nil {
		snap := eventlog.Values{}
		for _, h := range o.Banks {
			snap[h] = eventlog.Registers{}
			for _, pcr := range o.PCRs {
				if v, ok := o.Before[h][pcr]; ok {
					snap[h][pcr] = v
				}
			}
		}
		data, err := json.Marshal(snap)
		if err != nil {
			return err
		}
		text := append([]byte(snapshotText+"\x00"), data...)
		k.Log.Events = append(k.Log.Events, eventlog.NewEvent(0, eventlog.NoAction, o.Banks, eventlog.AppendTagged(nil, TagKexec, text)))
	}
	k.Log.Events = append(k.Log.Events, k.Extends...)
	if o.Before == nil {
		return nil
	}
	k.After = eventlog.Values{}
	extends := eventlog.Log{Banks: o.Banks, Events: k.Extends}
	for _, h := range o.Banks {
		start := eventlog.Registers{}
		for _, pcr := range o.PCRs {
			if v, ok := o.Before[h][pcr]; ok {
				start[pcr] = v
			}
		}
		v, err := extends.ReplayFrom(h, start)
		if err != nil {
			return err
		}
		k.After[h] = v
	}
	return nil
}

// withBanks leaves out events that lack a digest of a bank, which logs of user
// space may, and events that are no PC client's.
func withBanks(list []eventlog.Event, banks []eventlog.Hash) []eventlog.Event {
	var out []eventlog.Event
	for _, e := range list {
		all := e.Content == eventlog.PCClient
		for _, h := range banks {
			_, ok := e.Digest(h)
			all = all && ok
		}
		if all {
			out = append(out, e)
		}
	}
	return out
}

// HandoverPath is where the next kernel finds the log in its initial RAM disk.
const HandoverPath = "/.extra/peel/tpm-event-log"

// Handover returns the archive that puts the log into the initial RAM disk of
// the next kernel, as HandoverPath. It is not measured: it holds the
// measurements.
func (k *Kexec) Handover() ([]byte, error) {
	b, err := k.Log.WriteTCG()
	if err != nil {
		return nil, err
	}
	return beside.Archive{Target: ".extra/peel", Dir: 0o555, File: 0o444}.Pack(beside.Member{Name: "tpm-event-log", Data: b})
}
