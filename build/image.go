// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/peelboot/peel/build/internal/files"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
)

// Image is an image that is ready to be written. Its files stay open until
// Close.
type Image struct {
	// Notes tell what the builder decided by itself or what a reader of the
	// image should know, a line each.
	Notes []string

	in   inputs
	size int64
	// write streams the image.
	write io.WriterTo
	// layout is set for PE images.
	layout *pe.Layout
	// check looks at the finished bytes before they become a file.
	check func(b []byte) error
	mode  os.FileMode
}

// makeImage calls the build of a description with an empty image, whose files it
// closes when that fails. The fault that a file causes when it shrinks
// meanwhile becomes ErrChanged.
func makeImage(ctx context.Context, mode os.FileMode, build func(context.Context, *Image) error) (*Image, error) {
	im := &Image{mode: mode}
	err := files.Guard(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return build(ctx, im)
	})
	if err != nil {
		return nil, errors.Join(err, im.Close())
	}
	return im, nil
}

// Permissions of images.
const (
	modeProgram = 0o755
	modeData    = 0o644
)

// setLayout makes l what is written.
func (im *Image) setLayout(l *pe.Layout) { im.layout, im.write, im.size = l, l, l.Size() }

// setChunks makes c what is written.
func (im *Image) setChunks(c chunks) { im.write, im.size = c, c.size() }

// checkPE is the check of images that only have to be PE images.
func checkPE(b []byte) error {
	_, err := pe.Parse(b)
	return err
}

// parsePE reads a finished image.
func (im *Image) parsePE(what string, c Content) (*pe.File, error) {
	raw, err := im.in.required(what, c, maxImage)
	if err != nil {
		return nil, err
	}
	f, err := pe.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return f, nil
}

// Size returns the size of the image in bytes, without a signature.
func (im *Image) Size() int64 { return im.size }

// Sections returns the sections of a PE image as they will stand in its table.
func (im *Image) Sections() []pe.Section {
	if im.layout == nil {
		return nil
	}
	return im.layout.Sections
}

// WriteTo streams the unsigned image to w. It fails with ErrChanged when a
// file was cut short meanwhile. Unlike WriteFile it cannot look at the result.
func (im *Image) WriteTo(w io.Writer) (n int64, err error) {
	err = files.Guard(func() error {
		n, err = im.write.WriteTo(w)
		return err
	})
	return n, err
}

// Close gives up the files that the image was made of.
func (im *Image) Close() error { return im.in.close() }

// Signature says how a file is to be signed.
type Signature struct {
	Key     sign.Key
	Options sign.Options
}

// FileOptions say how an image becomes a file.
type FileOptions struct {
	// Replace lets the file replace one that is there.
	Replace bool
	// Sign adds Authenticode signatures to a PE image, in order.
	Sign []Signature
	// Progress is called now and then with the number of bytes written and
	// their total. May be nil.
	Progress func(done, total int64)
}

// WriteFile writes the image to path, signs it and checks it with the readers
// of this module. The file appears whole, or not at all. What is signed are
// the bytes in the file, not those it was made from.
func (im *Image) WriteFile(ctx context.Context, path string, o FileOptions) (err error) {
	out, err := files.Create(path, im.mode, o.Replace)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	n, err := im.WriteTo(&meter{ctx: ctx, w: out, total: im.size, f: o.Progress})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if n != im.size {
		return fmt.Errorf("write %s: %w: 0x%x bytes instead of 0x%x", path, ErrChanged, n, im.size)
	}
	// From here on the file itself is read: one copy in memory is enough.
	if err := im.in.forget(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := im.finish(out, o.Sign); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return out.Commit()
}

// finish checks and signs what was written.
func (im *Image) finish(out *files.Output, sigs []Signature) error {
	for i := 0; ; i++ {
		done, err := im.finishOnce(out, sigs, i)
		if err != nil || done {
			return err
		}
	}
}

// finishOnce checks the file when i is 0 and makes signature number i.
func (im *Image) finishOnce(out *files.Output, sigs []Signature, i int) (done bool, err error) {
	in, err := out.Input(maxImage)
	if err != nil {
		return false, err
	}
	defer func() {
		if cerr := in.Close(); err == nil {
			err = cerr
		}
	}()
	if i == 0 && im.check != nil {
		if err := im.check(in.Bytes()); err != nil {
			return false, err
		}
	}
	if i == len(sigs) {
		return true, nil
	}
	f, err := pe.Parse(in.Bytes())
	if err != nil {
		return false, err
	}
	a, err := sign.PE(f, sigs[i].Key, sigs[i].Options, false)
	if err != nil {
		return false, err
	}
	head, at, tail := a.Patch()
	if _, err := out.WriteAt(tail, at); err != nil {
		return false, err
	}
	_, err = out.WriteAt(head, 0)
	return false, err
}

// meter passes writes on in pieces, counts them, and ends when its context
// does.
type meter struct {
	ctx         context.Context
	w           io.Writer
	done, total int64
	f           func(done, total int64)
}

func (m *meter) Write(b []byte) (int, error) {
	const piece = 4 << 20
	n := 0
	for len(b) > 0 {
		if err := m.ctx.Err(); err != nil {
			return n, err
		}
		k, err := m.w.Write(b[:min(len(b), piece)])
		n += k
		m.done += int64(k)
		if err != nil {
			return n, err
		}
		b = b[k:]
		if m.f != nil {
			m.f(m.done, m.total)
		}
	}
	return n, nil
}
