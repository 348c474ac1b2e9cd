// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// maxObjectSlots bounds the instructions of all programs of an object
// together; functions that several programs call count for each.
const maxObjectSlots = 4 * MaxInstructions

// LoadELF reads a relocatable ELF file for the BPF machine, as clang writes
// it with -target bpf: programs in executable sections other than .text, the
// functions they call anywhere, maps declared in .maps, data sections, and
// BTF with line and CO-RE information.
//
// Conventions are libbpf's. Errors wrap ErrFormat, ErrTruncated, ErrLimit,
// ErrUnsupported, ErrRelocation or ErrNoProgram.
func LoadELF(b []byte) (*Object, error) {
	f, err := parseELF(b)
	if err != nil {
		return nil, fmt.Errorf("load BPF ELF: %w", err)
	}
	if f.machine != elfMachineBPF || f.kind != 1 {
		return nil, fmt.Errorf("load BPF ELF: type %d for machine %d: %w", f.kind, f.machine, ErrFormat)
	}
	l := &elfLoader{
		file:     f,
		object:   &Object{Format: FormatELF},
		mapAt:    map[uint64]int{},
		dataMaps: map[int]int{},
		rels:     map[int]map[uint64]elfRel{},
		byPlace:  map[place]*elfFunc{},
		lines:    map[string][]lineRecord{},
		relos:    map[string][]coreRecord{},
	}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("load BPF ELF: %w", err)
	}
	return l.object, nil
}

// place is a byte in a section.
type place struct {
	section int
	off     uint64
}

// elfFunc is a function as the symbol table gives it.
type elfFunc struct {
	place
	name string
	end  uint64
	bind uint8
}

type elfRel struct {
	symbol uint32
	typ    uint32
}

type elfLoader struct {
	file     *elfFile
	object   *Object
	mapAt    map[uint64]int // offset in .maps to map number
	mapsSec  int
	dataMaps map[int]int // section to map number
	rels     map[int]map[uint64]elfRel
	funcs    []*elfFunc
	byPlace  map[place]*elfFunc
	lines    map[string][]lineRecord // by section name, sorted by offset
	relos    map[string][]coreRecord // by section name, index counts slots of the section
	slots    int
	records  int
}

func (l *elfLoader) load() error {
	f := l.file
	if i := f.section("license"); i != 0 {
		s := string(f.sections[i].data)
		l.object.License, _, _ = strings.Cut(s, "\x00")
	}
	if f.section("maps") != 0 {
		return fmt.Errorf("old-style map section: %w", ErrUnsupported)
	}
	if i := f.section(".BTF"); i != 0 {
		t, err := parseBTF(f.sections[i].data)
		if err != nil {
			return err
		}
		l.object.BTF = t
		if i := f.section(".BTF.ext"); i != 0 {
			if err := l.loadExt(f.sections[i].data); err != nil {
				return err
			}
		}
	}
	if err := l.loadMaps(); err != nil {
		return err
	}
	if err := l.loadData(); err != nil {
		return err
	}
	if err := l.loadRels(); err != nil {
		return err
	}
	if err := l.loadFuncs(); err != nil {
		return err
	}
	for _, fn := range l.funcs {
		sec := f.sections[fn.section].name
		if sec == ".text" || fn.bind == bindLocal {
			continue
		}
		if len(l.object.Programs) == MaxPrograms {
			return fmt.Errorf("more than %d programs: %w", MaxPrograms, ErrLimit)
		}
		p, err := l.link(fn)
		if err != nil {
			return fmt.Errorf("program %s: %w", fn.name, err)
		}
		p.Section = sec
		attachFromSection(p, sec)
		l.object.Programs = append(l.object.Programs, p)
	}
	if len(l.object.Programs) == 0 {
		return ErrNoProgram
	}
	return nil
}

// attachFromSection reads program type and target out of a section name, for
// the sections that a parser can have.
func attachFromSection(p *Program, sec string) {
	kind, target, _ := strings.Cut(sec, "/")
	switch kind {
	case "fentry.s":
		p.Flags = FlagSleepable
		fallthrough
	case "fentry":
		p.Type, p.AttachType, p.AttachTo = ProgTypeTracing, AttachTraceFentry, target
	case "syscall":
		p.Type, p.Flags = ProgTypeSyscall, FlagSleepable
	}
}

// loadRels indexes the relocations of each section by offset.
func (l *elfLoader) loadRels() error {
	le := binary.LittleEndian
	f := l.file
	for i := range f.sections {
		s := &f.sections[i]
		if s.typ != sectionRel || int64(s.info) >= int64(len(f.sections)) || f.sections[s.info].flags&flagExec == 0 {
			continue
		}
		if int(s.link) != f.symtab {
			return fmt.Errorf("section %s: relocations against symbol table %d: %w", s.name, s.link, ErrFormat)
		}
		m := l.rels[int(s.info)]
		if m == nil {
			m = map[uint64]elfRel{}
			l.rels[int(s.info)] = m
		}
		for b := s.data; len(b) >= 16; b = b[16:] {
			if len(m) >= maxObjectSlots {
				return fmt.Errorf("section %s: more than %d relocations: %w", s.name, maxObjectSlots, ErrLimit)
			}
			info := le.Uint64(b[8:])
			m[le.Uint64(b)] = elfRel{symbol: uint32(info >> 32), typ: uint32(info)}
		}
	}
	return nil
}

// loadFuncs collects the functions in executable sections.
func (l *elfLoader) loadFuncs() error {
	f := l.file
	for i := range f.symbols {
		y := &f.symbols[i]
		if y.typ != symbolFunc || y.section <= 0 {
			continue
		}
		s := &f.sections[y.section]
		if s.flags&flagExec == 0 || s.typ != sectionProgbits {
			continue
		}
		end := y.value + y.size
		if y.value%slotBytes != 0 || y.size%slotBytes != 0 || y.value >= s.size || end < y.value || end > s.size || y.size == 0 {
			return fmt.Errorf("function %s at %#x+%#x in section %s of %#x bytes: %w", y.name, y.value, y.size, s.name, s.size, ErrFormat)
		}
		fn := &elfFunc{place: place{y.section, y.value}, name: y.name, end: end, bind: y.bind}
		if l.byPlace[fn.place] != nil {
			continue // an alias
		}
		l.byPlace[fn.place] = fn
		l.funcs = append(l.funcs, fn)
	}
	slices.SortFunc(l.funcs, func(a, b *elfFunc) int {
		return cmp.Or(cmp.Compare(a.section, b.section), cmp.Compare(a.off, b.off))
	})
	return nil
}
