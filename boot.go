// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/trust"
)

// ramdiskAlign is the alignment of concatenated archives: the kernel's
// unpacker skips zeros between archives, and newc needs its headers at
// multiples of four (init/initramfs.c).
const ramdiskAlign = 4

// Additions are what the operator adds to an image from outside. The image's
// signature does not cover them; the policy says what they need.
type Additions struct {
	// Initrds follow the image's own.
	Initrds []File
	// Cmdline replaces the image's command line when it is not nil.
	Cmdline *File
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

	kernel, ramdisk *sealed.Memory
}

// Prepare verifies the image, takes it apart, judges the kernel inside and
// what the operator adds, and lays everything out for kexec. On refusal the
// Boot holds nothing but the Report, and the error wraps trust.ErrRefused.
func (im *Image) Prepare(ctx context.Context, add Additions) (*Boot, error) {
	d, err := im.Decompose(ctx)
	if err != nil {
		if im.report != nil && errors.Is(err, trust.ErrRefused) {
			return &Boot{Report: im.report}, err
		}
		return nil, err
	}
	b := &Boot{Decomposition: d}
	if b.Report, err = im.judge(d.Payload, add); err != nil {
		d.Close()
		return &Boot{Report: b.Report}, err
	}
	b.compose(add)
	if err := b.seal(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// judge extends the image's report by the kernel inside and the additions.
func (im *Image) judge(p *image.Payload, add Additions) (*trust.Report, error) {
	var objects []trust.Object
	if p.Kernel.Origin != im.name {
		objects = append(objects, trust.Object{
			Name: p.Kernel.Origin, Role: trust.RolePayload, Kind: image.Detect(p.Kernel.Data).Kind,
			Data: p.Kernel.Data, Inside: im.name, Release: image.Release(p.Kernel.Data),
		})
	}
	outside := func(role trust.Role, f *File) {
		if f != nil {
			objects = append(objects, trust.Object{Name: f.Name, Role: role, Data: f.Data, Sidecars: f.Sidecars, IMA: f.IMA})
		}
	}
	for i := range add.Initrds {
		outside(trust.RoleInitrd, &add.Initrds[i])
	}
	outside(trust.RoleCmdline, add.Cmdline)
	outside(trust.RoleCmdline, add.Append)
	outside(trust.RoleDTB, add.DTB)
	if len(objects) == 0 {
		return im.report, im.refused
	}
	r := *im.report
	r.Layers = append([]trust.LayerReport(nil), r.Layers...)
	err := im.opts.Verifier.Extend(&r, objects...)
	return &r, err
}

// compose adds what came from outside to the payload.
func (b *Boot) compose(add Additions) {
	p := b.Payload
	for _, f := range add.Initrds {
		p.Initrds = append(p.Initrds, image.Part{Name: f.Name, Data: f.Data, Origin: f.Name, Outside: true})
	}
	text := func(f *File) image.Part {
		return image.Part{Name: f.Name, Data: f.Data, Origin: f.Name, Outside: true}
	}
	if add.Cmdline != nil {
		p.Cmdline = string(add.Cmdline.Data)
		p.CmdlineParts = []image.Part{text(add.Cmdline)}
	}
	if add.Append != nil {
		p.Cmdline = strings.TrimSpace(p.Cmdline + " " + string(add.Append.Data))
		p.CmdlineParts = append(p.CmdlineParts, text(add.Append))
	}
	if add.DTB != nil {
		dtb := text(add.DTB)
		p.DTB = &dtb
	}
	b.Cmdline = p.Cmdline
}

// seal copies kernel and RAM disk into files that nobody can change.
func (b *Boot) seal() error {
	var err error
	if b.kernel, err = sealed.Concat("kernel", 1, b.Payload.Kernel.Data); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	var parts [][]byte
	for _, p := range b.Payload.RAMDisk() {
		parts = append(parts, p.Data)
	}
	if len(parts) == 0 {
		return nil
	}
	if b.ramdisk, err = sealed.Concat("initrd", ramdiskAlign, parts...); err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	return nil
}

// Kernel returns the kernel as a sealed file, for kexec_file_load. Boot owns
// it.
func (b *Boot) Kernel() *os.File { return b.kernel.File() }

// RAMDisk returns the initial RAM disk as a sealed file, or nil when there is
// none. Boot owns it.
func (b *Boot) RAMDisk() *os.File {
	if b.ramdisk == nil {
		return nil
	}
	return b.ramdisk.File()
}

// RAMDiskSize returns the size of the whole initial RAM disk in bytes.
func (b *Boot) RAMDiskSize() int64 {
	if b.ramdisk == nil {
		return 0
	}
	return b.ramdisk.Size()
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
