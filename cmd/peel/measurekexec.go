// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/measure/tpm"
)

// pendingFile keeps what is to be extended between load and exec. /run does not
// outlive the running system, as the loaded kernel does not.
const pendingFile = "run/peel/kexec-measurements"

// kexecMeasure are the flags of a measured kexec, and what came of them.
type kexecMeasure struct {
	mode   string
	pcrs   []int
	device string

	pending *pending
}

// pending is the contents of pendingFile.
type pending struct {
	Device string          `json:"device,omitempty"`
	PCRs   []uint32        `json:"pcrs"`
	Before eventlog.Values `json:"before"`
	// Log is a crypto-agile log of the events to extend.
	Log []byte `json:"log"`
}

func (f *kexecMeasure) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.mode, "measure", "off", "`MODE` of measured boot: off, log (hand over what would be measured), extend (the TPM, at 'peel exec')")
	fs.IntSliceVar(&f.pcrs, "measure-pcr", nil, "`REGISTERS` that a measured kexec extends (default 9,11,12,13)")
	fs.StringVar(&f.device, "tpm", "", "TPM `DEVICE` or socket (default "+tpm.Device+")")
}

// off reports whether nothing is to be measured.
func (f *kexecMeasure) off() bool {
	return f.mode == "" || measure.Mode(f.mode) == measure.ModeOff
}

// plan computes what is to be measured and adds the log to the RAM disk.
func (f *kexecMeasure) plan(a *app, im *peel.Image, profile string, crash bool, b *peel.Boot) error {
	if f.off() {
		return nil
	}
	n, err := measuredProfile(im, profile)
	if err != nil {
		return err
	}
	o, err := f.options(a, crash)
	if err != nil {
		return err
	}
	k, err := measure.PlanKexec(im.Name(), im.Bytes(), n, b.Payload, *o)
	if err != nil {
		return err
	}
	archive, err := f.keep(k, o)
	if err != nil {
		return err
	}
	return b.AppendRAMDisk(archive)
}

// planRun does what plan does for the run route: what is measured is what the
// stub has measured itself.
func (f *kexecMeasure) planRun(c *peel.Captured, m *machine.Machine, o *measure.KexecOptions) error {
	if f.off() {
		return nil
	}
	if o.Mode == measure.ModeExtend && !c.Vouched() && !slices.Contains(o.PCRs, measure.PCRBootLoader) {
		return usagef("--measure extend: nothing vouches for the image, and what its stub measures is only what it says of itself; " +
			"add PCR 4, into which peel measures the image (--measure-pcr 4,9,11,12,13)")
	}
	k, err := measure.PlanKexecRun(c.Measured(m), *o)
	if err != nil {
		return err
	}
	archive, err := f.keep(k, o)
	if err != nil {
		return err
	}
	c.AppendRAMDisk(archive)
	return nil
}

// options says what is to be measured into which registers, and what those
// hold now; nil when nothing is.
func (f *kexecMeasure) options(a *app, crash bool) (*measure.KexecOptions, error) {
	if f.off() {
		return nil, nil
	}
	mode := measure.Mode(f.mode)
	switch mode {
	case measure.ModeLog, measure.ModeExtend:
	default:
		return nil, usagef("--measure %q, want off, log or extend", f.mode)
	}
	if crash {
		return nil, usagef("--measure and --crash exclude each other: nobody can extend a TPM in a panic")
	}
	o := &measure.KexecOptions{Mode: mode, Banks: eventlog.Banks(), PCRs: measure.KexecPCRs()}
	if len(f.pcrs) > 0 {
		o.PCRs = nil
		for _, p := range f.pcrs {
			if p < 0 || p > 23 {
				return nil, usagef("--measure-pcr %d, want 0 to 23", p)
			}
			o.PCRs = append(o.PCRs, uint32(p))
		}
	}
	t, err := tpm.Open(f.device)
	switch {
	case err == nil:
		defer t.Close()
		if o.Banks, err = t.Banks(); err != nil {
			return nil, err
		}
		if o.Before, err = t.Read(o.Banks, o.PCRs); err != nil {
			return nil, err
		}
	case mode == measure.ModeExtend:
		return nil, fmt.Errorf("--measure extend: %w", err)
	}
	o.History, err = a.history()
	return o, err
}

// keep remembers what exec is to extend, and returns the archive with the log
// for the next kernel.
func (f *kexecMeasure) keep(k *measure.Kexec, o *measure.KexecOptions) (image.Part, error) {
	archive, err := k.Handover()
	if err != nil {
		return image.Part{}, err
	}
	if o.Mode == measure.ModeExtend {
		l := eventlog.Log{Banks: o.Banks, Events: k.Extends}
		p := &pending{Device: f.device, PCRs: o.PCRs, Before: o.Before}
		if p.Log, err = l.WriteTCG(); err != nil {
			return image.Part{}, err
		}
		f.pending = p
	}
	return image.Part{Name: ".extra/peel", Data: archive, Origin: "peel's event log"}, nil
}

// measuredProfile finds the profile of a UKI; it is 0 for everything else.
func measuredProfile(im *peel.Image, name string) (int, error) {
	in := im.Info()
	if in.PE == nil || !uki.IsUKI(in.PE) {
		return 0, nil
	}
	img, err := uki.Read(in.PE)
	if err != nil {
		return 0, err
	}
	return img.Profile(name)
}

// history is the log that explains the registers of the running system: the
// one that peel handed over, else the firmware's; nil when there is none.
func (a *app) history() (*eventlog.Log, error) {
	for _, p := range []string{measure.HandoverPath, firmwareLog} {
		b, err := os.ReadFile(filepath.Join(a.root, p))
		if errors.Is(err, os.ErrNotExist) || err == nil && len(b) == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, err := eventlog.Read(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		return l, nil
	}
	return nil, nil
}

// commit keeps what is to be extended for exec, or forgets what an earlier
// load left.
func (f *kexecMeasure) commit(a *app) error {
	path := filepath.Join(a.root, pendingFile)
	if f.pending == nil {
		return forgetMeasurements(a)
	}
	b, err := json.Marshal(f.pending)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// committed is commit, once c has loaded the kernel. When it fails the kernel is
// dropped: exec would start it unmeasured, or with what an earlier load left.
func (f *kexecMeasure) committed(a *app, c *kexec.Client) error {
	err := f.commit(a)
	if err == nil {
		return nil
	}
	return fmt.Errorf("the kernel is dropped, since what exec is to extend cannot be kept: %w", errors.Join(err, c.Unload(false)))
}

// forgetMeasurements drops what was kept for a kernel that is not loaded any
// more.
func forgetMeasurements(a *app) error {
	err := os.Remove(filepath.Join(a.root, pendingFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// extendBeforeExec extends the TPM with what load kept. The registers must be
// as load saw them: the log that the loaded kernel gets begins there.
func extendBeforeExec(a *app) error {
	path := filepath.Join(a.root, pendingFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p pending
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l, err := eventlog.ReadTCG(p.Log)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	t, err := tpm.Open(p.Device)
	if err != nil {
		return err
	}
	defer t.Close()
	now, err := t.Read(l.Banks, p.PCRs)
	if err != nil {
		return err
	}
	for _, c := range measure.CheckValues(p.Before, now) {
		if !c.OK {
			return fmt.Errorf("PCR %d (%s) was extended since the kernel was loaded, so that the log it gets would be wrong; load it again: %w", c.PCR, c.Bank, measure.ErrMismatch)
		}
	}
	// From the first extend on there is no way back, and no second try.
	if err := forgetMeasurements(a); err != nil {
		return err
	}
	_, err = t.Extend(l.Events)
	return err
}
