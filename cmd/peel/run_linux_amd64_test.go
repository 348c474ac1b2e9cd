// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/capture"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

// recorded unpacks the recording of a machine, for --root.
func recorded(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, machinetest.FS(t, name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An ordinary user, who is not told which memory is free, gets a plan to look
// at from either route, and is told that it is one.
func TestPlanPreview(t *testing.T) {
	kernel := testkit.Kernel(t, "amd64", "6.12")
	root := recorded(t, "x86-bios-user")
	args := []string{kernel, "--root", root, "--policy", "warn", "--cmdline", "quiet"}
	for _, via := range []string{"parse", "run"} {
		o := call(t, append([]string{"plan", "--via", via}, args...)...)
		o.want(t, "plan --via "+via, exitDone, "preview, not to be loaded: which memory is free was guessed from /sys/firmware/memmap", "warning: a preview")
		o = call(t, append([]string{"plan", "--json", "--via", via}, args...)...)
		var p boot.Plan
		if err := json.Unmarshal([]byte(o.stdout), &p); err != nil || p.Preview == "" {
			t.Errorf("plan --json --via %s: %v, preview %q", via, err, p.Preview)
		}
	}
	for _, more := range []string{"--via=run", "--syscall=segments"} {
		call(t, append([]string{"load", "--dry-run", more}, args...)...).
			want(t, "load --dry-run "+more, exitDone, "addresses are not those of a load", "nothing is loaded")
	}
	o := call(t, "plan", kernel, "--root", recorded(t, "x86-bios"), "--policy", "warn", "--via", "run")
	o.want(t, "plan as root", exitDone, "trampoline")
	if strings.Contains(o.stdout+o.err, "preview") {
		t.Errorf("plan as root is a preview:\n%s%s", o.stdout, o.err)
	}
	call(t, "plan", kernel, "--root", t.TempDir(), "--policy", "warn").
		want(t, "plan for a machine that tells nothing", exitCannot, "which memory is free", "--root DIR")
}

// try --via run starts QEMU with the memory that the stub has prepared.
func TestTryRun(t *testing.T) {
	// Stands for QEMU and shows the file that holds the memory.
	qemu := filepath.Join(t.TempDir(), "qemu")
	const script = "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ \"$1\" != -kernel ] || grep -a -o 'tried[ -~]*' \"$2\"; shift; done\necho end\n"
	if err := os.WriteFile(qemu, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	kernel := testkit.Kernel(t, "amd64", "6.12")
	args := []string{"try", kernel, "--policy", "warn", "--cmdline", "tried", "--qemu", qemu, "--timeout", "1m"}
	for _, more := range [][]string{{"--via", "run"}, {"--syscall", "segments"}} {
		call(t, append(args, append(more, "--expect", `(?m)^tried console=ttyS0$`)...)...).
			want(t, "try "+more[0], exitDone, "console=ttyS0 is added")
		call(t, append(args, append(more, "--append", "console=tty7", "--expect", `(?m)^tried console=tty7$`)...)...).
			want(t, "try with a console, "+more[0], exitDone)
	}
	call(t, append(args, "--via", "run", "--crash")...).want(t, "try --crash", exitUsage)
	call(t, append(args, "--via", "run", "--syscall", "file")...).want(t, "try --syscall file", exitUsage)
	call(t, "load", kernel, "--mirror-variables").want(t, "load --mirror-variables", exitUsage, "--via run")
	call(t, append(args, "--via", "walk")...).want(t, "try --via walk", exitUsage)
	call(t, append(args, "--via", "run", "--memory", "100000")...).want(t, "try with too much memory", exitFailed, "at most")
	call(t, append(args, "--via", "run", "--memory", "40")...).want(t, "try with too little memory", exitFailed, "no room")
}

// What became of variables that were to be written is said for each.
func TestPrintMirrored(t *testing.T) {
	list := []capture.Variable{{Name: "Kept", GUID: "g", Data: []byte("x")}, {Name: "Gone", GUID: "g"}, {Name: "Other", GUID: "h"}}
	c := &peel.Captured{State: &efi.State{State: &capture.State{Variables: list}}, Report: &trust.Report{}}
	for _, tt := range []struct {
		json bool
		want []string
	}{
		{false, []string{"variable  Kept-g is written, 1 bytes", "variable  Gone-g is not written: no room"}},
		{true, []string{`"mirrored": true`, `"problem": "no room"`}},
	} {
		var out bytes.Buffer
		a := &app{out: &out, json: tt.json}
		l := &peel.Loaded{Plan: &boot.Plan{}}
		if err := a.printRun(c, l, false, nil, efi.Mirrored{Variable: list[0]}, efi.Mirrored{Variable: list[1], Err: errors.New("no room")}); err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if strings.Count(out.String(), want) != 1 {
				t.Errorf("printed %q, want %q once", out.String(), want)
			}
		}
	}
}
