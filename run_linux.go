// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/trust"
)

// RunOptions are for the run route.
type RunOptions struct {
	// Console gets what the stub prints; Trace gets each service call.
	Console func(text string)
	Trace   func(efi.Call)
	// Limits bound the stub.
	Limits efi.Limits
	// NoBeside hides the directory that the image lies in from the stub.
	NoBeside bool
}

// Captured is what an image's own EFI stub has prepared in a process: the
// memory from which its kernel starts.
type Captured struct {
	State  *efi.State
	Report *trust.Report
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
	eo := efi.Options{
		Machine: m, LoadOptions: options, Initrds: initrds, Variables: efi.VariablesOf(m),
		Console: o.Console, Trace: o.Trace, Limits: o.Limits,
		Verify:     func(b []byte) error { return im.mayRun(c.Report, b) },
		VerifyFile: func(name string, b []byte) error { return im.mayRead(c.Report, name, b) },
	}
	if add.DTB != nil {
		if err := im.demand(c.Report, trust.RoleDTB, *add.DTB); err != nil {
			return c, err
		}
		eo.DTB = add.DTB.Data
	}
	if !o.NoBeside && im.path != "" && im.path != "-" {
		eo.Dir, eo.Path = os.DirFS(filepath.Dir(im.path)), filepath.Base(im.path)
	}
	if c.State, err = efi.Run(ctx, im.Bytes(), eo); err != nil {
		return c, err
	}
	return c, nil
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
