// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/trust"
)

// runs tells whether the run route was asked for.
func (f *loadFlags) runs() (bool, error) {
	switch f.via {
	case "parse":
		if f.trace {
			return false, usagef("--trace goes with --via run; 'peel parser run --trace' shows what programs do")
		}
		return false, nil
	case "run":
		if f.crash {
			return false, usagef("--crash cannot go with --via run: a stub prepares memory outside the crash region")
		}
		return true, nil
	}
	return false, usagef("--via %q, want parse or run", f.via)
}

// run lets the image's own stub prepare a kernel and calls use with what it
// has prepared.
func (f *loadFlags) run(a *app, cmd *cobra.Command, path string, use func(*machine.Machine, *peel.Captured) error) error {
	defer f.close()
	m, im, add, err := f.openImage(a, cmd, path)
	if err != nil {
		return err
	}
	defer im.Close()
	add.Nearby = nil // the stub looks there itself
	ro := peel.RunOptions{NoBeside: f.alone}
	if f.trace {
		ro.Trace = func(c efi.Call) { fmt.Fprintln(a.err, oneLine(callLine(c))) }
	}
	if f.trace || a.verbose {
		ro.Console = func(text string) { fmt.Fprint(a.err, printableLines(text)) }
	}
	c, err := im.Run(cmd.Context(), m, add, ro)
	if c != nil {
		defer c.Close()
	}
	if err != nil {
		return err
	}
	warnReport(a.err, c.Report)
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
}

func (a *app) printRun(c *peel.Captured, l *peel.Loaded, dry bool, problem error) error {
	st := c.State
	out := ranStub{
		Loaded: !dry, DryRun: dry, Arch: st.Arch, Report: c.Report,
		Emulated: st.Stats.Emulated, Memory: st.Stats.Memory, Isolation: st.Stats.Isolation,
	}
	for _, n := range st.Stats.Calls {
		out.Calls += n
	}
	for _, v := range st.Variables {
		out.Variables = append(out.Variables, stubVariable{v.Name, v.GUID, len(v.Data)})
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
		line("plan", "%d segments, %s, entry 0x%x", len(r.Plan.Segments), size(r.Plan.Total()), r.Plan.Entry)
		line("cmdline", "%s", oneLine(r.Plan.HandOver.Cmdline))
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

// loadRun is load --via run.
func (f *loadFlags) loadRun(a *app, cmd *cobra.Command, path string, o peel.LoadOptions, dry bool) error {
	return f.run(a, cmd, path, func(m *machine.Machine, c *peel.Captured) error {
		if dry {
			l, err := c.Choose(m, o)
			return a.printRun(c, l, dry, err)
		}
		l, err := c.Load(&kexec.Client{Machine: m, Log: a.logger()}, o)
		if err != nil {
			return err
		}
		return a.printRun(c, l, dry, nil)
	})
}
