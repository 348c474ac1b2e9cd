// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/trust/ima"
)

// Envelope describes a data file for parser programs, in one of three forms:
// a kernel with initrd and command line; a UKI with addons; or PE images with
// IMA signatures.
type Envelope struct {
	// Kernel, Initrd and Cmdline make the first form. The kernel's bytes go
	// in unchanged, so that a signature over them stays valid; the other two
	// are covered by no signature.
	Kernel, Initrd, Cmdline Content
	// UKI and Addons make the second form.
	UKI    Content
	Addons []Content
	// Images make the third form.
	Images []SignedContent
}

// SignedContent is an image and, unless it is not set, the value of its
// security.ima attribute.
type SignedContent struct {
	Content
	IMA Content
}

// Limits that the parsers of the kernel series have: the walker of UKIs looks
// at sections 1 to 15, the names among them.
const (
	maxAddons = 13
	maxImages = 9 // .pe.1 to .pe.9
)

// Build lays the envelope out. The Image must be closed.
func (e *Envelope) Build(ctx context.Context) (*Image, error) {
	return makeImage(ctx, modeData, e.build)
}

func (e *Envelope) build(_ context.Context, im *Image) error {
	forms := 0
	for _, set := range []bool{e.Kernel.IsSet() || e.Initrd.IsSet() || e.Cmdline.IsSet(), e.UKI.IsSet() || len(e.Addons) > 0, len(e.Images) > 0} {
		if set {
			forms++
		}
	}
	if forms != 1 {
		return fmt.Errorf("%w: parts of %d kinds of envelope, want one", ErrPart, forms)
	}
	var c chunks
	var err error
	switch {
	case len(e.Images) > 0:
		c, err = e.images(&im.in)
	case e.UKI.IsSet() || len(e.Addons) > 0:
		c, err = e.uki(&im.in)
	default:
		c, err = e.kernel(&im.in)
	}
	if err != nil {
		return err
	}
	im.setChunks(c)
	if im.size > maxImage {
		return fmt.Errorf("%w: envelope of 0x%x bytes, at most 4 GiB", ErrLimit, im.size)
	}
	return nil
}

// kernel makes the envelope of v7 of the kernel series: header, section table,
// then the kernel without padding.
func (e *Envelope) kernel(in *inputs) (chunks, error) {
	k, err := in.required("kernel", e.Kernel, MaxFile)
	if err != nil {
		return nil, err
	}
	initrd, err := in.bytes(e.Initrd, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("initrd: %w", err)
	}
	line, err := in.text(e.Cmdline)
	if err != nil {
		return nil, fmt.Errorf("command line: %w", err)
	}
	return elfFile(elfExec, elfAArch64, true, []elfPart{
		{name: ".kernel", data: k, flags: elfAlloc, align: 1},
		{name: ".initrd", data: initrd, flags: elfAlloc, align: 1},
		{name: ".cmdline", data: append(line, 0), flags: elfAlloc, align: 8},
	}), nil
}

func (e *Envelope) uki(in *inputs) (chunks, error) {
	if len(e.Addons) > maxAddons {
		return nil, fmt.Errorf("%w: %d addons, at most %d", ErrLimit, len(e.Addons), maxAddons)
	}
	u, err := in.required("UKI", e.UKI, MaxFile)
	if err != nil {
		return nil, err
	}
	parts := []elfPart{{name: ".uki", data: u}}
	for _, a := range e.Addons {
		b, err := in.required("addon", a, MaxFile)
		if err != nil {
			return nil, err
		}
		parts = append(parts, elfPart{name: ".addon", data: b})
	}
	for _, p := range parts {
		if !pe.Is(p.data) {
			return nil, fmt.Errorf("%w: %s is no PE image", ErrPart, p.name)
		}
	}
	return elfFile(elfRel, elfNone, false, parts), nil
}

func (e *Envelope) images(in *inputs) (chunks, error) {
	if len(e.Images) > maxImages {
		return nil, fmt.Errorf("%w: %d images, at most %d", ErrLimit, len(e.Images), maxImages)
	}
	var parts []elfPart
	for i, s := range e.Images {
		b, err := in.required("image", s.Content, MaxFile)
		if err != nil {
			return nil, err
		}
		if !pe.Is(b) {
			return nil, fmt.Errorf("%w: image %s is no PE image", ErrPart, s.Content)
		}
		parts = append(parts, elfPart{name: fmt.Sprintf(".pe.%d", i+1), data: b})
		if !s.IMA.IsSet() {
			continue
		}
		v, err := in.bytes(s.IMA, ima.MaxSize)
		if err != nil {
			return nil, fmt.Errorf("IMA value of image %s: %w", s.Content, err)
		}
		if _, err := ima.Parse(v); err != nil {
			return nil, fmt.Errorf("%w: IMA value of image %s: %w", ErrPart, s.Content, err)
		}
		parts = append(parts, elfPart{name: ".ima", data: v})
	}
	return elfFile(elfRel, elfNone, false, parts), nil
}
