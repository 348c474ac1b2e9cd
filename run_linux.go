// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/trust"
)

// RunOptions are for the run route.
type RunOptions struct {
	// Measure offers the stub a TPM of software, and says whether what it
	// measures goes on to a real one. nil is none: the stub finds no TPM.
	Measure *efi.Measuring
	// Variables are the firmware's variables instead of the machine's.
	Variables []efi.Variable
	// Console gets what the stub prints; Trace gets each service call.
	Console func(text string)
	Trace   func(efi.Call)
	// Limits bound the stub.
	Limits efi.Limits
	// NoBeside hides the directory that the image lies in from the stub.
	NoBeside bool
	// Tables are copies of the machine's SMBIOS and ACPI tables for the stub;
	// see efi.ReadTables. Without them it finds none. Words for the command
	// line in them are judged as what lies beside the image.
	Tables efi.Tables
	// Foretell says that the run is to tell what a boot by firmware would do,
	// which knows no policy for words in tables; nothing of it will be booted.
	Foretell bool
	// Crash shows the stub no other free memory than the crash region, for a
	// plan of a crash kernel.
	Crash bool
	// Min and Max bound the addresses of memory that the stub may use; Max 0
	// is no bound.
	Min, Max uint64
}

// shown is the machine as the stub is to see it.
func (o *RunOptions) shown(m *machine.Machine) (*machine.Machine, error) {
	if o.Min == 0 && o.Max == 0 && !o.Crash {
		return m, nil
	}
	free := m.Memory.Usable
	if o.Crash {
		free = m.Memory.Crash
		if len(free.Value) == 0 {
			return nil, fmt.Errorf("%w: no crash region is known (crashkernel= on the command line of the running kernel)%s", boot.ErrCrash, because(free.Why))
		}
		// The last one is the main one; see boot.Host.
		free.Value = free.Value[len(free.Value)-1:]
	}
	if free.Known() {
		var in []machine.Range
		for _, r := range free.Value {
			r.Start = max(r.Start, o.Min)
			if o.Max != 0 {
				r.Last = min(r.Last, o.Max-1)
			}
			if r.Start <= r.Last {
				in = append(in, r)
			}
		}
		if len(in) == 0 {
			return nil, fmt.Errorf("%w: between %#x and %#x no memory is free", boot.ErrNoRoom, o.Min, o.Max)
		}
		free.Value = in
	}
	s := *m
	s.Memory.Usable = free
	return &s, nil
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// Captured is what an image's own EFI stub has prepared in a process: the
// memory from which its kernel starts.
type Captured struct {
	State  *efi.State
	Report *trust.Report
	// LeftOut tells what of the machine's tables the stub was not shown.
	LeftOut []LeftOut

	tail []byte // behind the RAM disk
}

// Run is the run route: it verifies the image, then lets the image's own EFI
// stub run as an unprivileged process over emulated boot services, until it
// starts its kernel. What is added goes to the stub as load options and as the
// initial RAM disk of the firmware; addons, credentials and the like are found
// by the stub itself beside the image, and are judged when it opens them.
//
// It fails as Verify does, and with the errors of package efi. Addons given by
// hand are refused: only a file beside the image is found by a stub.
func (im *Image) Run(ctx context.Context, m *machine.Machine, add Additions, o RunOptions) (*Captured, error) {
	if _, err := im.Verify(); err != nil {
		if im.report != nil && errors.Is(err, trust.ErrRefused) {
			return &Captured{Report: im.report}, err
		}
		return nil, err
	}
	if c := m.Confidential.Or(machine.ConfidentialNone); c != machine.ConfidentialNone {
		return nil, fmt.Errorf("%s: %w: this machine is a confidential guest (%s), whose stub must talk to the hypervisor, which no process can; take the parse route",
			im.name, efi.ErrUnsupported, c)
	}
	seen, err := o.shown(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", im.name, err)
	}
	if len(add.Addons) > 0 {
		return nil, fmt.Errorf("%s: %w: an addon that does not lie beside the image", im.name, ErrRoute)
	}
	c := &Captured{Report: copyReport(im.report)}
	var initrds [][]byte
	for _, f := range add.Initrds {
		if err := im.demand(c.Report, trust.RoleInitrd, f); err != nil {
			return c, err
		}
		initrds = append(initrds, f.Data)
	}
	var cmdline *string
	var more string
	if add.Cmdline != nil {
		if err := im.demand(c.Report, trust.RoleCmdline, *add.Cmdline); err != nil {
			return c, err
		}
		text := string(add.Cmdline.Data)
		cmdline = &text
	}
	if add.Append != nil {
		if err := im.demand(c.Report, trust.RoleCmdline, *add.Append); err != nil {
			return c, err
		}
		more = string(add.Append.Data)
	}
	options, err := image.LoadOptions(im.Bytes(), im.opts.Profile, cmdline, more)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", im.name, err)
	}
	tables := o.Tables
	if !o.Foretell {
		tables, c.LeftOut = im.judgeTables(c.Report, tables, o.NoBeside)
	}
	eo := efi.Options{
		Machine: seen, LoadOptions: options, Initrds: initrds, Variables: efi.VariablesOf(m),
		Console: o.Console, Trace: o.Trace, Limits: o.Limits, Measure: o.Measure, Tables: tables,
		Verify:     func(b []byte) error { return im.mayRun(c.Report, b) },
		VerifyFile: func(name string, b []byte) error { return im.mayRead(c.Report, name, b) },
	}
	if o.Crash && eo.Limits.Memory == 0 {
		// The kernel takes no more than half of the RAM for the next boot; a
		// crash region is all for its kernel.
		eo.Limits.Memory = int64(min(seen.Memory.Usable.Value[0].Size(), math.MaxInt64))
	}
	if o.Variables != nil {
		eo.Variables = o.Variables
	}
	if add.DTB != nil {
		if err := im.demand(c.Report, trust.RoleDTB, *add.DTB); err != nil {
			return c, err
		}
		eo.DTB = add.DTB.Data
	}
	if !o.NoBeside && im.path != "" && im.path != "-" {
		dir, name, err := im.volume()
		if err != nil {
			return c, err
		}
		eo.Dir, eo.Path = os.DirFS(dir), name
	}
	if c.State, err = efi.Run(ctx, im.Bytes(), eo); err != nil {
		return c, err
	}
	return c, nil
}

// volume is the root of the file system that the stub sees, and the image in
// it with slashes: the volume when it is known, with what lies there for all
// images, else the directory of the image.
func (im *Image) volume() (dir, name string, err error) {
	path, err := filepath.Abs(im.path)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", im.name, err)
	}
	root := im.opts.Volume
	if root == "" {
		root = beside.RootOf(path)
	}
	if root != "" {
		if root, err = filepath.Abs(root); err != nil {
			return "", "", fmt.Errorf("%s: %w", im.name, err)
		}
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
			return root, filepath.ToSlash(rel), nil
		}
	}
	return filepath.Dir(path), filepath.Base(path), nil
}

// demand judges a part that the operator wants: without it, nothing boots.
func (im *Image) demand(r *trust.Report, role trust.Role, f File) error {
	return im.opts.Verifier.Extend(r, f.object(role))
}

// mayRun judges an image before an instruction of it runs. What lies in the
// outermost one was judged with it.
func (im *Image) mayRun(r *trust.Report, b []byte) error {
	switch {
	case same(b, im.mem.Bytes()):
		return im.refused
	case bytes.Contains(im.mem.Bytes(), b):
		return nil
	}
	return im.allow(r, trust.RoleAddon, File{Name: "an image that " + im.name + " loads", Data: b})
}

// mayRead judges a file beside the image before the stub reads it: an addon by
// its own signature, anything else as what goes into the initial RAM disk.
func (im *Image) mayRead(r *trust.Report, name string, b []byte) error {
	role := trust.RoleInitrd
	if in := image.Detect(b); in.PE != nil {
		role = trust.RoleAddon
	}
	return im.allow(r, role, File{Name: name, Data: b})
}

// Plan makes a plan of the captured state for machine m.
func (c *Captured) Plan(m *machine.Machine, o boot.Options) (*boot.Plan, error) {
	o.InitrdTail = c.tail
	return boot.Captured(c.State.State, boot.HostOf(m), o)
}

// Choose makes the plan and says by which call it would be loaded. There is
// but one: what was captured is memory, not a kernel image.
func (c *Captured) Choose(m *machine.Machine, o LoadOptions) (*Loaded, error) {
	choice, err := kexec.Choose(m, kexec.Wish{Route: o.Route, NeedsSegments: "the image's stub has laid out memory, which is no file"})
	if err != nil {
		return nil, err
	}
	p, err := c.Plan(m, o.Plan)
	if err != nil {
		return nil, err
	}
	return &Loaded{Choice: choice, Plan: p}, nil
}

// Load loads the captured state through kexec_load.
func (c *Captured) Load(k *kexec.Client, o LoadOptions) (*Loaded, error) {
	l, err := c.Choose(k.Machine, o)
	if err != nil {
		return nil, err
	}
	return l, loadSegments(k, l.Plan)
}

// Close gives the captured memory back. A loaded kernel stays loaded.
func (c *Captured) Close() error {
	if c.State == nil {
		return nil
	}
	return c.State.Close()
}
