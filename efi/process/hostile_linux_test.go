// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/efi/process"
)

const (
	ramStart = 0x100000
	ramSize  = 0x200000
	code     = ramStart
	data     = ramStart + 0x10000
	top      = ramStart + 0x20000
)

// act is something that a guest does.
type act struct {
	name string
	code []byte
	kind process.Kind
	says string // by Emulate
}

// TestStops does each act that a guest has no business to do: it stops, and
// nothing was done.
func TestStops(t *testing.T) {
	for _, tt := range stops() {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, context.Background(), process.Config{}, tt.code)
			s, err := p.Resume()
			if err != nil || s.Kind != tt.kind {
				t.Fatalf("Resume() = %v, %v, want %v", s, err, tt.kind)
			}
			if tt.says == "" {
				return
			}
			pc := p.CPU().PC()
			what, ok, err := p.Emulate()
			if ok || err != nil || !strings.Contains(what, tt.says) || p.CPU().PC() != pc {
				t.Errorf("Emulate() = %q, %v, %v, want a refusal that says %q", what, ok, err, tt.says)
			}
		})
	}
}

// start makes a process that is about to run code.
func start(t *testing.T, ctx context.Context, cfg process.Config, b []byte) *process.Process {
	t.Helper()
	if cfg.RAM == nil {
		cfg.RAM = []process.Range{{Start: ramStart, Size: ramSize}}
	}
	if cfg.MaxTime == 0 {
		cfg.MaxTime = time.Minute
	}
	p, err := process.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	copy(p.Memory()[code:], b)
	if err := p.Protect(process.Range{Start: code, Size: 4096}, process.WriteExecute); err != nil {
		t.Fatal(err)
	}
	if err := p.CPU().Enter(code, top, 0, 0x11, 0x22); err != nil {
		t.Fatal(err)
	}
	return p
}

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// TestNothingElse looks at the process from outside.
func TestNothingElse(t *testing.T) {
	p := start(t, context.Background(), process.Config{}, trapCode())
	proc := fmt.Sprintf("/proc/%d/", p.PID())
	maps, err := os.ReadFile(proc + "maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "peel-guest") && !strings.Contains(line, "[vsyscall]") {
			t.Errorf("mapping %s", line)
		}
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil || len(fds) != 0 {
		t.Errorf("%d open files, %v, want none", len(fds), err)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Seccomp": "2", "NoNewPrivs": "1", "CapEff": "0000000000000000", "Threads": "1"}
	for line := range strings.Lines(string(status)) {
		k, v, _ := strings.Cut(line, ":")
		v = strings.TrimSpace(v)
		if w, ok := want[k]; ok && v != w {
			t.Errorf("%s = %s, want %s", k, v, w)
		}
		if k == "Uid" && os.Geteuid() == 0 && !strings.HasPrefix(v, "65534") {
			t.Errorf("Uid = %s, want nobody", v)
		}
	}
	if !strings.Contains(p.Isolation(), "seccomp") {
		t.Errorf("Isolation() = %q", p.Isolation())
	}
	t.Log(p.Isolation())
}

// TestSecondWall does a system call for the child the way its parent does:
// past the first wall, the filter kills.
func TestSecondWall(t *testing.T) {
	p := start(t, context.Background(), process.Config{}, trapCode())
	if err := p.Inject(getpid); !errors.Is(err, process.ErrDied) || !strings.Contains(err.Error(), "bad system call") {
		t.Errorf("getpid() = %v, want %v by the filter", err, process.ErrDied)
	}
}

func TestConfig(t *testing.T) {
	for _, ram := range [][]process.Range{
		nil,
		{{Start: 0, Size: 0}},
		{{Start: 1, Size: 4096}},
		{{Start: 4096, Size: 100}},
		{{Start: 8192, Size: 8192}, {Start: 12288, Size: 4096}},
		{{Start: ^uint64(0) &^ 4095, Size: 8192}},
		{{Start: 0x7d0000000000, Size: 4096}},
	} {
		if p, err := process.Start(context.Background(), process.Config{RAM: ram}); !errors.Is(err, process.ErrConfig) {
			if err == nil {
				p.Close()
			}
			t.Errorf("Start(%v) = %v, want %v", ram, err, process.ErrConfig)
		}
	}
}

func TestPopulated(t *testing.T) {
	p := start(t, context.Background(), process.Config{RAM: []process.Range{{Start: ramStart, Size: 1 << 40}}}, trapCode())
	p.Memory()[1<<39] = 1
	p.Stop()
	runs, err := p.Populated()
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]bool{}
	for _, r := range runs {
		for a := r.Start; a < r.End(); a += 4096 {
			got[a] = true
		}
	}
	if !got[code] || !got[1<<39] || got[data] {
		t.Errorf("Populated() = %v", runs)
	}
}

func TestLimits(t *testing.T) {
	loop := loopCode()
	p := start(t, context.Background(), process.Config{MaxTime: 50 * time.Millisecond}, loop)
	if s, err := p.Resume(); !errors.Is(err, process.ErrTime) {
		t.Errorf("Resume(endless loop) = %v, %v, want %v", s, err, process.ErrTime)
	}
	if s, err := p.Resume(); err == nil {
		t.Errorf("Resume(after its death) = %v, %v, want an error", s, err)
	}

	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("enough")
	p = start(t, ctx, process.Config{}, loop)
	time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
	if s, err := p.Resume(); !errors.Is(err, reason) {
		t.Errorf("Resume(cancelled) = %v, %v, want %v", s, err, reason)
	}

	grow := growCode()
	big := process.Config{RAM: []process.Range{{Start: ramStart, Size: 64 << 30}}, MaxMemory: 16 << 20}
	p = start(t, context.Background(), big, grow)
	if s, err := p.Resume(); !errors.Is(err, process.ErrMemory) {
		t.Errorf("Resume(all memory) = %v, %v, want %v", s, err, process.ErrMemory)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p, err := process.Start(context.Background(), process.Config{RAM: []process.Range{{Start: ramStart, Size: 8 << 30}}})
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}

func BenchmarkStop(b *testing.B) {
	p, err := process.Start(context.Background(), process.Config{RAM: []process.Range{{Start: ramStart, Size: ramSize}}})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	copy(p.Memory()[code:], cat(trapCode(), trapLoop()))
	if err := p.Protect(process.Range{Start: code, Size: 4096}, process.WriteExecute); err != nil {
		b.Fatal(err)
	}
	if err := p.CPU().Enter(code, top, 0, 0, 0); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Resume(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSlotPageCannotBeWritten(t *testing.T) {
	p := start(t, context.Background(), process.Config{}, writeCode(data))
	if err := p.Protect(process.Range{Start: data, Size: 4096}, process.Execute); err != nil {
		t.Fatal(err)
	}
	if s, err := p.Resume(); err != nil || s.Kind != process.Access || s.Addr != data {
		t.Errorf("Resume() = %v, %v, want %v of %#x", s, err, process.Access, data)
	}
}

// Reading memory that the guest never used makes pages too, though no
// instruction of the guest runs.
func TestWithinCountsWhatOthersRead(t *testing.T) {
	p := start(t, context.Background(), process.Config{RAM: []process.Range{{Start: ramStart, Size: 1 << 30}}, MaxMemory: 16 << 20}, trapLoop())
	if err := p.Within(); err != nil {
		t.Errorf("Within() at first = %v", err)
	}
	sum := byte(0)
	for b := p.Memory()[2*ramStart:][:32<<20]; len(b) > 0; b = b[4096:] {
		sum |= b[0]
	}
	if err := p.Within(); !errors.Is(err, process.ErrMemory) || sum != 0 {
		t.Errorf("Within() after reading 32 MiB = %v, %d, want %v", err, sum, process.ErrMemory)
	}
}
