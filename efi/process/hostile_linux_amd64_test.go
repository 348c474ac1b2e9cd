// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"encoding/binary"
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

func imm64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// TestStops does each act that a guest has no business to do: it stops, and
// nothing was done.
func TestStops(t *testing.T) {
	movRAX := func(v uint64) []byte { return cat([]byte{0x48, 0xb8}, imm64(v)) }
	jmp := func(to uint64) []byte { return cat(movRAX(to), []byte{0xff, 0xe0}) }
	exit := movRAX(60)
	tests := []struct {
		name string
		code []byte
		kind process.Kind
		says string // by Emulate
	}{
		{"syscall", cat(exit, []byte{0x0f, 0x05}), process.Syscall, ""},
		{"int 0x80", cat(movRAX(1), []byte{0xcd, 0x80}), process.Syscall, ""},
		{"syscall of the page that is ours", cat(exit, cat([]byte{0x48, 0xb9}, imm64(0x7e0000000000+process.StubSyscall)), []byte{0xff, 0xe1}), process.Syscall, ""},
		{"jump to data", jmp(data), process.Fetch, ""},
		{"jump to nowhere", jmp(0x40000000), process.Fetch, ""},
		{"jump to zero", jmp(0), process.Fetch, ""},
		{"read of nothing", cat(movRAX(0x40000000), []byte{0x48, 0x8b, 0x00}), process.Access, ""},
		{"write to the page that is ours", cat(movRAX(0x7e0000000000), []byte{0x48, 0x89, 0x00}), process.Access, ""},
		{"address that is none", cat(movRAX(0x8000000000000000), []byte{0x48, 0x8b, 0x00}), process.Illegal, ""},
		{"kernel address", cat(movRAX(0xffffffff81000000), []byte{0x48, 0x8b, 0x00}), process.Access, ""},
		{"stack that is none", []byte{0x31, 0xe4, 0x50}, process.Access, ""},
		{"cli", []byte{0xfa}, process.Illegal, "cli"},
		{"sti", []byte{0xfb}, process.Illegal, "sti"},
		{"hlt", []byte{0xf4}, process.Illegal, "hlt"},
		{"in", []byte{0xe4, 0x60}, process.Illegal, "in from a port"},
		{"out", []byte{0xe6, 0x64}, process.Illegal, "out to a port"},
		{"outsb", []byte{0xf3, 0x6e}, process.Illegal, "out to a port"},
		{"mov cr0", []byte{0x0f, 0x22, 0xc0}, process.Illegal, "mov cr0"},
		{"mov cr3", []byte{0x0f, 0x22, 0xd8}, process.Illegal, "mov cr3"},
		{"mov cr8", []byte{0x44, 0x0f, 0x20, 0xc0}, process.Illegal, "cr8"},
		{"mov dr7", []byte{0x0f, 0x23, 0xf8}, process.Illegal, "debug register"},
		{"lgdt", cat(movRAX(data), []byte{0x0f, 0x01, 0x10}), process.Illegal, "system instruction"},
		{"rdmsr", []byte{0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32}, process.Illegal, "rdmsr 0x1b"},
		{"wrmsr", []byte{0x0f, 0x30}, process.Illegal, "wrmsr"},
		{"ud2", []byte{0x0f, 0x0b}, process.Illegal, "ud2"},
		{"division by zero", []byte{0x31, 0xc9, 0xf7, 0xf1}, process.Illegal, ""},
		{"int 3", []byte{0xcc}, process.Trap, ""},
		{"int1", []byte{0xf1}, process.Illegal, ""},
		{"single steps", cat([]byte{0x68, 0x00, 0x01, 0, 0, 0x9d}, []byte{0x90, 0x90}), process.Illegal, ""},
		{"swapgs", []byte{0x0f, 0x01, 0xf8}, process.Illegal, "system instruction"},
		{"iret to the kernel", []byte{0x48, 0xcf}, process.Illegal, ""},
	}
	for _, tt := range tests {
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

// TestModes leaves 64-bit mode: the registers of that mode are not believed.
func TestModes(t *testing.T) {
	tests := []struct {
		name string
		code []byte
	}{
		// push 0x23; push target; lretq, and 32-bit code that does int 0x80.
		{"int 0x80", []byte{0x6a, 0x23, 0x68, 0x00, 0x01, 0x10, 0x00, 0x48, 0xcb}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, context.Background(), process.Config{}, tt.code)
			copy(p.Memory()[code+0x100:], []byte{0xb8, 1, 0, 0, 0, 0xcd, 0x80, 0x0f, 0x34, 0x0f, 0x05})
			if s, err := p.Resume(); !errors.Is(err, process.ErrMode) {
				t.Errorf("Resume() = %v, %v, want %v", s, err, process.ErrMode)
			}
		})
	}
	for name, insn := range map[string][]byte{"sysenter": {0x0f, 0x34}, "syscall": {0x0f, 0x05}} {
		t.Run("32-bit "+name, func(t *testing.T) {
			p := start(t, context.Background(), process.Config{}, []byte{0x6a, 0x23, 0x68, 0x00, 0x01, 0x10, 0x00, 0x48, 0xcb})
			copy(p.Memory()[code+0x100:], insn)
			if s, err := p.Resume(); err == nil && s.Kind == 0 {
				t.Errorf("Resume() = %v, %v, want a stop", s, err)
			}
		})
	}
}

func TestEmulated(t *testing.T) {
	// mov rax, cr0; mov r9, cr4; mov rcx, cr3; wbinvd; efer; int3
	p := start(t, context.Background(), process.Config{}, []byte{
		0x0f, 0x20, 0xc0, 0x41, 0x0f, 0x20, 0xe1, 0x0f, 0x20, 0xd9, 0x0f, 0x09,
		0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0xcc,
	})
	for range 5 {
		s, err := p.Resume()
		if err != nil || s.Kind != process.Illegal {
			t.Fatalf("Resume() = %v, %v, want %v", s, err, process.Illegal)
		}
		if what, ok, err := p.Emulate(); !ok || err != nil {
			t.Fatalf("Emulate() = %q, %v, %v, want true", what, ok, err)
		}
	}
	if s, err := p.Resume(); err != nil || s.Kind != process.Trap || s.PC != code+19 {
		t.Fatalf("Resume() = %v, %v, want a breakpoint at %#x", s, err, code+19)
	}
	regs := map[string]uint64{}
	for _, r := range p.CPU().Registers() {
		regs[r.Name] = r.Value
	}
	if regs["r9"]&^0x1000 != 0x6a0 || regs["rax"] != 0xd00 {
		t.Errorf("cr4 = %#x, efer = %#x, want 0x6a0 and 0xd00", regs["r9"], regs["rax"])
	}
}

func TestCall(t *testing.T) {
	// sub rsp, 0x38; mov qword [rsp+0x20], 5; mov r8d, 3; mov r9d, 4; mov eax, slot; call rax; int3
	b := cat([]byte{0x48, 0x83, 0xec, 0x38, 0x48, 0xc7, 0x44, 0x24, 0x20, 5, 0, 0, 0, 0x41, 0xb8, 3, 0, 0, 0, 0x41, 0xb9, 4, 0, 0, 0, 0xb8},
		binary.LittleEndian.AppendUint32(nil, code+0x100), []byte{0xff, 0xd0, 0xcc})
	p := start(t, context.Background(), process.Config{}, b)
	copy(p.Memory()[code+0x100:], []byte{0xcc, 0xc3})
	s, err := p.Resume()
	if err != nil || s.Kind != process.Trap || s.PC != code+0x100 {
		t.Fatalf("Resume() = %v, %v, want a breakpoint at %#x", s, err, code+0x100)
	}
	for i, want := range []uint64{0x11, 0x22, 3, 4, 5} {
		if got, err := p.CPU().Arg(i); got != want || err != nil {
			t.Errorf("Arg(%d) = %#x, %v, want %#x", i, got, err, want)
		}
	}
	p.CPU().Return(0x8000000000000003)
	if s, err = p.Resume(); err != nil || s.Kind != process.Trap || s.PC != code+32 {
		t.Fatalf("Resume() = %v, %v, want a breakpoint at %#x", s, err, code+32)
	}
	if got := p.CPU().Result(); got != 0x8000000000000003 {
		t.Errorf("Result() = %#x", got)
	}
}

func TestSlotPageCannotBeWritten(t *testing.T) {
	p := start(t, context.Background(), process.Config{}, cat([]byte{0x48, 0xb8}, imm64(data), []byte{0xc6, 0x00, 0x90}))
	if err := p.Protect(process.Range{Start: data, Size: 4096}, process.Execute); err != nil {
		t.Fatal(err)
	}
	if s, err := p.Resume(); err != nil || s.Kind != process.Access || s.Addr != data {
		t.Errorf("Resume() = %v, %v, want %v of %#x", s, err, process.Access, data)
	}
}

func TestLimits(t *testing.T) {
	loop := []byte{0xeb, 0xfe}
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

	// mov edi, 1 MiB+128 KiB; 1: mov [rdi], edi; add rdi, 4096; jmp 1b
	grow := []byte{0xbf, 0x00, 0x00, 0x12, 0x00, 0x89, 0x3f, 0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0xeb, 0xf5}
	big := process.Config{RAM: []process.Range{{Start: ramStart, Size: 64 << 30}}, MaxMemory: 16 << 20}
	p = start(t, context.Background(), big, grow)
	if s, err := p.Resume(); !errors.Is(err, process.ErrMemory) {
		t.Errorf("Resume(all memory) = %v, %v, want %v", s, err, process.ErrMemory)
	}
}

// TestNothingElse looks at the process from outside.
func TestNothingElse(t *testing.T) {
	p := start(t, context.Background(), process.Config{}, []byte{0xcc})
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
	p := start(t, context.Background(), process.Config{}, []byte{0xcc})
	const getpid = 39
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
	p := start(t, context.Background(), process.Config{RAM: []process.Range{{Start: ramStart, Size: 1 << 40}}}, []byte{0xcc})
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
	copy(p.Memory()[code:], []byte{0xcc, 0xeb, 0xfd})
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
