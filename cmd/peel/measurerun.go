// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// runFlags are the flags of measure that let the image's own stub run.
type runFlags struct {
	via   string
	trace bool
	cc    string
	judge judgeFlags
}

func (f *runFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.via, "via", "parse", "`ROUTE`: parse (compute from the file) or run (let the image's own EFI stub measure, in a process)")
	fs.BoolVar(&f.trace, "trace", false, "with --via run, print each service call of the stub on standard error")
	fs.StringVar(&f.cc, "cc", "", "with --via run, measure as in a confidential guest of this `KIND`: tdx")
	f.judge.addRules(cmd)
}

// runs tells whether the run route was asked for.
func (f *measureFlags) runs() (bool, error) {
	switch {
	case f.run.via == "parse" && (f.run.trace || f.run.cc != ""):
		return false, usagef("--trace and --cc go with --via run")
	case f.run.cc != "" && f.run.cc != "tdx":
		return false, usagef("--cc %q, want tdx", f.run.cc)
	case f.run.cc != "" && (f.sign || f.policy || f.compare != "" || len(f.pcrs) > 0):
		return false, usagef("--cc foretells no PCR, so that it goes with --explain, --json and --write only")
	case f.run.via == "parse":
		return false, nil
	case f.run.via == "run" && f.smbios != "":
		return false, usagef("--smbios-cmdline goes with --via parse: with --via run the stub looks into this machine's SMBIOS (--here)")
	case f.run.via == "run":
		return true, nil
	}
	return false, usagef("--via %q, want parse or run", f.run.via)
}

// hostArch is the architecture of which images can run here.
func hostArch() image.Arch {
	if runtime.GOARCH == "arm64" {
		return image.ArchARM64
	}
	return image.ArchX86_64
}

// predictRun is predict by what the image's own stub measures.
func (f *measureFlags) predictRun(a *app, cmd *cobra.Command, path string, mo measure.Options) (p *measure.Prediction, err error) {
	err = f.letRun(a, cmd, path, &efi.Measuring{Banks: mo.Banks}, mo, func(im *peel.Image, seen *machine.Machine, c *peel.Captured, mo measure.Options) error {
		p, err = measure.FromRun(im.Name(), im.Bytes(), c.Measured(seen), mo)
		return err
	})
	return p, err
}

// letRun lets the image's own stub run with a TPM of software, on a machine
// whose memory is made up: a prediction depends on none.
func (f *measureFlags) letRun(a *app, cmd *cobra.Command, path string, measuring *efi.Measuring, mo measure.Options,
	use func(*peel.Image, *machine.Machine, *peel.Captured, measure.Options) error) error {
	m, err := a.machine()
	if err != nil {
		return err
	}
	f.run.judge.variables = f.efivars
	v, err := f.run.judge.verifier(a, m)
	if err != nil {
		return err
	}
	o := peel.Options{Verifier: v, Volume: f.volume, Logger: a.logger()}
	line := f.options
	if n, rest, err := uki.Selector(f.options); err == nil && rest != f.options {
		o.Profile, line = strconv.Itoa(n), rest
	}
	if f.profile >= 0 {
		o.Profile = strconv.Itoa(f.profile)
	}
	im, err := peel.Open(path, o)
	if err != nil {
		return err
	}
	defer im.Close()
	var add peel.Additions
	if line != "" {
		add.Cmdline = &peel.File{Name: "--load-options", Data: []byte(line)}
	}
	if f.initrd != "" {
		add.Initrds = append(add.Initrds, peel.File{Name: filepath.Base(f.initrd), Data: mo.Initrd})
	}
	ro := peel.RunOptions{NoBeside: f.alone, Measure: measuring, Foretell: true}
	if ro.Variables, err = f.variables(m, mo); err != nil {
		return err
	}
	if f.run.trace {
		ro.Trace = func(c efi.Call) { fmt.Fprintln(a.err, oneLine(callLine(c))) }
	}
	seen := &machine.Machine{}
	if f.here {
		seen, ro.Tables = m, efi.ReadTables(os.DirFS(a.root))
	}
	seen = peel.Imagined(seen, hostArch())
	c, err := im.Run(cmd.Context(), seen, add, ro)
	if c != nil {
		defer c.Close()
	}
	if err != nil {
		return err
	}
	warnReport(a.err, c.Report)
	if o.Profile != "" {
		mo.LoadOptions = "@" + o.Profile
	}
	return use(im, seen, c, mo)
}

// confidential is what measure says of an image in a confidential guest.
type confidential struct {
	Image string     `json:"image"`
	Kind  image.Kind `json:"kind"`
	CC    string     `json:"cc"`
	// Events have the index of a measurement register in place of a PCR.
	Events []eventlog.Event `json:"events,omitempty"`
	// RTMR2 is the register of boot loader and kernel. Of RTMR0 and RTMR1
	// firmware measures more than can be known from the image.
	RTMR2 eventlog.Bytes `json:"rtmr2"`
}

// rtmr2 is the index of RTMR2, of which TDX counts from 0 what can be
// extended.
const rtmr2 = 3

func (f *measureFlags) confidential(a *app, cmd *cobra.Command, path string, mo measure.Options) error {
	return f.letRun(a, cmd, path, &efi.Measuring{CC: efi.CCTDX}, mo, func(im *peel.Image, _ *machine.Machine, c *peel.Captured, _ measure.Options) error {
		got := c.State.Measured
		out := confidential{Image: im.Name(), Kind: im.Info().Kind, CC: f.run.cc, RTMR2: got.Measured[rtmr2]}
		if out.RTMR2 == nil {
			out.RTMR2 = eventlog.Initial(eventlog.SHA384, 0)
		}
		if f.explain {
			out.Events = got.CC.Events
		}
		if f.write != "" {
			if err := f.save(a, got.CC); err != nil || f.write == "-" {
				return err
			}
		}
		if a.json {
			return printJSON(a.out, out)
		}
		fmt.Fprintf(a.out, "%s: %s, in a guest of %s\n", oneLine(out.Image), out.Kind, out.CC)
		for i := range out.Events {
			e := &out.Events[i]
			d, _ := e.Digest(eventlog.SHA384)
			fmt.Fprintf(a.out, "extend RTMR%d %-32s %x  %s\n", int(e.PCR)-1, oneLine(e.Type.String()), d, oneLine(e.Describe()))
		}
		fmt.Fprintf(a.out, "RTMR2 sha384 %s\n", out.RTMR2)
		return nil
	})
}

// variables are what the stub finds of the firmware: those of this machine
// with --here, and Secure Boot as the prediction takes it.
func (f *measureFlags) variables(m *machine.Machine, mo measure.Options) ([]efi.Variable, error) {
	global, err := firmware.ParseGUID(machine.GUIDGlobal)
	if err != nil {
		return nil, err
	}
	list := []efi.Variable{}
	if f.here {
		list = efi.VariablesOf(m)
	}
	set := func(name string, on bool) {
		v := efi.Variable{Name: name, GUID: global, Attributes: 6, Data: []byte{0}}
		if on {
			v.Data[0] = 1
		}
		for i := range list {
			if list[i].Name == name && list[i].GUID == global {
				list[i] = v
				return
			}
		}
		list = append(list, v)
	}
	on := f.secureBoot == "on" || f.secureBoot == "" && mo.Firmware != nil && mo.Firmware.SecureBoot()
	set("SecureBoot", on)
	set("SetupMode", false)
	return list, nil
}
