// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/peelboot/peel/efi/process"
)

const getpid = 39 // its number

func imm64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func trapCode() []byte { return []byte{0xcc} }       // int3
func loopCode() []byte { return []byte{0xeb, 0xfe} } // jmp .

// trapLoop goes back to a trap just before it, which the guest has passed.
func trapLoop() []byte { return []byte{0xeb, 0xfd} }

// growCode writes to page after page from behind the stack on.
func growCode() []byte {
	// mov edi, 1 MiB+128 KiB; 1: mov [rdi], edi; add rdi, 4096; jmp 1b
	return []byte{0xbf, 0x00, 0x00, 0x12, 0x00, 0x89, 0x3f, 0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0xeb, 0xf5}
}

// writeCode writes a byte to an address.
func writeCode(to uint64) []byte { return cat([]byte{0x48, 0xb8}, imm64(to), []byte{0xc6, 0x00, 0x90}) }

// stops are acts that a guest has no business to do.
func stops() []act {
	movRAX := func(v uint64) []byte { return cat([]byte{0x48, 0xb8}, imm64(v)) }
	jmp := func(to uint64) []byte { return cat(movRAX(to), []byte{0xff, 0xe0}) }
	exit := movRAX(60)
	tests := []act{
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
	return tests
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
