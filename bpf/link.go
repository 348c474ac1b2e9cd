// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"slices"
)

// Link checks the object's programs against a host, relocates them and makes
// their maps: everything that can be refused before a program runs is refused
// here. The Object is not changed and can be linked again.
//
// A refused program is a *Fault with ErrInvalid, ErrUnsupported, ErrNoHelper,
// ErrNoKfunc or ErrRelocation; maps can fail with ErrMemory.
func (o *Object) Link(h *Host, opts Options) (*Machine, error) {
	if h == nil {
		h = &Host{}
	}
	m, err := newMachine(o, h, opts)
	if err != nil {
		return nil, err
	}
	if len(o.Maps) > MaxMaps || len(o.Programs) > MaxPrograms {
		return nil, fmt.Errorf("%d maps and %d programs: %w", len(o.Maps), len(o.Programs), ErrLimit)
	}
	for _, spec := range o.Maps {
		if err := m.addMap(spec); err != nil {
			return nil, err
		}
	}
	for _, p := range o.Programs {
		if p.AttachTo != "" && h.Hooks != nil && !slices.Contains(h.Hooks, p.AttachTo) {
			return nil, fmt.Errorf("program %s hangs on %q, which this host does not have: %w", p.Name, p.AttachTo, ErrUnsupported)
		}
		c, err := m.load(p)
		if err != nil {
			return nil, err
		}
		m.code[p.Name] = c
	}
	return m, nil
}

// load relocates, decodes and checks one program.
func (m *Machine) load(p *Program) (*code, error) {
	if len(p.insns)%slotBytes != 0 || len(p.insns) == 0 {
		return nil, fmt.Errorf("program %s: %#x bytes are no whole instructions: %w", p.Name, len(p.insns), ErrInvalid)
	}
	n := len(p.insns) / slotBytes
	if n > MaxInstructions {
		return nil, fmt.Errorf("program %s: %d instructions, %d allowed: %w", p.Name, n, MaxInstructions, ErrLimit)
	}
	c := &code{name: p.Name, prog: p, raw: slices.Clone(p.insns)}
	poisoned, err := m.relocate(p, c)
	if err != nil {
		return nil, err
	}
	var at int
	if c.ins, at, err = decode(c.raw); err != nil {
		return nil, c.fault(at, err)
	}
	if at, err = checkFlow(c.ins); err != nil {
		return nil, c.fault(at, err)
	}
	for _, i := range poisoned {
		c.ins[i] = ins{op: opPoison}
	}
	refs := map[int]*reference{}
	for i := range p.refs {
		refs[p.refs[i].index] = &p.refs[i]
	}
	for i := range c.ins {
		if err := m.bind(c, i, refs[i]); err != nil {
			return nil, c.fault(i, err)
		}
	}
	return c, nil
}

// bind resolves what one instruction refers to.
func (m *Machine) bind(c *code, i int, ref *reference) error {
	in := &c.ins[i]
	switch in.op {
	case opHelper:
		if in.imm == helperLoop {
			c.calls = append(c.calls, c.loop)
		} else if f := m.helper(in.imm); f != nil {
			c.calls = append(c.calls, f)
		} else {
			return fmt.Errorf("helper %d: %w", in.imm, ErrNoHelper)
		}
		in.imm = int64(len(c.calls) - 1)
	case opKfunc:
		name, weak := fmt.Sprintf("BTF id %d", in.imm), in.imm == 0 && in.off == 0
		if ref != nil && ref.kind == refKfunc {
			name, weak = ref.name, ref.weak
		}
		k, ok := m.kfunc(name)
		if !ok && !weak {
			return fmt.Errorf("%s: %w", name, ErrNoKfunc)
		}
		c.kfuncs = append(c.kfuncs, linkedKfunc{name: name, Kfunc: k})
		if !ok {
			// Fine as long as it is not reached: the kernel drops such calls
			// as dead code.
			*in = ins{op: opPoison, imm: int64(len(c.kfuncs))}
			return nil
		}
		in.imm = int64(len(c.kfuncs) - 1)
	case opCallx:
		if !m.callx {
			return fmt.Errorf("call through a register: %w", ErrUnsupported)
		}
	case opLdImm64:
		return m.bindConstant(c, i, ref)
	}
	return nil
}

// funcTag marks the address of a function, which is no address of memory.
const funcTag = 1 << 63

// bindConstant resolves the pseudo forms of LD_IMM64.
func (m *Machine) bindConstant(c *code, i int, ref *reference) error {
	in := &c.ins[i]
	if ref != nil {
		switch ref.kind {
		case refMap, refMapValue:
			return m.bindMap(in, ref.target, ref.kind == refMapValue, uint64(ref.offset))
		case refKsym:
			in.imm = 0
			if _, ok := m.kfunc(ref.name); ok {
				// Only its being there can be tested.
				v := ksymAddress
				in.imm = int64(v)
			} else if !ref.weak {
				return fmt.Errorf("kernel symbol %s: %w", ref.name, ErrRelocation)
			}
			return nil
		}
	}
	switch in.src {
	case 0:
	case pseudoFunc:
		in.imm = int64(uint64(funcTag) | uint64(i+1+int(int32(in.imm))))
	case pseudoMapIdx:
		return m.bindMap(in, int(int32(in.imm)), false, 0)
	case pseudoMapIdxV:
		return m.bindMap(in, int(int32(in.imm)), true, uint64(in.imm)>>32)
	case pseudoMapFD, pseudoMapValue:
		return fmt.Errorf("map by file descriptor: %w", ErrUnsupported)
	case pseudoVarAddr:
		return fmt.Errorf("kernel variable by BTF id: %w", ErrUnsupported)
	default:
		return invalid("LD_IMM64 of kind %d", in.src)
	}
	return nil
}

// ksymAddress stands for a kernel symbol that exists; nothing can be read there.
const ksymAddress uint64 = funcTag | 1<<62

func (m *Machine) bindMap(in *ins, index int, value bool, offset uint64) error {
	if index < 0 || index >= len(m.maps) {
		return fmt.Errorf("map %d of %d: %w", index, len(m.maps), ErrRelocation)
	}
	s := m.maps[index]
	if !value {
		in.imm = int64(s.addr)
		return nil
	}
	if s.spec.Type != MapArray || offset > uint64(s.spec.ValueSize) {
		return fmt.Errorf("byte %#x of map %s: %w", offset, s.spec.Name, ErrRelocation)
	}
	in.imm = int64(s.values + offset)
	return nil
}

func (m *Machine) kfunc(name string) (Kfunc, bool) {
	if m.host == nil {
		return Kfunc{}, false
	}
	k, ok := m.host.Kfuncs[name]
	return k, ok && k.Func != nil
}

// loop is bpf_loop(count, callback, context, flags): callback(i, context)
// until it returns other than 0. It returns how often it was called.
func (c *code) loop(m *Machine, a [5]uint64) (uint64, error) {
	const most = 8 << 20 // BPF_MAX_LOOPS
	n, entry := uint64(uint32(a[0])), a[1]&^uint64(funcTag)
	if a[1]&funcTag == 0 || entry >= uint64(len(c.ins)) {
		return 0, fmt.Errorf("callback %#x is no function: %w", a[1], ErrArgument)
	}
	if a[3] != 0 {
		return errno(einval), nil
	}
	if n > most {
		return errno(e2big), nil
	}
	for i := uint64(0); i < n; i++ {
		r, err := m.exec(c, int(entry), [5]uint64{i, a[2]})
		if err != nil {
			return 0, err
		}
		if r != 0 {
			return i + 1, nil
		}
	}
	return n, nil
}
