// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/trust"
)

// DefaultLimit is the largest file that Open reads unless told otherwise, in
// bytes.
const DefaultLimit = 4 << 30

// Options say how an image is to be opened, judged and taken apart.
type Options struct {
	// Verifier holds keys and policy. Nil means the default policy without
	// any key, under which nothing may boot: whoever wants less says so.
	Verifier *trust.Verifier
	// Sidecars are detached signatures that came with the image.
	Sidecars []trust.Sidecar
	// IMA is the image's security.ima attribute, if it has one.
	IMA []byte
	// Beside makes Open look for signatures itself: path.sig and path.p7s
	// (CMS, or the value of a security.ima attribute as evmctl writes it)
	// and the attribute security.ima of the file.
	Beside bool
	// Limit is the largest file in bytes; DefaultLimit if zero.
	Limit int64
	// Programs is a container of parser programs from the operator. It goes
	// before the stock programs, and is verified before it runs.
	Programs []byte
	// Profile chooses a profile of the image by number or ID; empty means
	// the default one.
	Profile string
	// HWIDs are the machine's hardware ids, as EFI_GUIDs, for images that
	// choose a device tree by them.
	HWIDs [][16]byte
	// Compatible is the machine's own device tree's first compatible text.
	Compatible string
	// Volume is where the volume that the image lies on is mounted, for thin
	// images, which name files there. If empty, beside.RootOf guesses it.
	Volume string
	// Crash tells parser programs that the kernel is for a crash.
	Crash bool
	// Limits bound the decomposition; zero fields mean the defaults.
	Limits parser.Limits
	// Trace is called for each command of a parser program.
	Trace func(parser.Command)
	// Logger is told the steps; nil is silent.
	Logger *slog.Logger
}

// Image is a boot image that was read once. It is not safe for concurrent
// use.
type Image struct {
	mem  *sealed.Memory
	name string
	path string
	info image.Info
	opts Options
	// report is made by the first Verify and holds the outermost layer.
	report  *trust.Report
	refused error
}

// Open reads the image at path, "-" for standard input, into sealed memory.
// It does not judge it: a text file opens as well. It fails with errors of
// the file system, and when the file is larger than Options.Limit.
func Open(path string, o Options) (*Image, error) {
	if path == "-" {
		return Read(os.Stdin, path, o)
	}
	mem, found, err := open(path, o.limit(), o.Beside)
	if err != nil {
		return nil, err
	}
	o.Sidecars = append(o.Sidecars, found.sidecars...)
	if o.IMA == nil {
		o.IMA = found.ima
	}
	return newImage(mem, path, o), nil
}

// OpenFile reads the image from an open file; name is used in reports.
func OpenFile(f *os.File, name string, o Options) (*Image, error) {
	mem, err := sealed.OpenFile(f, name, o.limit())
	if err != nil {
		return nil, err
	}
	return newImage(mem, name, o), nil
}

// Read reads the image from r; name is used in reports.
func Read(r io.Reader, name string, o Options) (*Image, error) {
	mem, err := sealed.ReadAll(r, name, o.limit())
	if err != nil {
		return nil, err
	}
	return newImage(mem, name, o), nil
}

func (o *Options) limit() int64 {
	if o.Limit > 0 {
		return o.Limit
	}
	return DefaultLimit
}

func newImage(mem *sealed.Memory, path string, o Options) *Image {
	name := filepath.Base(path)
	if path == "-" || path == "" {
		name = "image"
	}
	if o.Verifier == nil {
		o.Verifier = &trust.Verifier{Policy: trust.DefaultPolicy()}
	}
	return &Image{mem: mem, name: name, path: path, info: image.Detect(mem.Bytes()), opts: o}
}

// Name returns the base name of the image, which begins every Origin.
func (im *Image) Name() string { return im.name }

// Bytes returns the whole image. It is valid until Close.
func (im *Image) Bytes() []byte { return im.mem.Bytes() }

// Info says what the image is.
func (im *Image) Info() image.Info { return im.info }

// Close gives the memory back. Nothing that refers to the image's bytes, such
// as a Payload, may be used afterwards.
func (im *Image) Close() error { return im.mem.Close() }

// Verify judges the image as a whole. The report is complete also when the
// image is refused; the error wraps trust.ErrRefused then. What is no boot
// image is refused with ErrNotImage instead, whatever the policy.
//
// Firmware hashes the sections of a PE image and skips what lies between them,
// where linkers leave symbols. When such bytes are all that stands in the way
// of a good signature, the image goes on with zeros in their place: nothing
// that no signature covers is ever parsed. Bytes returns the new contents from
// then on.
func (im *Image) Verify() (*trust.Report, error) {
	if err := im.Check(); err != nil {
		return nil, err
	}
	if im.report != nil {
		return im.report, im.refused
	}
	im.report, im.refused = im.opts.Verifier.Verify(im.object())
	if l := &im.report.Layers[0]; errors.Is(l.Err(), trust.ErrUncovered) {
		if err := im.clear(); err != nil {
			return im.report, fmt.Errorf("%s: %w", im.name, err)
		}
		im.report, im.refused = im.opts.Verifier.Verify(im.object())
		l = &im.report.Layers[0]
		l.Notes = append(l.Notes, "bytes between sections, which the signature does not cover, are read as zeros")
	}
	return im.report, im.refused
}

// clear replaces the image by a copy in which zeros stand for what its
// Authenticode digest does not cover.
func (im *Image) clear() error {
	parts := im.info.PE.Cleared()
	mem, err := sealed.Concat(im.mem.Name(), 1, parts...)
	if err != nil {
		return err
	}
	im.mem.Close()
	im.mem, im.info = mem, image.Detect(mem.Bytes())
	return nil
}

func (im *Image) object() trust.Object {
	return trust.Object{
		Name:     im.name,
		Role:     trust.RoleImage,
		Kind:     im.info.Kind,
		Data:     im.mem.Bytes(),
		Sidecars: im.opts.Sidecars,
		IMA:      im.opts.IMA,
	}
}

// Decomposition is what a Payload was made of, for those who ask how.
type Decomposition struct {
	Payload *image.Payload
	// Layers tell which program took which layer apart.
	Layers []parser.LayerReport
	// Extra holds the parts that do not boot, such as .osrel.
	Extra []image.Part

	memory []*sealed.Memory
}

// Close gives back the memory of what was decompressed. The Payload must not
// be used afterwards.
func (d *Decomposition) Close() error {
	for _, m := range d.memory {
		m.Close()
	}
	d.memory = nil
	return nil
}

// Decompose verifies the image and then takes it apart, layer by layer, by
// parser programs: the layer's own, the operator's, the stock ones. It
// returns the error of Verify without running a program when the image is
// refused, and errors of package parser.
//
// Files that a thin image names are read from its volume.
func (im *Image) Decompose(ctx context.Context) (*Decomposition, error) {
	return im.decompose(ctx, nil)
}

// decompose is Decompose with addons that were judged.
func (im *Image) decompose(ctx context.Context, addons []parser.Addon) (*Decomposition, error) {
	if _, err := im.Verify(); err != nil {
		return nil, err
	}
	d := &Decomposition{}
	o := im.opts
	v := verifier{im: im}
	for _, a := range addons {
		v.judged = append(v.judged, a.Data)
	}
	po := parser.Options{
		Addons:     addons,
		Name:       im.name,
		Programs:   o.Programs,
		Profile:    o.Profile,
		HWIDs:      o.HWIDs,
		Compatible: o.Compatible,
		Kdump:      o.Crash,
		Verifier:   v,
		Limits:     o.Limits,
		Keep:       func(m *sealed.Memory) { d.memory = append(d.memory, m) },
		Trace:      o.Trace,
		Logger:     o.Logger,
	}
	var res *parser.Result
	var err error
	if im.info.Kind == image.KindThin {
		res, err = im.runThin(ctx, d, po)
	} else {
		res, err = parser.Run(ctx, im.mem.Bytes(), po)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	d.Payload, d.Layers, d.Extra = res.Payload, res.Layers, res.Extra
	return d, nil
}
