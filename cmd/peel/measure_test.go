// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// measureImage writes a small UKI with two profiles.
func measureImage(t *testing.T) string {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0x8664})
	for _, s := range [][2]string{
		{".sdmagic", "#### LoaderInfo: systemd-stub 257 ####"}, {".linux", "kernel"}, {".cmdline", "quiet"},
		{".profile", "ID=main"}, {".profile", "ID=other"},
	} {
		if err := b.Add(pe.NewSection{Name: s[0], Data: [][]byte{[]byte(s[1])}, Characteristics: pe.SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.efi")
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// measureRun runs peel measure and returns what it printed.
func measureRun(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errw bytes.Buffer
	if got := run(context.Background(), append([]string{"measure"}, args...), strings.NewReader(""), &out, &errw); got != want {
		t.Errorf("peel measure %q = %d, want %d\n%s%s", args, got, want, out.String(), errw.String())
	}
	return out.String(), errw.String()
}

func TestMeasure(t *testing.T) {
	img := measureImage(t)
	out, _ := measureRun(t, exitDone, img, "--pcr", "11,12", "--phase", "enter-initrd", "--explain")
	for _, want := range []string{"uki, systemd-stub 257", "case @0 (main)", "case @1 (other)", "extend 11 EV_IPL", "in phase enter-initrd", "extend 12 EV_EVENT_TAG"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "PCR 4 ") || strings.Contains(out, "extend 4") {
		t.Errorf("PCR 4 was not asked for:\n%s", out)
	}

	out, _ = measureRun(t, exitDone, img, "--json", "--bank", "sha256", "--profile", "1")
	var p measure.Prediction
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Cases) != 1 || len(p.Cases[0].Values) != 1 || len(p.Cases[0].Values[eventlog.SHA256][11]) != 32 {
		t.Errorf("JSON has %+v", p.Cases)
	}
	out, _ = measureRun(t, exitDone, img, "--policy-digest", "--bank", "sha256", "--phase", "enter-initrd")
	if s, err := measure.ParsePolicySignatures([]byte(out)); err != nil || len(s["sha256"]) != 2 {
		t.Errorf("--policy-digest = %s, %v, want a policy for each profile", out, err)
	}
}

func TestMeasureLogs(t *testing.T) {
	img := measureImage(t)
	log := filepath.Join(t.TempDir(), "log")
	measureRun(t, exitDone, img, "--profile", "0", "--write", log)
	for _, format := range []string{"cel-json", "cel-cbor"} {
		again := filepath.Join(t.TempDir(), format)
		out, _ := measureRun(t, exitDone, "--log", log, "--write", again, "--format", format)
		if !strings.Contains(out, "EV_IPL") || !strings.Contains(out, "PCR 11 sha256 ") {
			t.Errorf("--log shows\n%s", out)
		}
		if out, _ := measureRun(t, exitDone, img, "--profile", "0", "--compare", again); !strings.Contains(out, "what was foretold") {
			t.Errorf("--compare of %s says %s", format, out)
		}
	}
	out, _ := measureRun(t, exitFailed, img, "--profile", "1", "--compare", log)
	if !strings.Contains(out, "PCR 11 event 5") {
		t.Errorf("--compare with another profile says %s", out)
	}
	out, _ = measureRun(t, exitDone, img, "--compare", log)
	if !strings.Contains(out, "closest case: @0 (main)") {
		t.Errorf("--compare finds %s", out)
	}
}

func TestMeasureWrongUse(t *testing.T) {
	img := measureImage(t)
	for _, args := range [][]string{
		{}, {img, img}, {img, "--pcr", "24"}, {img, "--bank", "md5"}, {img, "--log", "x"}, {img, "--sign"}, {"--sign"},
		{"--compare", "x"}, {img, "--verify"}, {img, "--secure-boot", "maybe"}, {img, "--profile", "0", "--write", "x", "--format", "xml"},
	} {
		if _, errw := measureRun(t, exitUsage, args...); errw == "" {
			t.Errorf("peel measure %q says nothing", args)
		}
	}
	if _, errw := measureRun(t, exitFailed, img, "--write", "x"); !strings.Contains(errw, "--profile") {
		t.Errorf("--write of two cases says %q, want the way out", errw)
	}
	if _, errw := measureRun(t, exitFailed, "--log", os.DevNull); !strings.Contains(errw, "not an event log") {
		t.Errorf("--log of an empty file says %q", errw)
	}
	_, errw := measureRun(t, exitFailed, "--verify", "--log", filepath.Join(t.TempDir(), "none"))
	if errw == "" {
		t.Error("--verify without a log says nothing")
	}
}

// unloads counts what is asked of the running kernel.
type unloads struct {
	kexec.Kernel
	n int
}

func (k *unloads) FileLoad(_, _ *os.File, _ string, _ int) error {
	k.n++
	return nil
}

// A kernel whose measurements cannot be kept must not stay loaded.
func TestCommitFails(t *testing.T) {
	root := t.TempDir()
	a := &app{root: root}
	k := &unloads{}
	f := &kexecMeasure{pending: &pending{}}
	if err := f.committed(a, &kexec.Client{Kernel: k}); err != nil || k.n != 0 {
		t.Errorf("committed() = %v, %d unloads, want none", err, k.n)
	}
	a.root = filepath.Join(root, pendingFile) // a file, so that nothing can be below
	if err := f.committed(a, &kexec.Client{Kernel: k}); err == nil || k.n != 1 {
		t.Errorf("committed() where nothing can be written = %v, %d unloads, want an error and one", err, k.n)
	}
}
