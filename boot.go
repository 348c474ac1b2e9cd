// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/trust"
)

// ramdiskAlign is the alignment of concatenated archives: the kernel's
// unpacker skips zeros between archives, and newc needs its headers at
// multiples of four (init/initramfs.c).
const ramdiskAlign = 4

// Additions are what the operator adds to an image from outside. The image's
// signature does not cover them; the policy says what they need.
type Additions struct {
	// Addons extend a unified kernel image, in this order. Each must be
	// allowed by itself and be made for the image.
	Addons []File
	// Nearby is what lies beside the image; its addons come before Addons.
	Nearby *Nearby
	// Initrds follow the image's own and those of addons.
	Initrds []File
	// Cmdline replaces the image's command line when it is not nil. Those of
	// addons are put behind it all the same, as the stub does.
	Cmdline *File
	// Firmware are words that the machine's firmware, or the host of a virtual
	// machine, has for command lines: those of machine.SMBIOS. They are put
	// behind those of addons where the image's stub does so. As what lies
	// beside the image they are found, not named: what the policy refuses is
	// left out. Stubs pass over them in confidential virtual machines.
	Firmware *File
	// Append is put behind the command line with a space between.
	Append *File
	// DTB replaces the device tree of the image and of the machine.
	DTB *File
}

// File is a part from outside with the signatures that came with it.
type File struct {
	Name     string
	Data     []byte
	Sidecars []trust.Sidecar
	IMA      []byte
}

// Boot is what kexec takes: kernel, initial RAM disk and command line, with
// the report that says why they may boot.
type Boot struct {
	*Decomposition
	// Report has the image, the kernel inside it and everything from
	// outside.
	Report *trust.Report
	// Cmdline is the final command line.
	Cmdline string
	// LeftOut tells of files beside the image that are not used.
	LeftOut []LeftOut

	kernel, ramdisk *sealed.Memory
}

// Prepare verifies the image, takes it apart, judges the kernel inside and
// what the operator adds, and lays everything out for kexec. On refusal the
// Boot holds nothing but the Report, and the error wraps trust.ErrRefused.
func (im *Image) Prepare(ctx context.Context, add Additions) (*Boot, error) {
	if _, err := im.Verify(); err != nil {
		if im.report != nil && errors.Is(err, trust.ErrRefused) {
			return &Boot{Report: im.report}, err
		}
		return nil, err
	}
	r := copyReport(im.report)
	c, err := im.choose(r, add)
	if err != nil {
		return &Boot{Report: r, LeftOut: c.leftOut}, err
	}
	d, err := im.decompose(ctx, c.parserAddons())
	if err != nil {
		return nil, err
	}
	b := &Boot{Decomposition: d, Report: r, LeftOut: c.leftOut}
	if err := im.judge(r, d.Payload, add); err != nil {
		d.Close()
		return &Boot{Report: r, LeftOut: c.leftOut}, err
	}
	if err := b.compose(im.info, c, add); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// judge extends the report by the kernel inside and the rest of the additions.
func (im *Image) judge(r *trust.Report, p *image.Payload, add Additions) error {
	var objects []trust.Object
	if p.Kernel.Origin != im.name {
		objects = append(objects, trust.Object{
			Name: p.Kernel.Origin, Role: trust.RolePayload, Kind: image.Detect(p.Kernel.Data).Kind,
			Data: p.Kernel.Data, Inside: im.name, Release: image.Release(p.Kernel.Data),
		})
	}
	outside := func(role trust.Role, f *File) {
		if f != nil {
			objects = append(objects, f.object(role))
		}
	}
	for i := range add.Initrds {
		outside(trust.RoleInitrd, &add.Initrds[i])
	}
	outside(trust.RoleCmdline, add.Cmdline)
	outside(trust.RoleCmdline, add.Append)
	outside(trust.RoleDTB, add.DTB)
	if len(objects) == 0 {
		return im.refused
	}
	return im.opts.Verifier.Extend(r, objects...)
}

// compose puts the payload together as the image's stub would, and adds what
// came from outside. Microcode: addons, then the image. Initial RAM disks: the
// image's, archives of what lies beside it, what the stub tells of the image,
// addons, then what the operator gave. Command line: the image's or the one in
// its place, addons, firmware, then what the operator appends.
func (b *Boot) compose(in image.Info, c *chosen, add Additions) error {
	p := b.Payload
	text := func(f *File) image.Part {
		return image.Part{Name: f.Name, Data: f.Data, Origin: f.Name, Outside: true}
	}
	archives, err := c.archives()
	if err != nil {
		return err
	}
	embedded, err := beside.Embedded(in, b.Extra)
	if err != nil {
		return err
	}
	own, added := split(p.Microcode)
	p.Microcode = append(added, own...)
	own, added = split(p.Initrds)
	p.Initrds = slices.Concat(own, archives, embedded, added)
	for i := range add.Initrds {
		p.Initrds = append(p.Initrds, text(&add.Initrds[i]))
	}
	own, added = split(p.CmdlineParts)
	p.CmdlineParts = append(own, added...)
	if add.Cmdline != nil {
		p.CmdlineParts = append([]image.Part{text(add.Cmdline)}, added...)
		words := []string{string(add.Cmdline.Data)}
		for _, a := range added {
			words = append(words, parser.CleanCmdline(a.Data))
		}
		p.Cmdline = strings.TrimSpace(strings.Join(words, " "))
	}
	if f := c.firmware; f != nil {
		p.Cmdline = strings.TrimSpace(p.Cmdline + " " + parser.CleanCmdline(f.Data))
		p.CmdlineParts = append(p.CmdlineParts, text(f))
	}
	if add.Append != nil {
		p.Cmdline = strings.TrimSpace(p.Cmdline + " " + string(add.Append.Data))
		p.CmdlineParts = append(p.CmdlineParts, text(add.Append))
	}
	own, added = split(p.DTBOverlays)
	p.DTBOverlays = append(own, added...)
	if add.DTB != nil {
		dtb := text(add.DTB)
		p.DTB = &dtb
	}
	b.Cmdline = p.Cmdline
	return nil
}

// Kernel returns the kernel as a sealed file, for kexec_file_load. It is made
// when it is first asked for: kexec_load takes the parts where they lie. Boot
// owns it.
func (b *Boot) Kernel() (*os.File, error) {
	if b.kernel == nil {
		var err error
		if b.kernel, err = sealed.Concat("kernel", 1, b.Payload.Kernel.Data); err != nil {
			return nil, fmt.Errorf("kernel: %w", err)
		}
	}
	return b.kernel.File(), nil
}

// RAMDisk returns the initial RAM disk as a sealed file, or nil when there is
// none. As Kernel, it is made when it is first asked for, and Boot owns it.
func (b *Boot) RAMDisk() (*os.File, error) {
	if b.ramdisk == nil {
		var parts [][]byte
		for _, p := range b.Payload.RAMDisk() {
			parts = append(parts, p.Data)
		}
		if len(parts) == 0 {
			return nil, nil
		}
		var err error
		if b.ramdisk, err = sealed.Concat("initrd", ramdiskAlign, parts...); err != nil {
			return nil, fmt.Errorf("initrd: %w", err)
		}
	}
	return b.ramdisk.File(), nil
}

// Close gives back memory and files. A loaded kernel stays loaded.
func (b *Boot) Close() error {
	if b.kernel != nil {
		b.kernel.Close()
	}
	if b.ramdisk != nil {
		b.ramdisk.Close()
	}
	if b.Decomposition != nil {
		return b.Decomposition.Close()
	}
	return nil
}
