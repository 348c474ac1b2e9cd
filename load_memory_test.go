// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

// A plan with an initial RAM disk of 500 MiB, from the file to the segments,
// costs next to no heap: segments are views of sealed memory.
func TestPlanOfLargeInitrd(t *testing.T) {
	const size = 500 << 20
	name := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(name, testkit.Initramfs(t, testkit.Plain("init", nil)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	path := testkit.Kernel(t, "amd64", "6.12")
	// The recorded machine has 1 GiB; this one has 4.
	fsys := machinetest.FS(t, "x86-bios")
	iomem := string(fsys["proc/iomem"].Data)
	machinetest.Set(fsys, "proc/iomem", iomem+"100000000-1bfffffff : System RAM\n")
	m := machine.ReadFS(fsys)
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Policy.SetMode(trust.Warn, "test")

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	im, err := peel.Open(path, peel.Options{Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	part, err := peel.OpenPart(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	b, err := im.Prepare(context.Background(), peel.Additions{Initrds: []peel.File{part.File}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p, err := b.Plan(m, boot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)

	initrd := p.Segment("initrd")
	if initrd == nil || len(initrd.Data) != size || p.HandOver.Initrd.Size() != size {
		t.Fatalf("plan without an initrd of %d bytes:\n%s", size, p)
	}
	if &initrd.Data[0] != &part.Data[0] {
		t.Error("the segment is a copy of the initrd, want a view")
	}
	// All that was ever allocated, freed or not.
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
		t.Errorf("open, prepare and plan allocated %d MiB of heap, want far less than the initrd has", n>>20)
	}
	if !strings.Contains(p.String(), "initrd") {
		t.Errorf("plan for people lacks the initrd:\n%s", p)
	}
}
