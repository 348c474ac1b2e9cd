// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// progLoad takes a program from a BPF_PROG_LOAD attribute. Offsets are those
// of union bpf_attr in include/uapi/linux/bpf.h.
func (k *kernel) progLoad(m *Machine, a attr) (uint64, error) {
	if len(k.object.Programs) == MaxPrograms {
		return 0, fmt.Errorf("more than %d programs: %w", MaxPrograms, ErrLimit)
	}
	n := uint64(a.u32(4))
	if k.slots += int(min(n, maxObjectSlots+1)); n > MaxInstructions || k.slots > maxObjectSlots {
		return 0, fmt.Errorf("program of %d instructions: %w", n, ErrLimit)
	}
	insns, err := m.View(a.u64(8), n*slotBytes)
	if err != nil {
		return 0, fmt.Errorf("instructions: %w", err)
	}
	if err := m.chargeBytes(16 * n * slotBytes); err != nil {
		return 0, err
	}
	p := &Program{
		Name: a.name(48), Type: a.u32(0), AttachType: a.u32(68), Flags: a.u32(44),
		insns: slices.Clone(insns), btf: k.object.BTF,
	}
	license, err := m.CString(a.u64(16), 128)
	if err != nil {
		return 0, fmt.Errorf("license: %w", err)
	}
	k.object.License = license
	if id := a.u32(108); id != 0 {
		name, ok := k.nameOf(id)
		if !ok {
			return 0, fmt.Errorf("attach to BTF id %d: %w", id, ErrRelocation)
		}
		p.AttachTo = name
	}
	fds, err := m.View(a.u64(120), skelFDBytes)
	if err != nil {
		return 0, fmt.Errorf("array of file descriptors: %w", err)
	}
	if err := k.references(p, fds); err != nil {
		return 0, err
	}
	if err := k.infos(m, p, a); err != nil {
		return 0, err
	}
	k.object.Programs = append(k.object.Programs, p)
	return k.open(p), nil
}

// references names what the instructions refer to by file descriptor, by
// index into the array of them, or by BTF id.
func (k *kernel) references(p *Program, fds []byte) error {
	mapNumber := func(fd int32) (int, error) {
		s, ok := k.fds[fd].(*MapSpec)
		if !ok {
			return 0, fmt.Errorf("file descriptor %d is no map: %w", fd, ErrRelocation)
		}
		return slices.Index(k.object.Maps, s), nil
	}
	n := len(p.insns) / slotBytes
	for i := 0; i < n; i++ {
		s := slotAt(p.insns, i)
		if s.op == opcodeCall && s.src == callKfunc {
			name, ok := k.nameOf(uint32(s.imm))
			// An id of 0 is a weak reference that was not found: to call it
			// is an error only when it happens.
			p.refs = append(p.refs, reference{index: i, kind: refKfunc, name: name, weak: !ok && s.imm == 0})
			if ok {
				p.addKfunc(name, false)
			}
			continue
		}
		if s.op != opcodeLdImm64 {
			continue
		}
		if i+1 >= n {
			return fmt.Errorf("instruction %d: LD_IMM64 without its second half: %w", i, ErrInvalid)
		}
		off := uint32(slotAt(p.insns, i+1).imm)
		fd := s.imm
		switch s.src {
		case pseudoMapIdx, pseudoMapIdxV:
			if s.imm < 0 || s.imm >= skelMapSlots {
				return fmt.Errorf("instruction %d: map slot %d: %w", i, s.imm, ErrRelocation)
			}
			fd = int32(binary.LittleEndian.Uint32(fds[4*s.imm:]))
			fallthrough
		case pseudoMapFD, pseudoMapValue:
			number, err := mapNumber(fd)
			if err != nil {
				return fmt.Errorf("instruction %d: %w", i, err)
			}
			ref := reference{index: i, kind: refMap, target: number}
			if s.src == pseudoMapIdxV || s.src == pseudoMapValue {
				ref.kind, ref.offset = refMapValue, off
			}
			p.refs = append(p.refs, ref)
		case pseudoVarAddr:
			name, ok := k.nameOf(uint32(s.imm))
			p.refs = append(p.refs, reference{index: i, kind: refKsym, name: name, weak: !ok && s.imm == 0})
		}
		i++
	}
	return nil
}

// infos takes function, line and CO-RE records.
func (k *kernel) infos(m *Machine, p *Program, a attr) error {
	le := binary.LittleEndian
	records := func(what string, addr uint64, count, size uint32, need uint32) ([]byte, error) {
		if count == 0 {
			return nil, nil
		}
		if size < need || size > 1024 || count > MaxInstructions {
			return nil, fmt.Errorf("%s: %d records of %d bytes: %w", what, count, size, ErrFormat)
		}
		b, err := m.View(addr, uint64(count)*uint64(size))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return b, m.Charge(4 * uint64(count))
	}
	size := a.u32(76)
	b, err := records("func_info", a.u64(80), a.u32(88), size, 8)
	if err != nil {
		return err
	}
	for ; len(b) > 0; b = b[size:] {
		y, err := k.object.BTF.at(le.Uint32(b[4:]))
		if err != nil || y.Kind != KindFunc {
			return fmt.Errorf("func_info names type %d: %w", le.Uint32(b[4:]), ErrFormat)
		}
		p.funcs = append(p.funcs, funcMark{index: int(le.Uint32(b)), name: y.Name})
	}
	slices.SortStableFunc(p.funcs, func(a, b funcMark) int { return a.index - b.index })

	size = a.u32(92)
	if b, err = records("line_info", a.u64(96), a.u32(104), size, 16); err != nil {
		return err
	}
	var lines []lineRecord
	for ; len(b) > 0; b = b[size:] {
		lines = append(lines, parseLine(b, 1))
	}
	for _, r := range sortLines(lines) {
		p.lines = append(p.lines, r.at(r.slot))
	}

	size = a.u32(136)
	if b, err = records("core_relos", a.u64(128), a.u32(116), size, 16); err != nil {
		return err
	}
	for ; len(b) > 0; b = b[size:] {
		r, err := k.object.BTF.parseCore(b)
		if err != nil {
			return err
		}
		p.relos = append(p.relos, r)
	}
	return nil
}
