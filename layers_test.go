// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/peelboot/peel/"

// pkg is what go list tells of a package, its tests left out.
type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// Data flows one way, and no package imports one further down: image → trust
// → parser | efi → boot → kexec.
func TestLayers(t *testing.T) {
	rank := map[string]int{
		"image": 1, "inflate": 1, "machine": 1, "bpf": 1,
		"trust": 2, "inspect": 3, "parser": 3, "efi": 3, "site": 3,
		"boot": 4, "kexec": 5, "vm": 5, "cmd": 7,
	}
	top := func(path string) string {
		name, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
		return name
	}
	for _, p := range packages(t) {
		from, ranked := rank[top(p.ImportPath)]
		for _, i := range p.Imports {
			to, ok := rank[top(i)]
			if !strings.HasPrefix(i, module) || !ok || !ranked || top(i) == top(p.ImportPath) {
				continue
			}
			if to > from || to == from && to > 2 && to != 5 {
				t.Errorf("%s imports %s, which is further down", p.ImportPath, i)
			}
		}
	}
}

// One door leads to system calls. What runs in test guests alone has its own.
func TestSystemCalls(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "internal/unix" || strings.HasPrefix(name, "internal/testkit") ||
			strings.HasPrefix(name, "internal/vmtest") || strings.HasPrefix(name, "internal/cmd/") {
			continue
		}
		for _, i := range p.Imports {
			if i == "syscall" || strings.HasPrefix(i, "golang.org/x/sys/") || i == "unsafe" {
				t.Errorf("%s imports %s: only internal/unix does", name, i)
			}
			if strings.HasPrefix(i, module+"internal/testkit") {
				t.Errorf("%s imports %s: only tests do", name, i)
			}
		}
	}
}
