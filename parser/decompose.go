// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/parser/stock"
)

// decomposition is one call of Run.
type decomposition struct {
	opts      Options
	limits    Limits
	profile   uint32
	profileID string
	state     *state
	copies    uint64 // bytes left
	output    uint64 // bytes left
	operator  *Container
	stock     [][]byte
	opened    map[*byte]*object
	memories  []*sealed.Memory
	result    Result
	pending   []part // addons that no layer took yet
}

// layer is an image on its way through the programs.
type layer struct {
	depth    int
	origin   string
	image    []byte
	buffers  [][]byte
	owners   []owner // of buffers
	addons   int
	verified bool
}

// owner is the image that a buffer holds: its path, and whether it is one of
// Options.Addons.
type owner struct {
	path    string
	outside bool
}

// add gives the layer one more buffer.
func (l *layer) add(p part) {
	l.buffers = append(l.buffers, p.data)
	l.owners = append(l.owners, owner{p.name, p.outside})
}

// Decompose takes an image apart down to the kernel inside it. The parts are
// views of data and of what was decompressed; nothing of a failed attempt is
// returned.
//
// Errors: ErrNoParser if no program knows the format of a layer, ErrBroken if
// one does and the image is damaged, ErrProgram, ErrGeneration, ErrContainer,
// ErrVerification, ErrAddons, ErrLimit.
func Decompose(ctx context.Context, data []byte, opts Options) (*image.Payload, error) {
	r, err := Run(ctx, data, opts)
	if err != nil {
		return nil, err
	}
	return r.Payload, nil
}

// Run is Decompose with a report of what was done.
func Run(ctx context.Context, data []byte, opts Options) (*Result, error) {
	d := &decomposition{opts: opts, limits: opts.Limits.withDefaults(uint64(len(data))), state: &state{}, opened: map[*byte]*object{}}
	if d.opts.Name == "" {
		d.opts.Name = "image"
	}
	d.copies, d.output = d.limits.Copies, d.limits.Output
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	if err := d.chain(ctx, data); err != nil {
		for _, m := range d.memories {
			m.Close()
		}
		return nil, err
	}
	for _, m := range d.memories {
		d.opts.Keep(m) // there are none without Keep
	}
	return &d.result, nil
}

// prepare checks the options and opens the operator's container.
func (d *decomposition) prepare(ctx context.Context) error {
	if len(d.opts.Addons) > maxBuffers-1 {
		return fmt.Errorf("%w: %d addons, %d at most", ErrLimit, len(d.opts.Addons), maxBuffers-1)
	}
	if len(d.opts.HWIDs) > 32 {
		return fmt.Errorf("%w: %d hardware ids, 32 at most", ErrLimit, len(d.opts.HWIDs))
	}
	for _, a := range d.opts.Addons {
		d.pending = append(d.pending, part{name: a.Name, data: a.Data, outside: true})
	}
	d.profile = noProfile
	if p := d.opts.Profile; p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			d.profile = uint32(n)
		} else {
			d.profileID = p
		}
	}
	if !d.opts.NoStock {
		d.stock = d.opts.Stock
		if d.stock == nil {
			d.stock = stock.Objects()
		}
	}
	if d.opts.Programs == nil {
		return nil
	}
	c, err := programs(d.opts.Programs)
	if err != nil {
		return fmt.Errorf("parser container: %w", err)
	}
	if v := d.opts.Verifier; v != nil {
		if err := v.Programs(ctx, "parser container", c.Payload, c.Signature); err != nil {
			return fmt.Errorf("parser container: %w: %w", ErrVerification, err)
		}
	}
	d.operator = c
	return nil
}

// chain takes layer after layer apart until the kernel boots as it is.
func (d *decomposition) chain(ctx context.Context, data []byte) error {
	l := &layer{origin: d.opts.Name, image: data}
	l.add(part{name: l.origin, data: data})
	for {
		if l.depth > d.limits.Depth {
			return fmt.Errorf("%s: %w: nested more than %d deep", l.origin, ErrLimit, d.limits.Depth)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", l.origin, err)
		}
		if len(l.buffers[0]) == 0 {
			return fmt.Errorf("%s: %w: no bytes", l.origin, ErrNoParser)
		}
		if l.addons == 0 {
			// Those that nobody took yet are offered to each layer.
			for _, a := range d.pending {
				if len(l.buffers) < maxBuffers {
					l.add(a)
					l.addons++
				}
			}
		}
		r, src, err := d.peel(ctx, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l.origin, err)
		}
		d.state = r.state
		d.memories = append(d.memories, r.memories...)
		kind := image.Detect(l.image).Kind
		d.result.Layers = append(d.result.Layers, LayerReport{
			Origin: l.origin, Kind: kind, Size: uint64(len(l.image)),
			Program: r.program, Source: src, Generation: r.gen, Commands: r.commands,
		})
		d.opts.log().Debug("layer taken apart", "layer", l.origin, "kind", kind, "program", r.program, "source", src)
		if d.state.took {
			d.pending = nil
		}
		d.pending = append(d.pending, d.state.addons...)
		if d.state.final || bytes.Equal(d.state.kernel, l.image) {
			return d.finish(l, kind, r)
		}
		d.addLayer(l, kind, r.program)
		l = d.next(l, r)
	}
}

// same tells whether two slices are the same bytes in memory.
func same(a, b []byte) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

func (d *decomposition) addLayer(l *layer, kind image.Kind, program string) {
	if d.result.Payload == nil {
		d.result.Payload = &image.Payload{}
	}
	d.result.Payload.Layers = append(d.result.Payload.Layers, image.Layer{Kind: kind, Name: l.origin, Data: l.image, Parser: program})
}

// next makes the layer below: the kernel that was yielded, and what else the
// program put into the next stage's buffers.
func (d *decomposition) next(l *layer, r *run) *layer {
	n := &layer{depth: l.depth + 1, origin: r.state.origin, image: r.state.kernel, verified: l.verified || r.verified}
	n.add(part{name: n.origin, data: n.image, outside: r.state.outside})
	if len(r.state.addons) > 0 {
		for _, a := range r.state.addons {
			n.add(a)
		}
		n.addons = len(r.state.addons)
		return n
	}
	for _, p := range r.state.next {
		if !same(p.data, r.state.kernel) && len(n.buffers) < maxBuffers {
			n.add(p)
		}
	}
	return n
}

// peel takes one layer apart with the first program that can: the layer's own,
// the operator's, the stock ones.
func (d *decomposition) peel(ctx context.Context, l *layer) (*run, Source, error) {
	own, err := d.own(ctx, l)
	if err != nil {
		return nil, "", err
	}
	if own != nil {
		r, err := d.try(ctx, l, own.Programs, carrierPE)
		if err != nil {
			return nil, "", fmt.Errorf("own .bpf section: %w", err)
		}
		return r, SourceOwn, nil
	}
	var tried []error
	if d.operator != nil {
		r, err := d.try(ctx, l, d.operator.Programs, carrierContainer)
		if err == nil {
			d.operator = d.operator.Nested
			return r, SourceOperator, nil
		}
		// The operator chose these programs. That none of them knows the
		// format is no reason not to go on; that one failed is.
		if !errors.Is(err, ErrNoParser) {
			return nil, "", fmt.Errorf("operator's programs: %w", err)
		}
		tried = append(tried, err)
	}
	if len(d.stock) == 0 {
		return nil, "", errors.Join(append(tried, fmt.Errorf("%w: no stock programs to try", ErrNoParser))...)
	}
	r, err := d.try(ctx, l, d.stock, carrierContainer)
	if err == nil {
		return r, SourceStock, nil
	}
	return nil, "", errors.Join(append(tried, err)...)
}

// own returns the programs in the .bpf section of a PE image, or nil.
func (d *decomposition) own(ctx context.Context, l *layer) (*Container, error) {
	if d.opts.IgnoreOwn || !bytes.HasPrefix(l.image, []byte("MZ")) {
		return nil, nil
	}
	f, err := pe.Parse(l.image)
	if err != nil {
		return nil, nil // not a PE image that could be verified as one
	}
	s, ok := f.Find(".bpf")
	if !ok {
		return nil, nil
	}
	if v := d.opts.Verifier; v != nil && !l.verified {
		if err := v.Image(ctx, l.origin, l.image); err != nil {
			return nil, fmt.Errorf("own .bpf section: %w: %w", ErrVerification, err)
		}
	}
	c, err := programs(f.Data(s))
	if err != nil {
		return nil, fmt.Errorf("own .bpf section: %w", err)
	}
	return c, nil
}

// again tells whether another program may be asked after an error: not if one
// knew the format, a verification failed or a budget of the caller is used up.
func again(err error) bool {
	return !errIs(err, ErrBroken, ErrVerification, context.Canceled, context.DeadlineExceeded)
}

// try runs programs in order until one succeeds.
func (d *decomposition) try(ctx context.Context, l *layer, objects [][]byte, from carrier) (*run, error) {
	var failures []error
	for i, data := range objects {
		o, err := d.open(data, from)
		if err == nil {
			var r *run
			if r, err = d.execute(ctx, o, l); err == nil {
				return r, nil
			}
		}
		level := slog.LevelDebug
		if !errors.Is(err, ErrNoParser) {
			level = slog.LevelWarn // it failed, it did not just decline
		}
		d.opts.log().Log(ctx, level, "program did not take the layer apart", "layer", l.origin, "number", i+1, "err", err)
		if !again(err) {
			return nil, err
		}
		failures = append(failures, err)
	}
	return nil, worst(failures)
}

// worst picks what to tell: if all programs say that the format is another
// one, that; else the failures of those that did not.
func worst(failures []error) error {
	var hard []error
	names := ""
	for _, err := range failures {
		if !errors.Is(err, ErrNoParser) {
			hard = append(hard, err)
		}
		var r *Refusal
		if errors.As(err, &r) {
			names += " " + r.Program
		}
	}
	if len(hard) > 0 {
		return errors.Join(hard...)
	}
	if names != "" {
		return fmt.Errorf("%w: tried%s", ErrNoParser, names)
	}
	if len(failures) == 1 {
		return failures[0]
	}
	return fmt.Errorf("%w: %d programs tried", ErrNoParser, len(failures))
}

// open opens an object once per decomposition and carrier.
func (d *decomposition) open(data []byte, from carrier) (*object, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: empty object", ErrProgram)
	}
	if from == carrierPE {
		return open(data, from)
	}
	if o := d.opened[&data[0]]; o != nil {
		return o, nil
	}
	o, err := open(data, from)
	if err == nil {
		d.opened[&data[0]] = o
	}
	return o, err
}

func (d *decomposition) takeCopy(n uint64) error {
	if n > d.copies {
		return fmt.Errorf("%w: copy of 0x%x bytes, 0x%x of 0x%x left", ErrLimit, n, d.copies, d.limits.Copies)
	}
	d.copies -= n
	return nil
}

// finish makes the payload of a kernel that boots as it is.
func (d *decomposition) finish(l *layer, kind image.Kind, r *run) error {
	if len(d.pending) > 0 {
		return fmt.Errorf("%w: %d given, the first is %s", ErrAddons, len(d.pending), d.pending[0].name)
	}
	s := d.state
	info := image.Detect(s.kernel)
	if info.Err != nil {
		return fmt.Errorf("%s: %w: %w", l.origin, ErrBroken, info.Err)
	}
	if !s.final && info.Kind != image.KindBzImage && info.Kind != image.KindImage && info.Kind != image.KindVmlinux {
		// A program that just hands on what it was given.
		return fmt.Errorf("%s: %w: %s yields the image as it was, which is no kernel", l.origin, ErrProgram, r.program)
	}
	d.addLayer(l, kind, r.program)
	p := d.result.Payload
	name := l.origin
	if i := bytes.LastIndexByte([]byte(name), '/'); i >= 0 {
		name = name[i+1:]
	}
	p.Arch = info.Arch
	p.Kernel = image.Part{Name: name, Data: s.kernel, Origin: l.origin, Outside: s.outside}
	p.Microcode, p.Initrds = s.ucode, s.initrds
	p.Cmdline, p.CmdlineParts = s.cmdline(), s.cmdlines
	p.DTB, p.DTBOverlays = s.dtb, s.overlays
	d.result.Extra = s.extra
	return nil
}
