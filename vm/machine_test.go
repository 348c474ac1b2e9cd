// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/image"
)

// fake is a machine whose QEMU is a shell script; "$@" are QEMU's arguments.
func fake(t *testing.T, script string) Config {
	t.Helper()
	p := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Config{Arch: image.ArchX86_64, QEMU: p, Kernel: "k"}
}

func start(t *testing.T, c Config) *Machine {
	t.Helper()
	m, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return m
}

const soon = time.Minute

func TestExpect(t *testing.T) {
	var copied bytes.Buffer
	c := fake(t, `printf 'noise\r\n\033[2J\033[01;31mready\033[0m step=1\r\n\000ready step=2\r\nend'`)
	c.Console = &copied
	m := start(t, c)
	re := regexp.MustCompile(`(?m)^ready step=(\d)(x)?$`)
	for _, want := range []string{"1", "2"} {
		got, err := m.Expect(context.Background(), re, soon)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got[1] != want || got[2] != "" {
			t.Errorf("Expect(%v) = %q, want group 1 %q", re, got, want)
		}
	}
	if _, err := m.Expect(context.Background(), re, soon); !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "end") {
		t.Errorf("Expect after the end = %v, want %v with the end of the console", err, ErrExited)
	}
	if err := m.Wait(); err != nil {
		t.Errorf("Wait() = %v, want nil", err)
	}
	if want := "noise\nready step=1\nready step=2\nend"; m.Console() != want {
		t.Errorf("Console() = %q, want %q", m.Console(), want)
	}
	if !strings.Contains(copied.String(), "\x1b[2J") {
		t.Errorf("copy = %q, want the raw bytes", copied.String())
	}
}

func TestExpectTimeout(t *testing.T) {
	m := start(t, fake(t, "echo waiting; exec sleep 1000"))
	if _, err := m.Expect(context.Background(), regexp.MustCompile("waiting"), soon); err != nil {
		t.Fatal(err)
	}
	_, err := m.Expect(context.Background(), regexp.MustCompile("never"), time.Millisecond)
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "waiting") {
		t.Errorf("Expect(never) = %v, want %v with the end of the console", err, ErrTimeout)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Expect(ctx, regexp.MustCompile("never"), soon); !errors.Is(err, context.Canceled) {
		t.Errorf("Expect(cancelled) = %v, want %v", err, context.Canceled)
	}
}

func TestWaitError(t *testing.T) {
	m := start(t, fake(t, "echo 'qemu: no such kernel' >&2; exit 3"))
	if err := m.Wait(); err == nil || !strings.Contains(err.Error(), "no such kernel") {
		t.Errorf("Wait() = %v, want what QEMU said", err)
	}
	if _, err := m.Expect(context.Background(), regexp.MustCompile("x"), soon); !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "no such kernel") {
		t.Errorf("Expect() = %v, want %v with what QEMU said", err, ErrExited)
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m, err := Start(ctx, fake(t, "exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cancel()
	if err := m.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait() = %v, want %v", err, context.Canceled)
	}
}

func TestFilesAndVars(t *testing.T) {
	dir := t.TempDir()
	vars, extra := filepath.Join(dir, "vars"), filepath.Join(dir, "kernel")
	for p, text := range map[string]string{vars: "variables", extra: "a kernel"} {
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(extra)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The fake machine reads its kernel, prints its variable store and overwrites that.
	c := fake(t, `for a; do case $a in *unit=1*) v=${a##*file=};; /proc/*) cat $a;; esac; done; echo; cat "$v"; echo spoilt > "$v"`)
	c.Kernel, c.Files, c.Firmware = FilePath(0), []*os.File{f}, &Firmware{Code: "c", Vars: vars}
	m := start(t, c)
	if err := m.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := "a kernel\nvariables"; m.Console() != want {
		t.Errorf("Console() = %q, want %q", m.Console(), want)
	}
	if b, err := os.ReadFile(vars); err != nil || string(b) != "variables" {
		t.Errorf("variable store = %q, %v, want it untouched", b, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stat(temporary directory) = %v, want it gone", err)
	}
}

func TestStartErrors(t *testing.T) {
	ctx := context.Background()
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(ctx, Config{Arch: image.ArchX86_64, Kernel: "k"}); !errors.Is(err, ErrNoQEMU) {
		t.Errorf("Start without QEMU = %v, want %v", err, ErrNoQEMU)
	}
	if _, err := Start(ctx, Config{Arch: image.ArchX86_64, QEMU: "/bin/true"}); !errors.Is(err, ErrConfig) {
		t.Errorf("Start without a kernel = %v, want %v", err, ErrConfig)
	}
	c := Config{Arch: image.ArchX86_64, QEMU: "/bin/true", Firmware: &Firmware{Code: "c", Vars: filepath.Join(t.TempDir(), "none")}}
	if _, err := Start(ctx, c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start without variables = %v, want %v", err, os.ErrNotExist)
	}
	if _, err := Start(ctx, Config{Arch: image.ArchX86_64, QEMU: filepath.Join(t.TempDir(), "none"), Kernel: "k"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start with a wrong path = %v, want %v", err, os.ErrNotExist)
	}
}

func TestConsoleLimit(t *testing.T) {
	c := newConsole(nil)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 20 {
		if _, err := c.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("\nlast\n")); err != nil {
		t.Fatal(err)
	}
	if got := len(c.String()); got != consoleLimit {
		t.Errorf("len(console) = %d, want %d", got, consoleLimit)
	}
	if m, _ := c.match(regexp.MustCompile("(?m)^last$")); m == nil {
		t.Error("match(last) = nil, want the line")
	}
}
