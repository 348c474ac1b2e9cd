// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/trust"
)

// loadFlags are the flags of verbs that make an image ready to boot.
type loadFlags struct {
	judge    judgeFlags
	initrds  []string
	appended string
	cmdline  string
	reuse    bool
	addons   []string
	alone    bool
	volume   string
	profile  string
	hwids    []string
	parser   string
	crash    bool
	dtb      string
	syscall  string
	noEFI    bool
	min, max uint64

	measure kexecMeasure
	via     string
	trace   bool
	mirror  bool

	parts  []*peel.Part
	nearby *peel.Nearby
}

func (f *loadFlags) add(cmd *cobra.Command) {
	f.judge.add(cmd)
	fs := cmd.Flags()
	fs.StringArrayVar(&f.initrds, "initrd", nil, "add `FILE` behind the image's own initrd (repeatable)")
	fs.StringVar(&f.appended, "append", "", "add `TEXT` to the command line")
	fs.StringVar(&f.cmdline, "cmdline", "", "use `TEXT` instead of the image's command line; @FILE reads it from a file, which may be signed")
	fs.BoolVar(&f.reuse, "reuse-cmdline", false, "use the running kernel's command line instead of the image's")
	fs.StringArrayVar(&f.addons, "addon", nil, "extend the image by the addon in `FILE` (repeatable)")
	fs.BoolVar(&f.alone, "no-beside", false, "take no addons, credentials and extensions from beside the image")
	fs.StringVar(&f.volume, "esp", "", "the image's volume is mounted at `DIR` (default: above the directory EFI it lies in)")
	fs.StringVar(&f.profile, "profile", "", "boot the `PROFILE` with this number or ID")
	fs.StringArrayVar(&f.hwids, "hwid", nil, "choose the device tree for the machine with this hardware `ID` instead of this one (repeatable, the first that matches counts)")
	fs.StringVar(&f.parser, "parser", "", "ask the parser programs in container `FILE` before the stock ones")
	fs.StringVar(&f.via, "via", "parse", "`ROUTE`: parse (programs take the image apart) or run (its own EFI stub runs as a process)")
	fs.BoolVar(&f.trace, "trace", false, "with --via run, print each service call of the stub on standard error")
	fs.BoolVar(&f.crash, "crash", false, "load the kernel that a panic starts")
	fs.StringVar(&f.dtb, "dtb", "", "hand over the device tree in `FILE`")
	fs.StringVar(&f.syscall, "syscall", "auto", "system `CALL`: auto, file (kexec_file_load) or segments (kexec_load)")
	fs.BoolVar(&f.noEFI, "noefi", false, "hand over no EFI runtime services")
	fs.Uint64Var(&f.min, "mem-min", 0, "place nothing below this physical `ADDRESS`")
	fs.Uint64Var(&f.max, "mem-max", 0, "place nothing above this physical `ADDRESS`")
}

// loadOptions are those for the system call.
func (f *loadFlags) loadOptions() (peel.LoadOptions, error) {
	o := peel.LoadOptions{
		Route: kexec.Route(f.syscall),
		Plan:  boot.Options{Crash: f.crash, NoEFI: f.noEFI, Min: f.min, Max: f.max},
	}
	switch o.Route {
	case kexec.RouteAuto, kexec.RouteFile, kexec.RouteSegments:
		return o, nil
	}
	return o, usagef("--syscall %q, want auto, file or segments", f.syscall)
}

func (a *app) loadCommand() *cobra.Command {
	var f loadFlags
	var dry bool
	cmd := &cobra.Command{
		Use:   "load IMAGE",
		Short: "Verify an image, take it apart and load its kernel for kexec",
		Long: `Read IMAGE once, judge it, take it apart and load the kernel inside, with the image's
own initrd and command line. The running system goes on until 'peel exec'.

What is added here (--addon, --initrd, --append, --cmdline) is not covered by the image's signature:
under --policy enforce it is refused unless it has a signature of its own (in the addon, FILE.sig,
FILE.p7s, or an IMA signature); under --policy warn it is named and used.

What lies beside a unified kernel image is added as its own stub would add it: IMAGE.extra.d/*.addon.efi,
*.cred, *.raw, *.confext.raw, and those for all images in loader/ of the same volume. Each file needs a
signature in the same way; those that may not be used are left out and named.`,
		Example: `  peel load linux.efi --cert db.pem
  peel load vmlinuz.efi --initrd initrd.img --append "root=/dev/vda2" --policy warn
  peel load linux.efi --dry-run                # everything but the system call`,
		GroupID: "boot",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.loadOptions()
			if err != nil {
				return err
			}
			run, err := f.runs()
			if err != nil {
				return err
			}
			if run {
				return f.loadRun(a, cmd, args[0], o, dry)
			}
			return f.prepare(a, cmd, args[0], func(m *machine.Machine, b *peel.Boot) error {
				if dry {
					seen, guess := peel.Preview(m)
					l, err := b.Choose(seen, o)
					if l != nil && l.Plan != nil {
						l.Plan.Preview = guess
					}
					return a.printLoad(b, l, dry, err)
				}
				c := &kexec.Client{Machine: m, Log: a.logger()}
				l, err := b.Load(c, o)
				if err == nil && !f.crash {
					err = f.measure.committed(a, c)
				}
				if err != nil {
					return err
				}
				return a.printLoad(b, l, dry, nil)
			})
		},
	}
	a.jsonFlag(cmd)
	f.add(cmd)
	f.measure.add(cmd)
	cmd.Flags().BoolVar(&f.mirror, "mirror-variables", false, "with --via run, once the kernel is loaded write the EFI variables that the stub has set to this machine's firmware")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "do everything but the system call, and say what would be loaded")
	return cmd
}

// prepare makes the image ready to boot and calls use with it.
func (f *loadFlags) prepare(a *app, cmd *cobra.Command, path string, use func(*machine.Machine, *peel.Boot) error) error {
	defer f.close()
	m, im, add, err := f.openImage(a, cmd, path)
	if err != nil {
		return err
	}
	defer im.Close()
	b, err := im.Prepare(cmd.Context(), add)
	if b != nil {
		defer b.Close()
	}
	if err != nil {
		return err
	}
	warnReport(a.err, b.Report)
	warnLeftOut(a.err, b.LeftOut)
	if err := f.measure.plan(a, im, f.profile, f.crash, b); err != nil {
		return err
	}
	return use(m, b)
}

// warnLeftOut names what was found and may not be used.
func warnLeftOut(w io.Writer, list []peel.LeftOut) {
	for _, l := range list {
		fmt.Fprintf(w, "peel: warning: %s is left out: %s\n", oneLine(l.Name), oneLine(l.Err.Error()))
	}
}

// openImage reads the machine, the image and what comes from outside of it.
// The caller closes the image and f.
func (f *loadFlags) openImage(a *app, cmd *cobra.Command, path string) (*machine.Machine, *peel.Image, peel.Additions, error) {
	var add peel.Additions
	if f.reuse && cmd.Flags().Changed("cmdline") {
		return nil, nil, add, usagef("--cmdline and --reuse-cmdline exclude each other")
	}
	m, err := a.machine()
	if err != nil {
		return nil, nil, add, err
	}
	o, err := f.options(a, m)
	if err != nil {
		return nil, nil, add, err
	}
	im, err := peel.Open(path, o)
	if err != nil {
		return nil, nil, add, err
	}
	if add, err = f.additions(cmd, m, im); err != nil {
		im.Close()
		return nil, nil, add, err
	}
	return m, im, add, nil
}

// options are those for opening the image.
func (f *loadFlags) options(a *app, m *machine.Machine) (peel.Options, error) {
	o := peel.Options{Beside: true, Profile: f.profile, Volume: f.volume, Crash: f.crash, Logger: a.logger()}
	var err error
	if o.HWIDs, o.Compatible, err = f.hardware(m); err != nil {
		return o, err
	}
	if f.parser != "" {
		p, err := f.open(f.parser)
		if err != nil {
			return o, err
		}
		o.Programs = p.Data
	}
	o.Verifier, err = f.judge.verifier(a, m)
	return o, err
}

// loaded is what load says in JSON.
type loaded struct {
	Loaded  bool          `json:"loaded"`
	DryRun  bool          `json:"dry_run"`
	Arch    image.Arch    `json:"arch"`
	Kernel  loadedPart    `json:"kernel"`
	Initrds []loadedPart  `json:"initrds,omitempty"`
	DTB     *loadedPart   `json:"dtb,omitempty"`
	Overlay []loadedPart  `json:"dtb_overlays,omitempty"`
	Cmdline string        `json:"cmdline"`
	Call    string        `json:"system_call"`
	Reason  string        `json:"system_call_reason"`
	LeftOut []leftOut     `json:"left_out,omitempty"`
	Problem string        `json:"problem,omitempty"`
	Plan    *boot.Plan    `json:"plan,omitempty"`
	Report  *trust.Report `json:"report"`
}

// leftOut is a file beside the image that is not used.
type leftOut struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

type loadedPart struct {
	Origin  string `json:"origin"`
	Size    int    `json:"size"`
	Outside bool   `json:"outside,omitempty"`
}

// printLoad says what was loaded, or would be. choice is nil when there is a
// problem.
func (a *app) printLoad(b *peel.Boot, choice *peel.Loaded, dry bool, problem error) error {
	p := b.Payload
	l := loaded{
		Loaded: !dry, DryRun: dry, Arch: p.Arch, Cmdline: b.Cmdline, Report: b.Report,
		Kernel: loadedPart{Origin: p.Kernel.Origin, Size: len(p.Kernel.Data)},
	}
	if problem != nil {
		l.Problem = problem.Error()
	}
	if choice != nil {
		l.Call, l.Reason, l.Plan = choice.Choice.Route.Call(), choice.Choice.Reason, choice.Plan
	}
	for _, part := range p.RAMDisk() {
		l.Initrds = append(l.Initrds, loadedPart{part.Origin, len(part.Data), part.Outside})
	}
	if p.DTB != nil {
		l.DTB = &loadedPart{p.DTB.Origin, len(p.DTB.Data), p.DTB.Outside}
	}
	for _, part := range p.DTBOverlays {
		l.Overlay = append(l.Overlay, loadedPart{part.Origin, len(part.Data), part.Outside})
	}
	for _, o := range b.LeftOut {
		l.LeftOut = append(l.LeftOut, leftOut{o.Name, o.Err.Error()})
	}
	if a.json {
		return printJSON(a.out, l)
	}
	writeLoad(a.out, b, l)
	return nil
}

func writeLoad(w io.Writer, b *peel.Boot, l loaded) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("verified", "%s: %s", b.Report.Verdict, oneLine(b.Report.Reason))
	line("kernel", "%s, %s, %s", oneLine(l.Kernel.Origin), size(uint64(l.Kernel.Size)), l.Arch)
	part := func(name string, p loadedPart) {
		note := ""
		if p.Outside {
			note = " (from outside the image)"
		}
		line(name, "%s, %s%s", oneLine(p.Origin), size(uint64(p.Size)), note)
	}
	for _, p := range l.Initrds {
		part("initrd", p)
	}
	if l.DTB != nil {
		part("dtb", *l.DTB)
	}
	for _, p := range l.Overlay {
		part("overlay", p)
	}
	line("cmdline", "%s", oneLine(l.Cmdline))
	if l.DryRun {
		if l.Plan != nil && l.Plan.Preview != "" {
			line("preview", "addresses are not those of a load: %s", oneLine(l.Plan.Preview))
		}
		if l.Problem != "" {
			line("dry run", "nothing is loaded; this machine cannot load it")
			line("problem", "%s", oneLine(l.Problem))
			return
		}
		line("dry run", "nothing is loaded; load would call %s: %s", l.Call, oneLine(l.Reason))
		return
	}
	line("loaded", "by %s: %s; start it with 'peel exec'", l.Call, oneLine(l.Reason))
}
