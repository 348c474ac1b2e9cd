// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"reflect"
	"strings"
)

// DiffSchema names the form of the JSON that a Diff marshals to. The number
// grows when a field changes its meaning or goes away.
const DiffSchema = "peel.diff/1"

// Diff says how two images differ.
type Diff struct {
	Schema string `json:"schema"`
	A      Side   `json:"a"`
	B      Side   `json:"b"`
	// Equal tells that the files are the same byte for byte.
	Equal   bool     `json:"equal"`
	Changes []Change `json:"changes"`
}

// Side is one of two things that are compared.
type Side struct {
	// Path is set for whole files.
	Path   string `json:"path,omitempty"`
	Size   uint64 `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

// What a Change is about.
const (
	WhatLayer     = "layer"     // a layer, or a fact about it
	WhatSection   = "section"   // a section
	WhatSignature = "signature" // a signature; Path is that of its layer
	WhatRest      = "rest"      // bytes of a layer that belong to none of these
)

// How something changed.
const (
	ChangeAdded   = "added"
	ChangeRemoved = "removed"
	ChangeChanged = "changed"
)

// Change is one difference.
type Change struct {
	// Path leads from the image to what differs, by names of layers and
	// sections; "." is the image. Sections of profiles are "@N/.name".
	Path   string `json:"path"`
	What   string `json:"what"`
	Change string `json:"change"`
	// A and B are absent where there is nothing.
	A *Side `json:"a,omitempty"`
	B *Side `json:"b,omitempty"`
	// Facts that differ, such as the kernel's version.
	Facts []FactChange `json:"facts,omitempty"`
	// Lines are those of text that differ, each with "-" or "+" in front;
	// of a command line, its words.
	Lines []string `json:"lines,omitempty"`
}

// FactChange is a fact with its two values.
type FactChange struct {
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// Compare says what differs between the images that two reports describe.
func Compare(a, b *Report) *Diff {
	d := &Diff{
		Schema: DiffSchema, Changes: []Change{},
		A: Side{a.Path, a.Layer.Size, a.Layer.SHA256}, B: Side{b.Path, b.Layer.Size, b.Layer.SHA256},
	}
	if d.Equal = a.Layer.SHA256 == b.Layer.SHA256; !d.Equal {
		d.layer("", a.Layer, b.Layer)
	}
	return d
}

func (d *Diff) add(path, what, change string, c Change) {
	c.Path, c.What, c.Change = strings.TrimPrefix(path, "/"), what, change
	if c.Path == "" {
		c.Path = "."
	}
	d.Changes = append(d.Changes, c)
}

// layer compares two layers that differ.
func (d *Diff) layer(path string, a, b *Layer) {
	before := len(d.Changes)
	if f := facts(a, b); len(f) > 0 {
		d.add(path, WhatLayer, ChangeChanged, Change{A: a.side(), B: b.side(), Facts: f})
	}
	d.signatures(path, a, b)
	held := d.sections(path, a, b)
	inner(a, b, func(name string, x, y *Layer) {
		at := path + "/" + name
		switch {
		case x != nil && y != nil:
			if x.SHA256 != y.SHA256 {
				d.layer(at, x, y)
			}
		case held[name]: // the section was told
		case x != nil:
			d.add(at, WhatLayer, ChangeRemoved, Change{A: x.side()})
		default:
			d.add(at, WhatLayer, ChangeAdded, Change{B: y.side()})
		}
	})
	if len(d.Changes) == before {
		d.add(path, WhatRest, ChangeChanged, Change{A: a.side(), B: b.side()})
	}
}

func (l *Layer) side() *Side { return &Side{Size: l.Size, SHA256: l.SHA256} }

// inner calls do for each pair of inner layers of one name; one of the two is
// nil when the other side has none.
func inner(a, b *Layer, do func(name string, x, y *Layer)) {
	pairs(a.Layers, b.Layers, func(l *Layer) string { return l.Name }, func(name string, x, y **Layer) {
		switch {
		case x == nil:
			do(name, nil, *y)
		case y == nil:
			do(name, *x, nil)
		default:
			do(name, *x, *y)
		}
	})
}

// pairs walks two lists, matching the n-th entry of a name with the n-th of the
// other list.
func pairs[T any](a, b []T, name func(T) string, do func(name string, x, y *T)) {
	keyed := func(list []T) (keys []string, at map[string]*T) {
		seen := map[string]int{}
		at = map[string]*T{}
		for i := range list {
			n := name(list[i])
			seen[n]++
			key := n
			if seen[n] > 1 {
				key = fmt.Sprintf("%s#%d", n, seen[n])
			}
			keys = append(keys, key)
			at[key] = &list[i]
		}
		return keys, at
	}
	ka, inA := keyed(a)
	kb, inB := keyed(b)
	for _, k := range ka {
		do(k, inA[k], inB[k])
	}
	for _, k := range kb {
		if inA[k] == nil {
			do(k, nil, inB[k])
		}
	}
}

// sections compares sections and returns the names of those that were told.
func (d *Diff) sections(path string, a, b *Layer) map[string]bool {
	told := map[string]bool{}
	number := func(l *Layer, s Section) string {
		if s.Profile > 0 {
			return fmt.Sprintf("@%d/%s", s.Profile-1, s.Name)
		}
		return s.Name
	}
	pairs(a.Sections, b.Sections, func(s Section) string { return number(a, s) }, func(key string, x, y *Section) {
		at := path + "/" + key
		side := func(s *Section) *Side { return &Side{Size: s.Size, SHA256: s.SHA256} }
		switch {
		case y == nil:
			told[x.Name] = true
			d.add(at, WhatSection, ChangeRemoved, Change{A: side(x), Lines: textDiff(x.Name, x.Text, "")})
		case x == nil:
			told[y.Name] = true
			d.add(at, WhatSection, ChangeAdded, Change{B: side(y), Lines: textDiff(y.Name, "", y.Text)})
		case x.SHA256 != y.SHA256:
			told[x.Name] = true
			d.add(at, WhatSection, ChangeChanged, Change{A: side(x), B: side(y), Lines: textDiff(x.Name, x.Text, y.Text)})
		}
	})
	return told
}

func (d *Diff) signatures(path string, a, b *Layer) {
	name := func(s Signature) string {
		return strings.TrimSpace(fmt.Sprintf("%s %s %s serial %s", s.Kind, s.Digest, s.Signer, s.Serial))
	}
	pairs(a.Signatures, b.Signatures, name, func(key string, x, y *Signature) {
		fact := func(from, to string) Change { return Change{Facts: []FactChange{{"signature", from, to}}} }
		switch {
		case y == nil:
			d.add(path, WhatSignature, ChangeRemoved, fact(key, ""))
		case x == nil:
			d.add(path, WhatSignature, ChangeAdded, fact("", key))
		}
	})
}

// facts lists what differs between what is said of two layers themselves.
func facts(a, b *Layer) []FactChange {
	var list []FactChange
	add := func(name string, x, y any) {
		if sx, sy := fmt.Sprint(x), fmt.Sprint(y); sx != sy {
			list = append(list, FactChange{name, sx, sy})
		}
	}
	add("kind", a.Kind, b.Kind)
	add("arch", a.Arch, b.Arch)
	add("method", a.Method, b.Method)
	add("problem", a.Problem, b.Problem)
	each(a.Stub, b.Stub, "stub", add)
	each(a.Kernel, b.Kernel, "kernel", add)
	each(a.Zboot, b.Zboot, "zboot", add)
	each(a.PE, b.PE, "pe", add)
	return list
}

// each adds the fields of two structs under the names that they have in JSON.
// Digests and sizes of tables follow from what is told elsewhere.
func each[T any](a, b *T, prefix string, add func(string, any, any)) {
	if a == nil && b == nil {
		return
	}
	var zero T
	if a == nil {
		a = &zero
	}
	if b == nil {
		b = &zero
	}
	va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range va.NumField() {
		name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("json"), ",")
		switch name {
		case "authenticode", "certificate_table_size", "size_of_image":
			continue
		}
		add(prefix+"."+name, va.Field(i).Interface(), vb.Field(i).Interface())
	}
}

// maxCompared bounds the lines of a text that are matched with those of the
// other; longer texts are told whole.
const maxCompared = 1500

// textDiff returns the lines that differ, in order.
func textDiff(name, a, b string) []string {
	split := func(s string) []string {
		if name == ".cmdline" {
			return strings.Fields(s)
		}
		if s = strings.TrimRight(s, "\n"); s == "" {
			return nil
		}
		return strings.Split(s, "\n")
	}
	x, y := split(a), split(b)
	var out []string
	if len(x) > maxCompared || len(y) > maxCompared {
		for _, l := range x {
			out = append(out, "-"+l)
		}
		for _, l := range y {
			out = append(out, "+"+l)
		}
		return out
	}
	// common[i][j] is the length of the longest common run of x[i:] and y[j:].
	common := make([][]int, len(x)+1)
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "-"+x[i])
			i++
		default:
			out = append(out, "+"+y[j])
			j++
		}
	}
	return out
}
