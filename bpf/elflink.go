// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Relocation types of the BPF ABI (Documentation/bpf/llvm_reloc.rst).
const (
	rel64  = 1  // R_BPF_64_64: LD_IMM64
	relCal = 10 // R_BPF_64_32: CALL
)

// link puts a program together: its own function first, then every function
// that is called, each once, with calls made relative to the whole.
func (l *elfLoader) link(entry *elfFunc) (*Program, error) {
	p := &Program{Name: entry.name, btf: l.object.BTF}
	base := map[*elfFunc]int{}
	queue := []*elfFunc{entry}
	type call struct {
		slot int
		to   *elfFunc
	}
	var calls []call
	want := func(slot int, at place) error {
		fn := l.byPlace[at]
		if fn == nil {
			return fmt.Errorf("instruction %d refers to %s+%#x, where no function begins: %w",
				slot, l.file.sections[at.section].name, at.off, ErrRelocation)
		}
		if _, ok := base[fn]; !ok {
			base[fn] = -1
			queue = append(queue, fn)
		}
		calls = append(calls, call{slot, fn})
		return nil
	}
	base[entry] = -1
	for len(queue) > 0 {
		fn := queue[0]
		queue = queue[1:]
		start := len(p.insns) / slotBytes
		base[fn] = start
		n := int((fn.end - fn.off) / slotBytes)
		if l.slots += n; l.slots > maxObjectSlots || start+n > MaxInstructions {
			return nil, fmt.Errorf("%d instructions in the program, %d in the object: %w", start+n, l.slots, ErrLimit)
		}
		p.insns = append(p.insns, l.file.sections[fn.section].data[fn.off:fn.end]...)
		p.funcs = append(p.funcs, funcMark{index: start, name: fn.name})
		if err := l.marks(p, fn, start); err != nil {
			return nil, err
		}
		for i := start; i < start+n; i++ {
			s := slotAt(p.insns, i)
			at := place{fn.section, fn.off + uint64(i-start)*slotBytes}
			rel, ok := l.rels[fn.section][at.off]
			switch {
			case s.op == opcodeCall && s.src == callLocal && !ok:
				to := place{fn.section, at.off + slotBytes + uint64(int64(s.imm))*slotBytes}
				if err := want(i, to); err != nil {
					return nil, err
				}
			case ok:
				to, err := l.refer(p, i, s, rel)
				if err != nil {
					return nil, err
				}
				if to != nil {
					if err := want(i, *to); err != nil {
						return nil, err
					}
				}
			}
			if s.op == opcodeLdImm64 {
				i++
			}
		}
	}
	for _, c := range calls {
		s := slotAt(p.insns, c.slot)
		s.imm = int32(base[c.to] - c.slot - 1)
		s.put(p.insns, c.slot)
	}
	slices.SortFunc(p.lines, func(a, b lineMark) int { return cmp.Compare(a.index, b.index) })
	return p, nil
}

// refer resolves one relocation. It returns the place of a function that the
// instruction calls or takes the address of, or nil.
func (l *elfLoader) refer(p *Program, i int, s slot, rel elfRel) (*place, error) {
	f := l.file
	y, err := f.symbolAt(rel.symbol)
	if err != nil {
		return nil, err
	}
	switch {
	case rel.typ == relCal && s.op == opcodeCall:
		if y.section == 0 {
			s.src, s.off, s.imm = callKfunc, 0, -1
			s.put(p.insns, i)
			p.refs = append(p.refs, reference{index: i, kind: refKfunc, name: y.name, weak: y.bind == bindWeak})
			p.addKfunc(y.name, y.bind == bindWeak)
			return nil, nil
		}
		if y.section < 0 || f.sections[y.section].flags&flagExec == 0 {
			break
		}
		return &place{y.section, y.value + uint64(int64(s.imm)+1)*slotBytes}, nil
	case rel.typ == rel64 && s.op == opcodeLdImm64:
		return l.referConstant(p, i, s, y)
	}
	return nil, fmt.Errorf("instruction %d: relocation of type %d against %q: %w", i, rel.typ, y.name, ErrUnsupported)
}

func (l *elfLoader) referConstant(p *Program, i int, s slot, y *elfSymbol) (*place, error) {
	f := l.file
	addend := uint64(uint32(s.imm))
	ref := reference{index: i, name: y.name, weak: y.bind == bindWeak}
	switch {
	case y.section == 0:
		ref.kind = refKsym
	case y.section < 0:
		return nil, fmt.Errorf("instruction %d: address of %q, which is in no section: %w", i, y.name, ErrRelocation)
	case y.section == l.mapsSec:
		n, ok := l.mapAt[y.value+addend]
		if !ok {
			return nil, fmt.Errorf("instruction %d: no map at .maps+%#x: %w", i, y.value+addend, ErrRelocation)
		}
		ref.kind, ref.target = refMap, n
	case f.sections[y.section].flags&flagExec != 0:
		s.src = pseudoFunc
		s.put(p.insns, i)
		return &place{y.section, y.value + addend}, nil
	default:
		n, ok := l.dataMaps[y.section]
		if !ok {
			return nil, fmt.Errorf("instruction %d: address in section %s: %w", i, f.sections[y.section].name, ErrUnsupported)
		}
		off := y.value + addend
		if off > f.sections[y.section].size {
			return nil, fmt.Errorf("instruction %d: byte %#x of section %s: %w", i, off, f.sections[y.section].name, ErrRelocation)
		}
		ref.kind, ref.target, ref.offset = refMapValue, n, uint32(off)
	}
	p.refs = append(p.refs, ref)
	return nil, nil
}

// addKfunc notes that the program calls a kernel function.
func (p *Program) addKfunc(name string, weak bool) {
	for _, k := range p.Kfuncs {
		if k.Name == name {
			return
		}
	}
	p.Kfuncs = append(p.Kfuncs, KfuncRef{Name: name, Weak: weak})
}

// marks takes over line and CO-RE records of a function that was put at slot
// start.
func (l *elfLoader) marks(p *Program, fn *elfFunc, start int) error {
	name := l.file.sections[fn.section].name
	first, last := int(fn.off/slotBytes), int(fn.end/slotBytes)
	lines := l.lines[name]
	k := sort.Search(len(lines), func(k int) bool { return lines[k].slot >= first })
	for ; k < len(lines) && lines[k].slot < last; k++ {
		p.lines = append(p.lines, lines[k].at(lines[k].slot-first+start))
	}
	relos := l.relos[name]
	k = sort.Search(len(relos), func(k int) bool { return relos[k].index >= first })
	for ; k < len(relos) && relos[k].index < last; k++ {
		if l.records++; l.records > maxObjectSlots {
			return fmt.Errorf("more than %d CO-RE records: %w", maxObjectSlots, ErrLimit)
		}
		r := relos[k]
		r.index += start - first
		p.relos = append(p.relos, r)
	}
	return nil
}
