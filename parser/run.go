// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"fmt"
	"math"

	"github.com/peelboot/peel/bpf"
)

// object is a program opened once for a decomposition.
type object struct {
	obj     *bpf.Object
	gen     Generation
	program string
}

// open reads a BPF object that came by the given carrier. One parser program
// must be in it.
func open(data []byte, from carrier) (*object, error) {
	obj, err := bpf.OpenObject(data, host(nil, GenPeel))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	gen, err := generationOf(obj, from)
	if err != nil {
		return nil, err
	}
	o := &object{obj: obj, gen: gen}
	for _, p := range obj.Programs {
		if p.AttachTo != "" && p.AttachTo != anchor {
			return nil, fmt.Errorf("%w: program %s hangs on %s, not on %s", ErrProgram, p.Name, p.AttachTo, anchor)
		}
		if o.program != "" {
			return nil, fmt.Errorf("%w: two programs, %s and %s", ErrProgram, o.program, p.Name)
		}
		o.program = p.Name
	}
	if o.program == "" {
		return nil, fmt.Errorf("%w: no program in the object", ErrProgram)
	}
	return o, nil
}

// execute runs a program on a layer. On success it returns the run, whose
// state is to be kept; on failure nothing of it remains.
func (d *decomposition) execute(ctx context.Context, o *object, l *layer) (r *run, err error) {
	gen := o.gen
	if d.opts.seriesOnly && gen == GenPeel {
		gen = GenLater
	}
	r = &run{ctx: ctx, d: d, layer: l, program: o.program, gen: gen, state: d.state.clone(), buffers: l.buffers, copied: map[*byte]uint64{}}
	copies, output := d.copies, d.output
	defer func() {
		if err != nil {
			// Copies and outputs of a failed program are dropped, so they
			// do not count any more.
			d.copies, d.output = copies, output
			for _, m := range r.memories {
				m.Close()
			}
		}
	}()
	m, err := o.obj.Link(host(r, gen), bpf.Options{
		Budget: bpf.Budget{Instructions: d.limits.Instructions, Memory: d.limits.Memory, Touched: d.limits.Touched},
		Trace: func(text string) {
			if d.opts.Print != nil {
				d.opts.Print(o.program, text)
			}
		},
	})
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	// What outlives the run was copied by then.
	defer m.Close()
	if err := r.show(m); err != nil {
		return r, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	args := make([]byte, 16)
	le.PutUint64(args, r.id)
	le.PutUint64(args[8:], r.id)
	at, err := m.Map("arguments", args, bpf.PermRead)
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	// The return value means nothing in this ABI.
	if _, err := m.Run(ctx, o.program, at); err != nil {
		return r, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	return r, r.verdict()
}

// show maps the context and the buffers into the program's view.
func (r *run) show(m *bpf.Machine) error {
	c := newContext(r.gen)
	opts := &r.d.opts
	if opts.Kdump {
		c.set("kdump", 0, 1)
	}
	if v := opts.Verifier; v != nil && !r.layer.verified {
		c.set("sig_mode", 0, uint64(v.Mode()))
	}
	if r.gen == GenV6 {
		if len(r.buffers[0]) > math.MaxInt32 {
			return fmt.Errorf("%w: image of 0x%x bytes, v6 has an int for its size", ErrLimit, len(r.buffers[0]))
		}
		if err := c.text(m, "kernel", 0, r.buffers[0]); err != nil {
			return err
		}
		return r.begin(m, c)
	}
	for i, b := range r.buffers {
		if err := c.text(m, "parsing_buf", i, b); err != nil {
			return err
		}
	}
	if r.gen == GenPeel {
		if err := r.showExtension(m, c); err != nil {
			return err
		}
	}
	return r.begin(m, c)
}

// showExtension fills in the fields of the peel extension.
func (r *run) showExtension(m *bpf.Machine, c contextBytes) error {
	opts := &r.d.opts
	c.set("peel_abi", 0, abiVersion)
	c.set("peel_addons", 0, uint64(r.layer.addons))
	c.set("peel_profile", 0, uint64(r.d.profile))
	if err := c.text(m, "peel_profile_id", 0, []byte(r.d.profileID)); err != nil {
		return err
	}
	var ids []byte
	for _, id := range opts.HWIDs {
		ids = append(ids, id[:]...)
	}
	if err := c.text(m, "peel_hwids", 0, ids); err != nil {
		return err
	}
	return c.text(m, "peel_compatible", 0, []byte(opts.Compatible))
}

// begin maps the context and makes the ids that the program gets.
func (r *run) begin(m *bpf.Machine, c contextBytes) error {
	addr, err := m.Map("kexec_context", c.b, bpf.PermRead)
	if err != nil {
		return err
	}
	r.id = addr
	r.handle, err = m.Map("bpf_parser_context", nil, 0)
	return err
}

// verdict says whether a program that ended by itself has succeeded.
func (r *run) verdict() error {
	switch {
	case r.failed != nil:
		return fmt.Errorf("%w: %s: %w", ErrProgram, r.program, r.failed)
	case r.refusal != nil:
		return r.refusal
	case r.gen == GenV6 && r.state.kernel == nil:
		return fmt.Errorf("%w: %s left the image as it was", ErrNoParser, r.program)
	case r.gen != GenV6 && !r.parsed:
		return fmt.Errorf("%w: %s ended without DONE", ErrNoParser, r.program)
	case r.state.kernel == nil:
		return fmt.Errorf("%w: %s said DONE without a kernel", ErrProgram, r.program)
	}
	return nil
}
