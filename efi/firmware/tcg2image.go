// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"fmt"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/measure/eventlog"
)

// What firmware measures itself of images that it loads (TCG PC Client
// Platform Firmware Profile 1.06, section 3.3.4.5): the Authenticode digest
// into PCR 4. The authorities in PCR 7 are left out: which entry of db lets an
// image in is for the verifier to know, which here need not be db.

// pcrBootLoader gets the images that firmware loads.
const pcrBootLoader = 4

// guidStubPayload names the kernel inside of an image in device paths of
// systemd-stub up to 257 (src/boot/efi/linux.c of systemd).
func guidStubPayload() GUID {
	return guid(0x55c5d1f8, 0x04cd, 0x46b5, 0x8a, 0x20, 0xe5, 0x6c, 0xbb, 0x30, 0x52, 0xd0)
}

// measureImage measures an image that has been loaded from a device path. One
// that has no digest must not run: nothing would tell that it did.
func (f *Firmware) measureImage(img *loaded, path []byte) error {
	if f.tcg2 == nil && f.cc == nil || f.unmeasured(path) {
		return nil
	}
	p, err := pe.Parse(img.file)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	// UEFI_IMAGE_LOAD_EVENT: where it is, where it was linked for.
	data := le.AppendUint64(nil, img.base)
	data = le.AppendUint64(data, uint64(len(img.file)))
	data = le.AppendUint64(data, p.ImageBase)
	data = le.AppendUint64(data, uint64(len(path)))
	data = append(data, path...)
	kind := eventlog.EFIBootServicesApp
	switch p.Subsystem {
	case pe.SubsystemEFIApplication + 1:
		kind = eventlog.EFIBootServicesDriver
	case pe.SubsystemEFIApplication + 2:
		kind = eventlog.EFIRuntimeDriver
	}
	e := eventlog.Event{PCR: pcrBootLoader, Type: kind, Content: eventlog.PCClient, Data: data}
	if t := f.tcg2; t != nil {
		if e.Digests, err = imageDigests(p, t.banks); err != nil {
			return fmt.Errorf("%w: not to be measured: %w", ErrImage, err)
		}
		t.images = append(t.images, img.file)
		f.measure(e, true)
	}
	if f.cc != nil {
		if e.Digests, err = imageDigests(p, ccBanks()); err != nil {
			return fmt.Errorf("%w: not to be measured: %w", ErrImage, err)
		}
		e.PCR, _ = mrOf(pcrBootLoader)
		f.measureCC(e, true)
	}
	return nil
}

// unmeasured tells an image of which firmware's own measurement does not
// happen: under Secure Boot systemd-stub takes the check of the kernel inside
// of it on itself, and the check is where firmware measures.
func (f *Firmware) unmeasured(path []byte) bool {
	i := f.variable("SecureBoot", guidGlobal())
	return i >= 0 && bytes.Equal(f.vars[i].Data, []byte{1}) && bytes.HasPrefix(path, vendorMedia(guidStubPayload()))
}
