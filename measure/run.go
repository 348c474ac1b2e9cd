// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
)

// Run is what an image has measured itself when its own EFI stub ran in a
// process (package efi), with a TPM that is registers and a log.
type Run struct {
	// Log has the events: the stub's and the kernel's, and of firmware's those
	// of PCR 4 for images that it loaded, the image itself among them.
	Log *eventlog.Log
	// Registers are those that were extended.
	Registers eventlog.Values
	// Images are the files of the images that were loaded, in the order of
	// the events of PCR 4.
	Images [][]byte
	// Unlogged counts events that the log lacks.
	Unlogged int
	// Cmdline is what the kernel got.
	Cmdline string
}

func (r *Run) check() error {
	if r == nil || r.Log == nil || len(r.Log.Banks) == 0 {
		return fmt.Errorf("nothing was measured: no bank: %w", eventlog.ErrHash)
	}
	return nil
}

// FromRun makes a prediction of what an image measured itself: its events as
// they were, and around them what firmware measures before the image and of
// the authorities that let images in, as Predict has it. There is one case.
func FromRun(name string, b []byte, r *Run, o Options) (*Prediction, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	o.Banks = r.Log.Banks
	f, err := pe.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrImage, err)
	}
	p := &Prediction{Image: name, Kind: image.Detect(b).Kind, SecureBoot: o.secureBoot()}
	if o.Firmware == nil {
		p.note("Secure Boot variables are not known: PCR 7 is left out, and Secure Boot taken as %s", onOff(p.SecureBoot))
	}
	if r.Unlogged > 0 {
		p.note("%d measurements are in the registers and not in the log", r.Unlogged)
	}
	c := Case{DeviceTree: -1, EFIFirmware: -1, Cmdline: r.Cmdline}
	if uki.IsUKI(f) {
		stub := ReadStub(f)
		p.Stub = &stub
		if c.Profile, _, err = uki.Selector(o.LoadOptions); err != nil {
			c.Profile = 0 // the stub takes it as text
		}
		if err := c.choices(f, stub, r.Log); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	boot := bootChain{banks: o.Banks, o: &o, p: p}
	if err := boot.start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	loaded := r.loaded()
	for _, e := range r.Log.Events {
		if e.PCR == PCRBootLoader && len(loaded) > 0 && loaded[0].is(&e, o.Banks[0]) {
			boot.allow(name, loaded[0].file)
			loaded = loaded[1:]
		}
		boot.events = append(boot.events, e)
	}
	c.Events = boot.events
	if err := c.finish(o.Banks); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Registers that only the image extends are told as they were, whatever
	// the log has of them.
	for _, h := range o.Banks {
		for pcr, v := range r.Registers[h] {
			if pcr != PCRBootLoader && pcr != PCRSecureBoot && pcr != PCRShim {
				c.Values[h][pcr] = v
			}
		}
	}
	p.Cases = []Case{c}
	return p, nil
}

// loadedImage is an image that was measured into PCR 4, with its digest of the
// first bank.
type loadedImage struct {
	file   *pe.File
	digest []byte
}

// loaded are the images, in the order of their events.
func (r *Run) loaded() []loadedImage {
	var out []loadedImage
	for _, b := range r.Images {
		f, err := pe.Parse(b)
		if err != nil {
			continue
		}
		if d, err := f.Digest(r.Log.Banks[0].Crypto()); err == nil {
			out = append(out, loadedImage{f, d})
		}
	}
	return out
}

// is reports whether an event is that of the image: the stub may measure into
// PCR 4 itself, under any type.
func (l *loadedImage) is(e *eventlog.Event, h eventlog.Hash) bool {
	d, ok := e.Digest(h)
	return ok && bytes.Equal(d, l.digest)
}

// choices finds out of a log what the stub took where it has a choice.
func (c *Case) choices(f *pe.File, stub Stub, l *eventlog.Log) error {
	img, err := uki.Read(f)
	if err != nil {
		return err
	}
	if c.Profile < len(img.Profiles) {
		c.ProfileID = img.Profiles[c.Profile].ID
	}
	sel, err := img.Select(c.Profile)
	if err != nil {
		return err
	}
	took := func(list []uki.Section) int {
		for i, s := range list {
			e := stub.sectionEvents(l.Banks[:1], s)
			if len(e) == 2 && slices.ContainsFunc(l.Events, func(x eventlog.Event) bool {
				d, ok := x.Digest(l.Banks[0])
				return ok && x.PCR == PCRKernelBoot && bytes.Equal(d, e[1].Digests[0].Value)
			}) {
				return i
			}
		}
		return -1
	}
	trees := sel.All(uki.DTBAuto)
	c.DeviceTree, c.EFIFirmware = took(trees), took(sel.All(uki.EFIFW))
	c.Name = caseName(img, *c, trees)
	return nil
}

// PlanKexecRun is PlanKexec for an image whose own stub has prepared the
// kernel: per register a separator, then the events that the stub and the
// kernel made. It fails with ErrMismatch when the log does not have them all,
// and when it has events of the kind that peel makes: registers that Verify took
// out of those would be the image's word.
func PlanKexecRun(r *Run, o KexecOptions) (*Kexec, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Unlogged > 0 {
		return nil, fmt.Errorf("%d measurements of the image's stub are not in its log: %w", r.Unlogged, ErrMismatch)
	}
	for _, h := range o.Banks {
		if !slices.Contains(r.Log.Banks, h) {
			return nil, fmt.Errorf("the stub measured for banks %v, the TPM has %v: %w", r.Log.Banks, o.Banks, ErrMismatch)
		}
	}
	var events []eventlog.Event
	for i, e := range r.Log.Events {
		if id, _, ok := eventlog.ParseTagged(e.Data); ok && id == TagKexec && (e.Type == eventlog.NoAction || e.Type == eventlog.EventTag) {
			return nil, fmt.Errorf("event %d of the image's stub, for PCR %d, passes itself off as peel's own: %w", i, e.PCR, ErrMismatch)
		}
		var digests []eventlog.Digest
		for _, h := range o.Banks {
			if d, ok := e.Digest(h); ok {
				digests = append(digests, eventlog.Digest{Hash: h, Value: d})
			}
		}
		e.Digests = digests
		events = append(events, e)
	}
	return planKexec(events, o)
}
