// SPDX-License-Identifier: Apache-2.0

package bpf

// match follows the names of a path through a host type.
func match(lp *path, host *Type, kind coreKind) *path {
	hp := &path{root: host}
	if kind.isType() {
		if kind == coreTypeMatches && !sameShape(lp.root, host, 0) {
			return nil
		}
		return hp
	}
	if kind.isEnum() {
		want := essential(plain(lp.root).Values[lp.enum].Name)
		for i, v := range plain(host).Values {
			if essential(v.Name) == want {
				hp.enum = i
				return hp
			}
		}
		return nil
	}
	if hp.addIndex(host, lp.steps[0].index) != nil {
		return nil
	}
	for _, s := range lp.steps[1:] {
		at := plain(hp.steps[len(hp.steps)-1].typ)
		if at == nil {
			return nil
		}
		if s.in == nil {
			if at.Kind != KindArray || !hp.flexible(at) && s.index >= uint64(at.Count) || hp.addIndex(at.Elem, s.index) != nil {
				return nil
			}
			continue
		}
		want := s.in.Members[s.member]
		if want.Name == "" {
			// An unnamed structure: its members are looked for by name in
			// all that the host has at this place.
			continue
		}
		if !findMember(hp, at, want, 0) {
			return nil
		}
	}
	return hp
}

// findMember extends p to the member of y that has the name and a compatible
// type, looking into unnamed structures and unions.
func findMember(p *path, y *Type, want Member, depth int) bool {
	if y.Kind != KindStruct && y.Kind != KindUnion || depth > maxTypeDepth {
		return false
	}
	for i := range y.Members {
		m := &y.Members[i]
		bit, n := p.bit, len(p.steps)
		switch {
		case m.Name == "":
			inner := plain(m.Type)
			if inner == nil {
				continue
			}
			p.addMember(y, i)
			if findMember(p, inner, want, depth+1) {
				return true
			}
			p.bit, p.steps = bit, p.steps[:n]
		case m.Name == want.Name:
			if !compatible(want.Type, m.Type) {
				return false
			}
			p.addMember(y, i)
			return true
		}
	}
	return false
}

// compatible says whether one field can stand for another (libbpf's "fields
// are compatible"): same kind of thing, integers of any width.
func compatible(a, b *Type) bool {
	for range maxTypeDepth {
		a, b = plain(a), plain(b)
		if a == nil || b == nil {
			return false
		}
		composite := func(y *Type) bool { return y.Kind == KindStruct || y.Kind == KindUnion }
		enum := func(y *Type) bool { return y.Kind == KindEnum || y.Kind == KindEnum64 }
		if composite(a) && composite(b) {
			return true
		}
		if enum(a) && enum(b) {
			return a.Name == "" || b.Name == "" || essential(a.Name) == essential(b.Name)
		}
		if a.Kind != b.Kind {
			return false
		}
		switch a.Kind {
		case KindArray:
			a, b = a.Elem, b.Elem
		case KindForward:
			return a.Name == "" || b.Name == "" || essential(a.Name) == essential(b.Name)
		case KindInt:
			// Old-style bit fields cannot be told from their container.
			return a.bitOffset == 0 && b.bitOffset == 0
		case KindPointer, KindFloat:
			return true
		default:
			return false
		}
	}
	return false
}

// sameKind tells whether two types can stand for each other at all.
func sameKind(a, b *Type) bool {
	if a == nil || b == nil {
		return false
	}
	enum := func(y *Type) bool { return y.Kind == KindEnum || y.Kind == KindEnum64 }
	return a.Kind == b.Kind || enum(a) && enum(b)
}

// sameShape is the stricter comparison of BPF_CORE_TYPE_MATCHES: every member
// and enumerator of a must be in b, with a matching type.
func sameShape(a, b *Type, depth int) bool {
	a, b = plain(a), plain(b)
	if !sameKind(a, b) || depth > maxTypeDepth {
		return false
	}
	switch a.Kind {
	case KindStruct, KindUnion:
		if len(a.Members) > 256 {
			return false
		}
		for i := range a.Members {
			m := &a.Members[i]
			p := &path{}
			if m.Name == "" {
				continue
			}
			if !findMember(p, b, *m, 0) {
				return false
			}
			if depth < 2 && !sameShape(m.Type, p.steps[len(p.steps)-1].typ, depth+1) {
				return false
			}
		}
		return true
	case KindEnum, KindEnum64:
		for _, v := range a.Values {
			found := false
			for _, w := range b.Values {
				found = found || essential(v.Name) == essential(w.Name)
			}
			if !found {
				return false
			}
		}
		return true
	case KindInt:
		return a.Size == b.Size && a.Signed == b.Signed
	case KindArray:
		return a.Count == b.Count && sameShape(a.Elem, b.Elem, depth+1)
	case KindPointer:
		// What is pointed to need only be the same kind of thing.
		pa, pb := plain(a.Elem), plain(b.Elem)
		return pa == nil || pb == nil || sameKind(pa, pb) ||
			pa.Kind == KindForward || pb.Kind == KindForward || pa.Kind == KindVoid || pb.Kind == KindVoid
	}
	return true
}

// plainName is the name of a type, qualifiers aside.
func plainName(y *Type) string {
	for range maxTypeDepth {
		if y == nil {
			return ""
		}
		if y.Name != "" && y.Kind != KindTypeTag {
			return y.Name
		}
		switch y.Kind {
		case KindVolatile, KindConst, KindRestrict, KindTypeTag:
			y = y.Elem
		default:
			return ""
		}
	}
	return ""
}
