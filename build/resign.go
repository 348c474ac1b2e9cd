// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/peelboot/peel/build/internal/files"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
)

// Resign describes what to do to the signatures of a PE image.
type Resign struct {
	Image Content
	// Drop takes all signatures off first; without it new ones follow them.
	Drop bool
}

// Build lays the image out. What FileOptions.Sign adds comes on top. The Image
// must be closed.
func (r *Resign) Build(ctx context.Context) (*Image, error) {
	return makeImage(ctx, modeProgram, r.build)
}

func (r *Resign) build(_ context.Context, im *Image) error {
	f, err := im.parsePE("image", r.Image)
	if err != nil {
		return err
	}
	keep := sign.Keep(sign.KeepAll)
	if r.Drop {
		keep = nil
	}
	a, err := sign.Attach(f, keep)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Image, err)
	}
	im.write, im.size = a, a.Size()
	im.check = checkPE
	return nil
}

// SignInner describes an image whose kernel inside is signed anew: that of a
// UKI, or of a zboot image, which is decompressed and compressed again.
type SignInner struct {
	Image Content
	Sign  []Signature
}

// Build lays the image out, without its own signatures. The Image must be
// closed.
func (s *SignInner) Build(ctx context.Context) (im *Image, err error) {
	err = files.Guard(func() error {
		var err error
		im, err = s.build(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return im, nil
}

func (s *SignInner) build(ctx context.Context) (im *Image, err error) {
	var in inputs
	defer func() { err = errors.Join(err, in.close()) }()
	raw, err := in.required("image", s.Image, maxImage)
	if err != nil {
		return nil, err
	}
	// Read once: opened again, the file could be another one, and the kernel
	// of one image would go into the other.
	whole := Content{data: raw, set: true, name: s.Image.String()}
	if zboot.Is(raw) {
		z, err := zboot.Parse(raw)
		if err != nil {
			return nil, err
		}
		m, err := decompress(z.Payload())
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrPart, s.Image, err)
		}
		kernel := m.Bytes()
		if f, err := pe.Parse(kernel); err == nil {
			kernel = f.Trimmed()
		}
		spec := &Zboot{Kernel: Bytes(kernel), SignKernel: s.Sign}
		if f, err := pe.Parse(raw); err == nil && f.EntryPoint != 0 {
			spec.From = whole
		} else {
			spec.Method = z.Method
		}
		// The payload is compressed by the time Build returns, and the
		// decompressor copied.
		im, err := spec.Build(ctx)
		return im, errors.Join(err, m.Close())
	}
	f, err := pe.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Image, err)
	}
	sec, ok := f.Find(uki.Linux)
	if !ok {
		return nil, fmt.Errorf("%w: %s is neither a UKI nor a zboot image", ErrPart, s.Image)
	}
	k, err := openKernel(f.Data(sec), s.Image.String()+"/"+uki.Linux, s.Sign, false)
	if err != nil {
		return nil, err
	}
	// A signed kernel is a copy of the whole kernel in one piece here.
	var b []byte
	for _, p := range k.data {
		b = append(b, p...)
	}
	if err := k.close(); err != nil {
		return nil, err
	}
	e := &Edit{Image: whole, Profile: uki.Base, Set: []NamedContent{{uki.Linux, Bytes(b)}}}
	if im, err = e.Build(ctx); err != nil {
		return nil, err
	}
	// The new image refers to the old one's bytes.
	im.in.list, in.list = append(im.in.list, in.list...), nil
	return im, nil
}
