// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"slices"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/measure/eventlog"
)

// bootChain collects what firmware measures.
type bootChain struct {
	banks  []eventlog.Hash
	o      *Options
	p      *Prediction
	events []eventlog.Event
	seen   []string // authorities that were measured
	shim   *shim    // that is in charge, or nil
}

// start adds what comes before the first image: the variables of PCR 7, the
// separators, the action of PCR 4; and the images before this one.
func (c *bootChain) start() error {
	sep := []byte{0, 0, 0, 0}
	if c.o.Firmware != nil {
		c.events = append(c.events, c.o.Firmware.events(c.banks)...)
		c.events = append(c.events, eventlog.NewEvent(PCRSecureBoot, eventlog.Separator, c.banks, sep, sep))
	}
	call := []byte("Calling EFI Application from Boot Option")
	c.events = append(c.events,
		eventlog.NewEvent(PCRBootLoader, eventlog.EFIAction, c.banks, call, call),
		eventlog.NewEvent(PCRBootLoader, eventlog.Separator, c.banks, sep, sep))
	for _, b := range c.o.Before {
		f, err := pe.Parse(b.Data)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", b.Name, ErrImage, err)
		}
		if err := c.load(b.Name, f); err != nil {
			return err
		}
		if c.o.Firmware != nil && isShim(f) {
			c.shimEvents(f)
			// shim judges what comes behind it, and keeps a list of its own
			// of what it has measured.
			c.shim = newShim(c.o.Firmware, f)
			c.seen = nil
		}
	}
	return nil
}

// load adds the events of an image that firmware loads: the authority that
// lets it, once each, and its digest.
func (c *bootChain) load(name string, f *pe.File) error {
	c.allow(name, f)
	return c.loadInner(name, f)
}

// allow adds the authorities that let an image in: firmware names one, shim may
// name several.
func (c *bootChain) allow(name string, f *pe.File) {
	if c.o.Firmware == nil || !c.p.SecureBoot {
		return
	}
	var found [][]byte
	var err error
	if c.shim != nil {
		found, err = c.shim.authorities(c.o.Firmware, f)
	} else {
		var a []byte
		a, err = c.o.Firmware.authority(f)
		found = append(found, a)
	}
	if err != nil {
		c.p.note("%s: %v", name, err)
		return
	}
	for _, a := range found {
		if !slices.Contains(c.seen, string(a)) {
			c.seen = append(c.seen, string(a))
			c.events = append(c.events, eventlog.NewEvent(PCRSecureBoot, eventlog.EFIVariableAuthority, c.banks, a, a))
		}
	}
}

// loadInner adds the digest of an image. The data of the real event holds
// addresses and a device path; here it names the image.
func (c *bootChain) loadInner(name string, f *pe.File) error {
	e := eventlog.Event{PCR: PCRBootLoader, Type: eventlog.EFIBootServicesApp, Content: eventlog.PCClient, Data: loadEvent(name)}
	for _, h := range c.banks {
		d, err := f.Digest(h.Crypto())
		if err != nil {
			return fmt.Errorf("%s: %w: %w", name, ErrImage, err)
		}
		e.Digests = append(e.Digests, eventlog.Digest{Hash: h, Value: d})
	}
	c.events = append(c.events, e)
	return nil
}

// loadEvent is a UEFI_IMAGE_LOAD_EVENT with nothing but a file path.
func loadEvent(name string) []byte {
	path := eventlog.UTF16(name)
	n := len(path) + 4
	out := make([]byte, 32, 32+n+4)
	out[24], out[25] = byte(n+4), byte((n+4)>>8)
	out = append(out, 4, 4, byte(n), byte(n>>8))
	out = append(out, path...)
	return append(out, 0x7f, 0xff, 4, 0)
}
