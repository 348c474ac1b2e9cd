// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/efivarfs"
	"github.com/peelboot/peel/trust"
)

// runs tells whether the run route was asked for.
func (f *loadFlags) runs() (bool, error) {
	switch f.via {
	case "parse":
		if f.mirror {
			return false, usagef("--mirror-variables goes with --via run: programs set no variables")
		}
		if f.trace {
			return false, usagef("--trace goes with --via run; 'peel parser run --trace' shows what programs do")
		}
		return false, nil
	case "run":
		return true, nil
	}
	return false, usagef("--via %q, want parse or run", f.via)
}

// run lets the image's own stub prepare a kernel and calls use with what it
// has prepared. The stub sees the machine that see makes of this one.
func (f *loadFlags) run(a *app, cmd *cobra.Command, path string, see func(*machine.Machine) (*machine.Machine, error),
	use func(*machine.Machine, *peel.Captured) error) error {
	defer f.close()
	m, im, add, err := f.openImage(a, cmd, path)
	if err != nil {
		return err
	}
	defer im.Close()
	if m, err = see(m); err != nil {
		return err
	}
	add.Nearby = nil // the stub looks there itself
	mo, err := f.measure.options(a, f.crash)
	if err != nil {
		return err
	}
	ro := peel.RunOptions{NoBeside: f.alone, Crash: f.crash, Min: f.min, Max: f.max, Tables: efi.ReadTables(os.DirFS(a.root))}
	if f.trace {
		ro.Trace = func(c efi.Call) { fmt.Fprintln(a.err, oneLine(callLine(c))) }
	}
	if f.trace || a.verbose {
		ro.Console = func(text string) { fmt.Fprint(a.err, printableLines(text)) }
	}
	if mo != nil {
		ro.Measure = &efi.Measuring{Banks: mo.Banks}
	}
	c, err := im.Run(cmd.Context(), m, add, ro)
	if c != nil {
		defer c.Close()
		warnLeftOut(a.err, c.LeftOut)
	}
	if err != nil {
		return err
	}
	warnReport(a.err, c.Report)
	if err := f.measure.planRun(c, m, mo); err != nil {
		return err
	}
	return use(m, c)
}

// callLine prints a service call as source would have it, with its result.
func callLine(c efi.Call) string {
	line := fmt.Sprintf("%s(%s) = %v", c.Name, strings.Join(c.Args, ", "), c.Status)
	if c.Note != "" {
		line += "  # " + c.Note
	}
	return line
}

// printableLines is oneLine for text of several lines.
func printableLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(s, "\r", "")) {
		text, end := strings.CutSuffix(line, "\n")
		b.WriteString(oneLine(text))
		if end {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// ranStub is what load and plan say in JSON about the run route.
type ranStub struct {
	Loaded    bool           `json:"loaded"`
	DryRun    bool           `json:"dry_run"`
	Arch      image.Arch     `json:"arch"`
	Call      string         `json:"system_call,omitempty"`
	Reason    string         `json:"system_call_reason,omitempty"`
	Problem   string         `json:"problem,omitempty"`
	Calls     int            `json:"service_calls"`
	Emulated  int            `json:"emulated_instructions"`
	Memory    int64          `json:"memory"`
	Isolation string         `json:"isolation"`
	Variables []stubVariable `json:"variables,omitempty"`
	Plan      *boot.Plan     `json:"plan,omitempty"`
	Report    *trust.Report  `json:"report"`
}

type stubVariable struct {
	Name string `json:"name"`
	GUID string `json:"guid"`
	Size int    `json:"size"`
	// Mirrored tells that the machine's firmware has it now, Problem why it
	// has not, when that was asked for.
	Mirrored bool   `json:"mirrored,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

// printRun says what the stub did; mirrored are the variables that were to be
// written to the machine's firmware.
func (a *app) printRun(c *peel.Captured, l *peel.Loaded, dry bool, problem error, mirrored ...efi.Mirrored) error {
	st := c.State
	out := ranStub{
		Loaded: !dry, DryRun: dry, Arch: st.Arch, Report: c.Report,
		Emulated: st.Stats.Emulated, Memory: st.Stats.Memory, Isolation: st.Stats.Isolation,
	}
	for _, n := range st.Stats.Calls {
		out.Calls += n
	}
	for _, v := range st.Variables {
		sv := stubVariable{Name: v.Name, GUID: v.GUID, Size: len(v.Data)}
		for _, w := range mirrored {
			if w.Name == v.Name && w.GUID == v.GUID {
				if sv.Mirrored = w.Err == nil; w.Err != nil {
					sv.Problem = w.Err.Error()
				}
			}
		}
		out.Variables = append(out.Variables, sv)
	}
	if problem != nil {
		out.Problem = problem.Error()
	}
	if l != nil {
		out.Call, out.Reason, out.Plan = l.Choice.Route.Call(), l.Choice.Reason, l.Plan
	}
	if a.json {
		return printJSON(a.out, out)
	}
	writeRun(a.out, c, out)
	return nil
}

func writeRun(w io.Writer, c *peel.Captured, r ranStub) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("verified", "%s: %s", c.Report.Verdict, oneLine(c.Report.Reason))
	line("stub", "%d service calls, %d emulated instructions, %s of memory", r.Calls, r.Emulated, size(uint64(r.Memory)))
	if r.Plan != nil {
		if r.Plan.Preview != "" {
			line("preview", "addresses are not those of a load: %s", oneLine(r.Plan.Preview))
		}
		line("plan", "%d segments, %s, entry 0x%x", len(r.Plan.Segments), size(r.Plan.Total()), r.Plan.Entry)
		line("cmdline", "%s", oneLine(r.Plan.HandOver.Cmdline))
	}
	for _, v := range r.Variables {
		switch {
		case v.Mirrored:
			line("variable", "%s-%s is written, %d bytes", oneLine(v.Name), oneLine(v.GUID), v.Size)
		case v.Problem != "":
			line("variable", "%s-%s is not written: %s", oneLine(v.Name), oneLine(v.GUID), oneLine(v.Problem))
		}
	}
	switch {
	case r.DryRun && r.Problem != "":
		line("dry run", "nothing is loaded; this machine cannot load it")
		line("problem", "%s", oneLine(r.Problem))
	case r.DryRun:
		line("dry run", "nothing is loaded; load would call %s: %s", r.Call, oneLine(r.Reason))
	default:
		line("loaded", "by %s: %s; start it with 'peel exec'", r.Call, oneLine(r.Reason))
	}
}

// asIs shows the stub the machine that is there.
func asIs(m *machine.Machine) (*machine.Machine, error) { return m, nil }

// loadRun is load --via run.
func (f *loadFlags) loadRun(a *app, cmd *cobra.Command, path string, o peel.LoadOptions, dry bool) error {
	see := asIs
	var guess string
	if dry {
		see = preview(&guess)
	}
	return f.run(a, cmd, path, see, func(m *machine.Machine, c *peel.Captured) error {
		if dry {
			l, err := c.Choose(m, o)
			if l != nil {
				l.Plan.Preview = guess
			}
			return a.printRun(c, l, dry, err)
		}
		client := &kexec.Client{Machine: m, Log: a.logger()}
		l, err := c.Load(client, o)
		if err == nil && !f.crash {
			err = f.measure.committed(a, client)
		}
		if err != nil {
			return err
		}
		var mirrored []efi.Mirrored
		if f.mirror {
			// Only now: a run that leads to nothing leaves nothing behind.
			mirrored = efi.Mirror(c.State.Variables, efivarfs.Default)
		}
		return a.printRun(c, l, dry, nil, mirrored...)
	})
}
