// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"

	"github.com/peelboot/peel/bpf"
)

// maxBuffers is how many buffers a context has (parsing_buf[16]).
const maxBuffers = 16

// abiVersion is the value of the context field peel_abi.
const abiVersion = 1

// noProfile is the value of the context field peel_profile when no number was
// asked for.
const noProfile = ^uint32(0)

// contextType lays out struct kexec_context as programs of a generation see
// it. For v6 that is the posted structure: its sizes are ints. For all others
// it is the structure of the series' later branch with its offsets, which has
// v7's fields among its own; programs find them by name. Those of the extension
// follow for programs that know it.
func contextType(g Generation) *bpf.Type {
	chars := bpf.PointerTo(bpf.Char())
	if g == GenV6 {
		return bpf.StructOf("kexec_context",
			bpf.Field{Name: "kdump", Type: bpf.Bool()},
			bpf.Field{Name: "kernel", Type: chars}, bpf.Field{Name: "kernel_sz", Type: bpf.S32()},
			bpf.Field{Name: "initrd", Type: chars}, bpf.Field{Name: "initrd_sz", Type: bpf.S32()},
			bpf.Field{Name: "cmdline", Type: chars}, bpf.Field{Name: "cmdline_sz", Type: bpf.S32()})
	}
	sig := bpf.EnumOf("kexec_sig_enforced",
		bpf.EnumValue{Name: "KEXEC_SIG_NONE", Value: uint64(SigNone)},
		bpf.EnumValue{Name: "KEXEC_SIG_SIG", Value: uint64(SigPE)},
		bpf.EnumValue{Name: "KEXEC_SIG_IMA", Value: uint64(SigIMA)})
	text := func(name string) []bpf.Field {
		return []bpf.Field{{Name: name, Type: chars}, {Name: name + "_sz", Type: bpf.U64()}}
	}
	fields := []bpf.Field{
		{Name: "kdump", Type: bpf.Bool()},
		{Name: "parsed", Type: bpf.Bool()},
		{Name: "sig_mode", Type: sig},
		{Name: "parsing_buf", Type: bpf.ArrayOf(maxBuffers, chars)},
		{Name: "parsing_buf_sz", Type: bpf.ArrayOf(maxBuffers, bpf.U64())},
		{Name: "next_parsing_buf", Type: bpf.ArrayOf(maxBuffers, chars)},
		{Name: "next_parsing_buf_sz", Type: bpf.ArrayOf(maxBuffers, bpf.U64())},
	}
	fields = append(fields, text("kernel")...)
	fields = append(fields, text("initrd")...)
	fields = append(fields, text("cmdline")...)
	if g != GenPeel {
		return bpf.StructOf("kexec_context", fields...)
	}
	fields = append(fields,
		bpf.Field{Name: "peel_abi", Type: bpf.U32()},
		bpf.Field{Name: "peel_addons", Type: bpf.U32()},
		bpf.Field{Name: "peel_profile", Type: bpf.U32()})
	fields = append(fields, text("peel_profile_id")...)
	fields = append(fields, text("peel_hwids")...)
	fields = append(fields, text("peel_compatible")...)
	return bpf.StructOf("kexec_context", fields...)
}

// contextFields are the names that contextType has. A program that wants
// another one was made for an ABI that this host does not know.
func contextFields() map[string]bool {
	names := map[string]bool{}
	for _, m := range contextType(GenPeel).Members {
		names[m.Name] = true
	}
	return names
}

// contextBytes is a kexec_context to be filled in and shown to a program.
type contextBytes struct {
	typ *bpf.Type
	b   []byte
}

func newContext(g Generation) contextBytes {
	t := contextType(g)
	return contextBytes{t, make([]byte, t.Size)}
}

// set stores v, little endian, in element i of a field.
func (c contextBytes) set(field string, i int, v uint64) {
	off, size, ok := c.typ.Field(field)
	if !ok {
		return
	}
	switch {
	case size == 1:
		c.b[off] = byte(v)
	case size == 4:
		le.PutUint32(c.b[off:], uint32(v))
	default:
		le.PutUint64(c.b[int(off)+8*i:], v)
	}
}

// text maps b for the program and stores its address and size.
func (c contextBytes) text(m *bpf.Machine, field string, i int, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	addr, err := m.Map(fmt.Sprintf("%s[%d]", field, i), b, bpf.PermRead)
	if err != nil {
		return err
	}
	c.set(field, i, addr)
	c.set(field+"_sz", i, uint64(len(b)))
	return nil
}
