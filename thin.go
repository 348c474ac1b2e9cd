// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/parser"
)

// runThin follows a thin image to the files that it names. They are what the
// image's signature covers through its digests; one that has another digest
// ends the decomposition whatever the policy. It fails with ErrNoVolume,
// uki.ErrThinHash and the errors of package parser.
func (im *Image) runThin(ctx context.Context, d *Decomposition, o parser.Options) (*parser.Result, error) {
	t, err := uki.ReadThin(im.info.PE)
	if err != nil {
		return nil, err
	}
	root := im.opts.Volume
	if root == "" {
		root = beside.RootOf(im.path)
	}
	if root == "" {
		return nil, fmt.Errorf("%s: %w: it names %s", im.name, ErrNoVolume, t.Kernel.Path)
	}
	read := func(r uki.Ref) ([]byte, error) {
		mem, err := sealed.Open(filepath.Join(root, filepath.FromSlash(r.Path)), im.opts.limit())
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", im.name, r.Section, err)
		}
		d.memory = append(d.memory, mem)
		if err := r.Check(mem.Bytes()); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", im.name, r.Section, err)
		}
		return mem.Bytes(), nil
	}
	kernel, err := read(t.Kernel)
	if err != nil {
		return nil, err
	}
	var initrds []image.Part
	if t.Initrd != nil {
		data, err := read(*t.Initrd)
		if err != nil {
			return nil, err
		}
		initrds = []image.Part{{Name: filepath.Base(t.Initrd.Path), Data: data, Origin: im.name + "/" + t.Initrd.Section}}
	}
	o.Name = im.name + "/" + t.Kernel.Section
	o.Verifier = verifier{im, [][]byte{kernel}}
	res, err := parser.Run(ctx, kernel, o)
	if err != nil {
		return nil, err
	}
	p := res.Payload
	p.Layers = append([]image.Layer{{Kind: image.KindThin, Name: im.name, Data: im.mem.Bytes()}}, p.Layers...)
	p.Initrds = append(initrds, p.Initrds...)
	if s, ok := im.info.PE.Find(uki.Cmdline); ok {
		p.Cmdline = t.Cmdline
		p.CmdlineParts = []image.Part{{Name: uki.Cmdline, Data: im.info.PE.Data(s), Origin: im.name + "/" + uki.Cmdline}}
	}
	return res, nil
}
