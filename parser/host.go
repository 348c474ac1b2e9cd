// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/peelboot/peel/bpf"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/internal/sealed"
)

// The kernel function that parsers hang on, and the three that they call.
const (
	anchor        = "kexec_image_parser_anchor"
	kfuncGet      = "bpf_get_parser_context"
	kfuncPut      = "bpf_put_parser_context"
	kfuncBuffer   = "bpf_buffer_parser"
	maxBufferSize = 1<<31 - 1 // buf_sz is an int
)

// run is one run of one program: the context it was given and what it did.
type run struct {
	ctx     context.Context
	d       *decomposition
	layer   *layer
	program string
	gen     Generation

	id      uint64 // parser_id, which is the context's address to the program
	handle  uint64 // struct bpf_parser_context *, nothing can be read there
	busy    bool
	buffers [][]byte

	state    *state
	parsed   bool
	commands int
	refusal  *Refusal
	// failed is the first error of a command that should have worked. A
	// program cannot make up for it.
	failed   error
	verified bool
	memories []*sealed.Memory
	// copied holds the sizes of parts that were handed over by value.
	copied map[*byte]uint64
}

// host makes the surroundings of programs. r is nil where an object is only
// opened; the functions are not called then.
func host(r *run, g Generation) *bpf.Host {
	return &bpf.Host{
		Hooks: []string{anchor},
		Types: []*bpf.Type{contextType(g)},
		Kfuncs: map[string]bpf.Kfunc{
			kfuncGet:    {Func: r.get, Acquire: true},
			kfuncPut:    {Func: r.put, Release: 1},
			kfuncBuffer: {Func: r.buffer, Held: 3},
		},
	}
}

func (r *run) get(_ *bpf.Machine, a [5]uint64) (uint64, error) {
	if r == nil || a[0] != r.id {
		return 0, nil
	}
	return r.handle, nil
}

func (r *run) put(*bpf.Machine, [5]uint64) (uint64, error) { return 0, nil }

// buffer is bpf_buffer_parser(buf, buf_sz, ctx). The header is copied before
// it is looked at. The payload is not: the program stands still until the
// command is done, and what outlives the command is copied then.
func (r *run) buffer(m *bpf.Machine, a [5]uint64) (uint64, error) {
	answer := func(n int) (uint64, error) { return uint64(int64(n)), nil }
	size := int32(a[1])
	if r == nil || a[0] == 0 || size <= 0 {
		return answer(eInval)
	}
	if r.busy {
		return answer(eBusy)
	}
	r.busy = true
	defer func() { r.busy = false }()
	if r.commands++; r.commands > r.d.limits.Commands {
		return 0, fmt.Errorf("%w: more than %d commands", ErrLimit, r.d.limits.Commands)
	}
	// The whole buffer must be the program's, but only the command in it is
	// looked at: a program of the series may pass a record of 100 MiB.
	if m.Check(a[0], uint64(size)) != nil {
		return answer(eFault)
	}
	buf, err := m.View(a[0], min(uint64(size), uint64(r.gen.HeaderSize())))
	if err == nil {
		buf, err = m.View(a[0], min(uint64(size), messageSize(r.gen, buf)))
	}
	if err != nil {
		return answer(eFault)
	}
	c := Command{Layer: r.layer.depth, Origin: r.layer.origin, Program: r.program, Generation: r.gen}
	msg, err := decodeCommand(r.gen, buf)
	c.Op, c.Sub = msg.op, msg.sub
	c.Fill = msg.flags&FlagFill != 0
	c.Name = commandName(msg)
	if err == nil {
		err = r.carryOut(msg, &c)
	}
	c.Result, c.Err = r.result(msg, err)
	if r.d.opts.Trace != nil {
		r.d.opts.Trace(c)
	}
	return answer(c.Result)
}

// errEmptyPart is a command whose payload is empty though it must not be. A
// program may live with that answer.
var errEmptyPart = fmt.Errorf("%w: empty payload", ErrCommand)

// result translates an error for the program, and notes those that make its
// result void.
func (r *run) result(msg message, err error) (int, string) {
	if err == nil {
		return 0, ""
	}
	n := eInval
	switch {
	case errors.Is(err, ErrVerification):
		n = eKeyRejected
	case errIs(err, ErrLimit, inflate.ErrLimit, inflate.ErrDictionary):
		n = eNoMem
	}
	_, known := opNames[msg.op&^OpRef]
	if msg.op > OpRef {
		_, own := opNames[msg.op]
		known = known || own
	}
	if r.failed == nil && known && err != errEmptyPart {
		r.failed = fmt.Errorf("%s/%s: %w", msg.op, msg.sub, err)
	}
	return n, err.Error()
}

// carryOut does what a command asks for.
func (r *run) carryOut(msg message, c *Command) error {
	data, isRef, from := msg.payload, false, r.layer.owners[0]
	op := msg.op
	switch op {
	case OpDecompress | OpRef, OpCopy | OpRef, OpVerifySig | OpRef, OpVerifyIMA:
		if r.gen != GenPeel {
			return fmt.Errorf("%w: %s from a program of %s", ErrCommand, op, r.gen)
		}
		ref, err := decodeRef(data)
		if err != nil {
			return err
		}
		c.Ref = &ref
		if data, err = ref.resolve(r.buffers); err != nil {
			return err
		}
		isRef, from = true, r.layer.owners[ref.Buffer]
		if op != OpVerifyIMA {
			op &^= OpRef
		}
	}
	c.Size = uint64(len(data))
	if r.d.opts.Trace != nil && len(data) > 0 {
		c.SHA256 = digest(data)
		// Hashing is work done for the program's sake only when tracing,
		// so it is not charged.
	}
	switch op {
	case OpDone:
		r.parsed = true
		return nil
	case OpDecompress:
		return r.decompress(msg, data, from, c)
	case OpCopy:
		return r.copyPart(msg, data, isRef, from)
	case OpVerifySig:
		return r.verify(func(v Verifier) error { return v.Image(r.ctx, r.layer.origin, data) })
	case OpVerifyIMA:
		sig, err := decodeRef(msg.payload[refSize:])
		if err != nil {
			return err
		}
		xattr, err := sig.resolve(r.buffers)
		if err != nil {
			return err
		}
		return r.verify(func(v Verifier) error { return v.IMA(r.ctx, r.layer.origin, data, xattr) })
	case OpRefuse:
		return r.refuse(msg)
	case OpTakeAddons:
		if r.gen != GenPeel {
			return fmt.Errorf("%w: %s from a program of %s", ErrCommand, op, r.gen)
		}
		r.state.took = true
		return nil
	}
	return fmt.Errorf("%w: %s", ErrCommand, op)
}

// verify asks the Verifier. Whatever the program makes of the answer, a
// refusal voids its result.
func (r *run) verify(ask func(Verifier) error) error {
	v := r.d.opts.Verifier
	if v == nil {
		return fmt.Errorf("%w: the program demands it and nobody is there to do it", ErrVerification)
	}
	if err := ask(v); err != nil {
		return fmt.Errorf("%w: %w", ErrVerification, err)
	}
	r.verified = true
	return nil
}

// maxRefusalText bounds the text of a refusal in bytes.
const maxRefusalText = 256

// refuse notes why the program gives up: u64 offset, u64 size, text.
func (r *run) refuse(msg message) error {
	if r.gen != GenPeel || len(msg.payload) < 16 || (msg.sub != refuseFormat && msg.sub != refuseBroken) {
		return fmt.Errorf("%w: %s/%s of %d bytes from a program of %s", ErrCommand, msg.op, msg.sub, len(msg.payload), r.gen)
	}
	text, _, _ := bytes.Cut(msg.payload[16:min(len(msg.payload), 16+maxRefusalText)], []byte{0})
	if r.refusal == nil {
		r.refusal = &Refusal{
			Program: r.program,
			Broken:  msg.sub == refuseBroken,
			Offset:  le.Uint64(msg.payload),
			Size:    le.Uint64(msg.payload[8:]),
			Text:    printable(text),
		}
	}
	return nil
}

// printable replaces what a terminal might act on.
func printable(b []byte) string {
	return string(bytes.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, b))
}

// copyPart is COPY: by value the bytes are copied, for the program may reuse
// its buffer; by reference they are a view of a buffer, and belong to the image
// in it.
func (r *run) copyPart(msg message, data []byte, isRef bool, from owner) error {
	if partName(msg.sub) == "" || (msg.sub >= SubInitrdAdd && r.gen != GenPeel) {
		return fmt.Errorf("%w: %s/%s from a program of %s", ErrCommand, msg.op, msg.sub, r.gen)
	}
	if len(data) == 0 {
		if msg.sub == SubInitrd || msg.sub == SubInitrdAdd {
			return nil // success, and nothing is set
		}
		if msg.sub == SubKernel {
			return fmt.Errorf("%w: empty kernel", ErrCommand)
		}
		return errEmptyPart
	}
	if !isRef {
		// What the part takes the place of counts no more.
		r.giveBack(msg.sub)
		if err := r.d.takeCopy(uint64(len(data))); err != nil {
			return err
		}
		data = bytes.Clone(data)
		r.copied[&data[0]] = uint64(len(data))
	}
	return r.store(msg, data, partName(msg.sub), from)
}

// giveBack returns to the budget what copies of this run a command is about to
// replace, as long as nothing else refers to them.
func (r *run) giveBack(sub Sub) {
	var old []image.Part
	switch sub {
	case SubInitrd:
		old = r.state.initrds
	case SubCmdline:
		old = r.state.cmdlines
	}
	for _, p := range old {
		if len(p.Data) > 0 {
			r.d.copies += r.copied[&p.Data[0]]
			delete(r.copied, &p.Data[0])
		}
	}
}

// store puts a part into the state and, with FILL, among the next buffers.
func (r *run) store(msg message, data []byte, name string, from owner) error {
	p := image.Part{Name: name, Data: data, Origin: from.path + "/" + name, Outside: from.outside}
	if msg.flags&FlagFill != 0 && msg.sub != SubAddon {
		if len(r.state.next) >= maxBuffers {
			return fmt.Errorf("%w: more than %d buffers for the next stage", ErrLimit, maxBuffers)
		}
		r.state.next = append(r.state.next, part{p.Origin, data, p.Outside})
	}
	if len(r.state.addons) >= maxBuffers-1 && msg.sub == SubAddon {
		return fmt.Errorf("%w: more than %d addons", ErrLimit, maxBuffers-1)
	}
	if !r.state.put(msg.sub, msg.flags, p) {
		return fmt.Errorf("%w: %s/%s", ErrCommand, msg.op, msg.sub)
	}
	return nil
}

// decompress is DECOMPRESS/KERNEL: the method is told by the data's magic.
func (r *run) decompress(msg message, data []byte, from owner, c *Command) error {
	if msg.sub != SubKernel {
		return fmt.Errorf("%w: %s/%s", ErrCommand, msg.op, msg.sub)
	}
	method := inflate.Detect(data)
	if method == inflate.None {
		return fmt.Errorf("%w: no compression known by the bytes % x", ErrCommand, data[:min(len(data), 8)])
	}
	limit := min(r.d.limits.Kernel, r.d.output)
	if limit == 0 {
		return fmt.Errorf("%w: nothing left of 0x%x bytes of output", ErrLimit, r.d.limits.Output)
	}
	out, err := r.inflate(method, data, limit)
	if err != nil {
		return err
	}
	r.d.output -= uint64(len(out))
	c.Output = uint64(len(out))
	if r.d.opts.Trace != nil {
		c.OutputSHA256 = digest(out)
	}
	return r.store(msg, out, "payload", from)
}

// inflate decompresses data into at most limit bytes: sealed memory if the
// caller keeps such, else the heap.
func (r *run) inflate(method inflate.Method, data []byte, limit uint64) ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	buf, err := sealed.NewBuffer(r.layer.origin+"/payload", int64(limit))
	if err != nil {
		return nil, err
	}
	buf.Expect(int64(inflate.ExpectedSize(method, data)))
	// The series' own zboot parsers leave out the last four bytes of the
	// payload, for gzip the size of the output, which can be done without.
	opts := inflate.Options{AllowMissingSize: method == inflate.Gzip && r.gen != GenPeel}
	res, err := opts.Decompress(method, buf.Bytes(), data)
	if err == nil && res.Written == 0 {
		err = fmt.Errorf("%w: %s yields an empty kernel", ErrCommand, method)
	}
	if err != nil {
		buf.Close()
		if r.gen != GenPeel && errors.Is(err, inflate.ErrTruncated) {
			err = fmt.Errorf("%w (a parser that takes the size behind a zboot payload for part of it cuts off four bytes of data)", err)
		}
		return nil, err
	}
	if r.d.opts.Keep == nil {
		out := bytes.Clone(buf.Bytes()[:res.Written])
		return out, buf.Close()
	}
	mem, err := buf.Seal(int64(res.Written))
	if err != nil {
		return nil, err
	}
	r.memories = append(r.memories, mem)
	return mem.Bytes(), nil
}
