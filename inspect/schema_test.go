// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSchema: docs/inspect-json.md has a table for each object, which names
// exactly its fields.
func TestSchema(t *testing.T) {
	doc, err := os.ReadFile("../docs/inspect-json.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string][]string{}
	object := ""
	field := regexp.MustCompile("`([a-z0-9_]+)`")
	for line := range strings.Lines(string(doc)) {
		if h, ok := strings.CutPrefix(line, "## "); ok {
			object = strings.TrimSpace(h)
		}
		if strings.HasPrefix(line, "| `") {
			cell, _, _ := strings.Cut(line[2:], "|")
			for _, m := range field.FindAllStringSubmatch(cell, -1) {
				named[object] = append(named[object], m[1])
			}
		}
	}
	seen := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() || seen[typ.Name()] {
			return
		}
		seen[typ.Name()] = true
		var want []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			want = append(want, name)
			walk(typ.Field(i).Type)
		}
		got := slices.Clone(named[typ.Name()])
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("docs/inspect-json.md: %s has fields %q, want %q", typ.Name(), got, want)
		}
	}
	walk(reflect.TypeFor[Report]())
	walk(reflect.TypeFor[Diff]())
	for object := range named {
		if !seen[object] {
			t.Errorf("docs/inspect-json.md: %s is no object of the schema", object)
		}
	}
	for _, s := range []string{Schema, DiffSchema} {
		if !strings.Contains(string(doc), s) {
			t.Errorf("docs/inspect-json.md does not name the schema %s", s)
		}
	}
}
