// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"math"
	"strings"
)

// loadMaps reads the maps declared in .maps: BTF says what they are, the
// symbol table where.
func (l *elfLoader) loadMaps() error {
	f := l.file
	l.mapsSec = f.section(".maps")
	if l.mapsSec == 0 {
		return nil
	}
	ds := l.object.BTF.Find(KindDatasec, ".maps")
	if ds == nil {
		return fmt.Errorf("section .maps without BTF: %w", ErrFormat)
	}
	at := map[string]uint64{}
	for i := range f.symbols {
		if y := &f.symbols[i]; y.section == l.mapsSec && y.typ != symbolSection {
			at[y.name] = y.value
		}
	}
	for i := range ds.Members {
		v := ds.Members[i].Type
		off, ok := at[v.Name]
		if v.Kind != KindVar || !ok {
			return fmt.Errorf("map %q has no symbol: %w", v.Name, ErrFormat)
		}
		spec, err := mapFromBTF(v)
		if err != nil {
			return fmt.Errorf("map %s: %w", v.Name, err)
		}
		if err := l.addMap(spec); err != nil {
			return err
		}
		l.mapAt[off] = len(l.object.Maps) - 1
	}
	return nil
}

func (l *elfLoader) addMap(spec *MapSpec) error {
	if len(l.object.Maps) == MaxMaps {
		return fmt.Errorf("more than %d maps: %w", MaxMaps, ErrLimit)
	}
	l.object.Maps = append(l.object.Maps, spec)
	return nil
}

// mapFromBTF reads a map definition: numbers are given as the length of an
// array that a pointer member points to, types as what it points to.
func mapFromBTF(v *Type) (*MapSpec, error) {
	y := plain(v.Elem)
	if y == nil || y.Kind != KindStruct {
		return nil, fmt.Errorf("definition is no structure: %w", ErrFormat)
	}
	spec := &MapSpec{Name: v.Name}
	for i := range y.Members {
		m := &y.Members[i]
		ptr := plain(m.Type)
		if ptr == nil || ptr.Kind != KindPointer {
			return nil, fmt.Errorf("member %s is no pointer: %w", m.Name, ErrUnsupported)
		}
		target := plain(ptr.Elem)
		if target == nil {
			return nil, fmt.Errorf("member %s: %w", m.Name, ErrFormat)
		}
		var number uint32
		isNumber := target.Kind == KindArray
		if isNumber {
			number = target.Count
		}
		switch m.Name {
		case "type":
			spec.Type = MapType(number)
		case "max_entries":
			spec.MaxEntries = number
		case "map_flags":
			spec.Flags = number
		case "key_size":
			spec.KeySize = number
		case "value_size":
			spec.ValueSize = number
		case "pinning", "numa_node", "map_extra":
			isNumber = true
		case "key", "value":
			isNumber = true
			size, err := sizeOf(target)
			if err != nil {
				return nil, err
			}
			if size > math.MaxInt32 {
				return nil, fmt.Errorf("%s of %#x bytes: %w", m.Name, size, ErrLimit)
			}
			if m.Name == "key" {
				spec.KeySize = uint32(size)
			} else {
				spec.ValueSize = uint32(size)
			}
		default:
			return nil, fmt.Errorf("member %s: %w", m.Name, ErrUnsupported)
		}
		if !isNumber {
			return nil, fmt.Errorf("member %s is no number: %w", m.Name, ErrFormat)
		}
	}
	return spec, nil
}

// loadData makes an array of one entry from each data section, as libbpf does.
func (l *elfLoader) loadData() error {
	f := l.file
	for i := 1; i < len(f.sections); i++ {
		s := &f.sections[i]
		if s.flags&flagAlloc == 0 || s.flags&flagExec != 0 || s.size == 0 || !isDataSection(s.name) {
			continue
		}
		if s.size > math.MaxInt32 {
			return fmt.Errorf("section %s of %#x bytes: %w", s.name, s.size, ErrLimit)
		}
		const mmapable = 1 << 10
		spec := &MapSpec{
			Name: s.name, Type: MapArray, KeySize: 4, ValueSize: uint32(s.size), MaxEntries: 1,
			Flags: mmapable, Contents: s.data,
		}
		if s.flags&flagWrite == 0 {
			spec.Flags |= mapReadOnly
			spec.Frozen = true
		}
		if err := l.addMap(spec); err != nil {
			return err
		}
		l.dataMaps[i] = len(l.object.Maps) - 1
	}
	return nil
}

func isDataSection(name string) bool {
	for _, s := range []string{".data", ".rodata", ".bss"} {
		if name == s || strings.HasPrefix(name, s+".") {
			return true
		}
	}
	return false
}
