// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/measure/tpm"
)

// part tells where a log parts from the prediction.
func (f *measureFlags) part(a *app, p *measure.Prediction) error {
	if f.compare == "running" {
		f.running = true
	} else {
		f.log = f.compare
	}
	l, err := f.read(a)
	if err != nil {
		return err
	}
	return f.parted(a, p, l)
}

// parted tells where a log parts from a prediction.
func (f *measureFlags) parted(a *app, p *measure.Prediction, l *eventlog.Log) error {
	var pcrs []uint32
	for _, p := range f.pcrs {
		pcrs = append(pcrs, uint32(p))
	}
	var best []measure.Difference
	name, found := "", false
	for i := range p.Cases {
		d, err := measure.Compare(&p.Cases[i], l, pcrs)
		if err != nil {
			return err
		}
		if !found || len(d) < len(best) {
			best, name, found = d, p.Cases[i].Name, true
		}
	}
	if a.json {
		if err := printJSON(a.out, struct {
			Case        string               `json:"case,omitempty"`
			Differences []measure.Difference `json:"differences"`
			Notes       []string             `json:"notes,omitempty"`
		}{name, append([]measure.Difference{}, best...), p.Notes}); err != nil {
			return err
		}
	} else {
		for _, n := range p.Notes {
			fmt.Fprintf(a.out, "note: %s\n", oneLine(n))
		}
		if name != "" {
			fmt.Fprintf(a.out, "closest case: %s\n", oneLine(name))
		}
		for _, d := range best {
			fmt.Fprintln(a.out, oneLine(d.String()))
		}
		if len(best) == 0 {
			fmt.Fprintln(a.out, "the log is what was foretold")
		}
	}
	if len(best) > 0 {
		return toldError{fmt.Errorf("%d registers: %w", len(best), measure.ErrMismatch)}
	}
	return nil
}

// Where Linux shows logs, and systemd keeps its own.
const (
	firmwareLog = "sys/kernel/security/tpm0/binary_bios_measurements"
	imaList     = "sys/kernel/security/ima/binary_runtime_measurements"
	systemdLog  = "run/log/systemd/tpm2-measure.log"
)

// read reads the log that was asked for.
func (f *measureFlags) read(a *app) (*eventlog.Log, error) {
	path := f.log
	if path == "" {
		path = filepath.Join(a.root, firmwareLog)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		if f.log == "" && errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the kernel shows no event log: no TPM, firmware without one, or securityfs is not mounted: %w", err)
		}
		return nil, err
	}
	l, err := eventlog.Read(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	more := f.ima
	if f.ima == "" && f.running {
		more = filepath.Join(a.root, imaList)
	}
	for _, p := range []string{more, filepath.Join(a.root, systemdLog)} {
		if p == "" || p != f.ima && !f.running {
			continue
		}
		b, err := os.ReadFile(p)
		if err != nil && p != f.ima {
			continue // neither IMA nor systemd must have measured anything
		}
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			continue
		}
		o, err := eventlog.Read(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		l.Events = append(l.Events, o.Events...)
		l.Banks = slices.DeleteFunc(l.Banks, func(h eventlog.Hash) bool { return !slices.Contains(o.Banks, h) })
	}
	return l, nil
}

// save writes a log to a file, - for standard output.
func (f *measureFlags) save(a *app, l *eventlog.Log) error {
	var b []byte
	var err error
	switch eventlog.Format(f.format) {
	case eventlog.TCG2:
		b, err = l.WriteTCG()
	case eventlog.CELJSON:
		b, err = l.WriteCELJSON()
	case eventlog.CELCBOR:
		b, err = l.WriteCELCBOR()
	default:
		return usagef("--format %q, want tcg2, cel-json or cel-cbor", f.format)
	}
	if err != nil {
		return err
	}
	if f.write == "-" {
		_, err = a.out.Write(b)
		return err
	}
	return os.WriteFile(f.write, b, 0o644)
}

// show prints a log and the registers it explains.
func (f *measureFlags) show(a *app, banks []eventlog.Hash) error {
	l, err := f.read(a)
	if err != nil {
		return err
	}
	if f.write != "" {
		if err := f.save(a, l); err != nil || f.write == "-" {
			return err
		}
	}
	values, err := l.ReplayAll()
	if err != nil {
		return err
	}
	f.limit(values)
	if a.json {
		l.Events = slices.DeleteFunc(l.Events, func(e eventlog.Event) bool { return !f.shown(e.PCR) })
		type told struct {
			eventlog.Event
			Description string `json:"description"`
		}
		events := make([]told, len(l.Events))
		for i, e := range l.Events {
			events[i] = told{e, e.Describe()}
		}
		return printJSON(a.out, struct {
			Format eventlog.Format `json:"format"`
			Banks  []eventlog.Hash `json:"banks"`
			Events []told          `json:"events"`
			Values eventlog.Values `json:"values"`
		}{l.Format, l.Banks, events, values})
	}
	shown := slices.DeleteFunc(slices.Clone(l.Banks), func(h eventlog.Hash) bool { return !slices.Contains(banks, h) })
	f.printEvents(a, l.Events, shown)
	for _, h := range f.textBanks(shown) {
		for _, pcr := range values[h].PCRs() {
			fmt.Fprintf(a.out, "PCR %-2d %s %s\n", pcr, h, values[h][pcr])
		}
	}
	return nil
}

// check compares a log with the TPM.
func (f *measureFlags) check(a *app) error {
	if f.log == "" && !f.running {
		f.log = filepath.Join(a.root, measure.HandoverPath)
		if _, err := os.Stat(f.log); errors.Is(err, os.ErrNotExist) {
			f.log, f.running = "", true
		}
	}
	l, err := f.read(a)
	if err != nil {
		return err
	}
	t, err := tpm.Open(f.device)
	if err != nil {
		return err
	}
	defer t.Close()
	banks, err := t.Banks()
	if err != nil {
		return err
	}
	var pcrs []uint32
	for i := range uint32(24) {
		if f.shown(i) {
			pcrs = append(pcrs, i)
		}
	}
	got, err := t.Read(banks, pcrs)
	if err != nil {
		return err
	}
	v, err := measure.Verify(l, got)
	if err != nil {
		return err
	}
	if a.json {
		if err := printJSON(a.out, v); err != nil {
			return err
		}
	} else {
		printVerdict(a, v)
	}
	if !v.OK() {
		return toldError{fmt.Errorf("TPM and log: %w", measure.ErrMismatch)}
	}
	return nil
}

func printVerdict(a *app, v *measure.Verdict) {
	for _, c := range v.Checks {
		if c.OK {
			fmt.Fprintf(a.out, "PCR %-2d %s ok  %s\n", c.PCR, c.Bank, c.Got)
			continue
		}
		fmt.Fprintf(a.out, "PCR %-2d %s BAD %s, the log gives %s\n", c.PCR, c.Bank, c.Got, c.Want)
	}
	text := func(list []uint32) string {
		var s []string
		for _, p := range list {
			s = append(s, strconv.Itoa(int(p)))
		}
		return strings.Join(s, ", ")
	}
	switch {
	case v.Kexecs == 0:
		fmt.Fprintln(a.out, "no measured kexec in the log")
	case len(v.Unlogged) > 0:
		fmt.Fprintf(a.out, "%d measured kexec; what was in PCR %s before it, the log does not explain\n", v.Kexecs, text(v.Unlogged))
	default:
		fmt.Fprintf(a.out, "%d measured kexec; the log explains PCR %s from the machine's reset on\n", v.Kexecs, text(v.FromReset))
	}
}
