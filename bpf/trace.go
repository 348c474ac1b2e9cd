// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// maxTrace bounds one printed message in bytes.
const maxTrace = 1024

// tracePrintk is bpf_trace_printk(fmt, fmt_size, ...): up to three values.
func tracePrintk(m *Machine, a [5]uint64) (uint64, error) {
	format, err := m.View(a[0], uint64(uint32(a[1])))
	if err != nil {
		return 0, err
	}
	return m.trace(format, a[2:5])
}

// traceVprintk is bpf_trace_vprintk(fmt, fmt_size, data, data_len): values as
// an array of 64-bit words.
func traceVprintk(m *Machine, a [5]uint64) (uint64, error) {
	const most = 12 * 8 // MAX_BPRINTF_VARARGS
	format, err := m.View(a[0], uint64(uint32(a[1])))
	if err != nil {
		return 0, err
	}
	n := uint64(uint32(a[3]))
	if n > most || n%8 != 0 {
		return errno(einval), nil
	}
	data, err := m.View(a[2], n)
	if err != nil {
		return 0, err
	}
	values := make([]uint64, n/8)
	for i := range values {
		values[i] = binary.LittleEndian.Uint64(data[8*i:])
	}
	return m.trace(format, values)
}

func (m *Machine) trace(format []byte, values []uint64) (uint64, error) {
	if err := m.Charge(64); err != nil {
		return 0, err
	}
	text, ok := m.format(format, values)
	if !ok {
		return errno(einval), nil
	}
	if m.opts.Trace != nil {
		m.opts.Trace(strings.TrimRight(text, "\n"))
	}
	return uint64(len(text)), nil
}

// format knows what bpf_trace_printk knows: %d %i %u %x %o %c %s %p with the
// length modifiers l, ll and h, field widths, zero padding and %%.
func (m *Machine) format(f []byte, values []uint64) (string, bool) {
	var b strings.Builder
	next := func() (uint64, bool) {
		if len(values) == 0 {
			return 0, false
		}
		v := values[0]
		values = values[1:]
		return v, true
	}
	for i := 0; i < len(f) && f[i] != 0 && b.Len() < maxTrace; i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		i++
		var flags strings.Builder
		for i < len(f) && strings.IndexByte("-+ #0123456789.", f[i]) >= 0 && flags.Len() < 8 {
			flags.WriteByte(f[i])
			i++
		}
		width := 4
		for i < len(f) && strings.IndexByte("lhzjt", f[i]) >= 0 {
			switch f[i] {
			case 'h':
				width /= 2
			default:
				width = 8
			}
			i++
		}
		if i >= len(f) {
			return "", false
		}
		if f[i] == '%' {
			b.WriteByte('%')
			continue
		}
		v, ok := next()
		if !ok {
			return "", false
		}
		if !m.verb(&b, f, &i, flags.String(), width, v) {
			return "", false
		}
	}
	s := b.String()
	if len(s) > maxTrace {
		s = s[:maxTrace]
	}
	return s, true
}

// verb writes one value and moves i to the last byte of its verb.
func (m *Machine) verb(b *strings.Builder, f []byte, i *int, flags string, width int, v uint64) bool {
	if len(flags) > 0 {
		// Widths beyond two digits only waste memory.
		if w := strings.TrimLeft(flags, "-+ #0"); len(w) > 2 {
			return false
		}
	}
	if width == 0 {
		width = 1
	}
	shift := 64 - 8*uint(width)
	switch f[*i] {
	case 'd', 'i':
		fmt.Fprintf(b, "%"+flags+"d", int64(v<<shift)>>shift)
	case 'u':
		fmt.Fprintf(b, "%"+flags+"d", v<<shift>>shift)
	case 'x', 'X', 'o':
		fmt.Fprintf(b, "%"+flags+string(f[*i]), v<<shift>>shift)
	case 'c':
		b.WriteByte(byte(v))
	case 's':
		s, err := m.CString(v, maxTrace)
		if err != nil {
			s = ""
		}
		b.WriteString(s)
	case 'p':
		// %pK, %px, %ps, %pB and the like.
		for *i+1 < len(f) && strings.IndexByte("KxsSB", f[*i+1]) >= 0 {
			*i++
		}
		b.WriteString(m.Describe(v))
	default:
		return false
	}
	return true
}
