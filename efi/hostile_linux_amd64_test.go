// SPDX-License-Identifier: Apache-2.0

package efi_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/efi/process"
)

// Pieces of code. RBX holds the system table, RSI the boot services.
func prologue() []byte {
	return []byte{
		0x48, 0x83, 0xec, 0x68, // sub rsp, 0x68
		0x48, 0x89, 0xd3, // mov rbx, rdx
		0x48, 0x89, 0xcf, // mov rdi, rcx
		0x48, 0x8b, 0x72, 0x60, // mov rsi, [rdx+0x60]
	}
}
func bootCall(off uint32) []byte { return le.AppendUint32([]byte{0xff, 0x96}, off) } // call [rsi+off]
func rcx(v uint64) []byte        { return le.AppendUint64([]byte{0x48, 0xb9}, v) }
func rdx(v uint64) []byte        { return le.AppendUint64([]byte{0x48, 0xba}, v) }
func r8(v uint64) []byte         { return le.AppendUint64([]byte{0x49, 0xb8}, v) }
func r9(v uint64) []byte         { return le.AppendUint64([]byte{0x49, 0xb9}, v) }
func epilogue() []byte           { return []byte{0x48, 0x83, 0xc4, 0x68, 0xc3} } // add rsp, 0x68; ret

// leave is code that leaves boot services as loaders do: GetMemoryMap into
// memory behind the code, and ExitBootServices with the key that it gave.
func leave() []byte {
	return cat(
		[]byte{0x48, 0x8d, 0x2d, 0x00, 0x08, 0x00, 0x00},             // lea rbp, [rip+0x800]
		[]byte{0x48, 0x81, 0xe5, 0x00, 0xff, 0xff, 0xff},             // and rbp, -256
		[]byte{0x48, 0xc7, 0x45, 0x00, 0x00, 0x04, 0x00, 0x00},       // mov qword [rbp], 0x400
		[]byte{0x48, 0x89, 0xe9},                                     // mov rcx, rbp
		[]byte{0x48, 0x8d, 0x95, 0x80, 0, 0, 0},                      // lea rdx, [rbp+0x80]
		[]byte{0x4c, 0x8d, 0x45, 0x08},                               // lea r8, [rbp+8]
		[]byte{0x4c, 0x8d, 0x4d, 0x10},                               // lea r9, [rbp+0x10]
		[]byte{0x48, 0x8d, 0x45, 0x18, 0x48, 0x89, 0x44, 0x24, 0x20}, // lea rax, [rbp+0x18]; mov [rsp+0x20], rax
		bootCall(0x38),
		[]byte{0x48, 0x89, 0xf9},       // mov rcx, rdi
		[]byte{0x48, 0x8b, 0x55, 0x08}, // mov rdx, [rbp+8]
		bootCall(0xe8),
	)
}

const (
	machineX86 = 0x8664
	// recorded is the machine that programs run on.
	recorded  = "x86-bios"
	peMachine = machineX86
)

// begin is a prologue after which RBP holds where the program keeps data, and
// a function lies 0x200 bytes before that.
func begin() []byte {
	return cat([]byte{0x48, 0x8d, 0x2d, 0xf9, 0x07, 0x00, 0x00}, prologue()) // lea rbp, [rip+0x7f9]
}

// arg sets argument n, argAt makes it the address of data at an offset.
func arg(n int, v uint64) []byte { return [](func(uint64) []byte){rcx, rdx, r8, r9}[n](v) }
func argAt(n int, off int32) []byte {
	if n == 4 {
		return cat(le.AppendUint32([]byte{0x48, 0x8d, 0x85}, uint32(off)), []byte{0x48, 0x89, 0x44, 0x24, 0x20}) // lea rax, [rbp+off]; mov [rsp+0x20], rax
	}
	return le.AppendUint32([][]byte{{0x48, 0x8d, 0x8d}, {0x48, 0x8d, 0x95}, {0x4c, 0x8d, 0x85}, {0x4c, 0x8d, 0x8d}}[n], uint32(off))
}

// loadArg makes argument n what data holds, handleArg the image's handle.
func loadArg(n int, off int32) []byte {
	return le.AppendUint32([][]byte{{0x48, 0x8b, 0x8d}, {0x48, 0x8b, 0x95}}[n], uint32(off))
}
func handleArg() []byte { return []byte{0x48, 0x89, 0xf9} } // mov rcx, rdi

// poke writes data, end returns the difference of data and want.
func poke(off int32, v uint64) []byte {
	return cat(le.AppendUint64([]byte{0x48, 0xb8}, v), le.AppendUint32([]byte{0x48, 0x89, 0x85}, uint32(off)))
}
func end(off int32, want uint32) []byte {
	return cat(le.AppendUint32([]byte{0x8b, 0x85}, uint32(off)), le.AppendUint32([]byte{0x2d}, want), epilogue())
}

// runtimeServices makes bootCall call those.
func runtimeServices() []byte { return []byte{0x48, 0x8b, 0x73, 0x58} } // mov rsi, [rbx+0x58]

// increment is a notification function that counts in its context.
func increment() []byte { return []byte{0x48, 0xff, 0x02, 0xc3} } // inc qword [rdx]; ret

// TestHostilePrograms: whatever an image does, Run ends and names the act.
func TestHostilePrograms(t *testing.T) {
	jump := func(to uint64) []byte { return cat(le.AppendUint64([]byte{0x48, 0xb8}, to), []byte{0xff, 0xe0}) }
	tests := []struct {
		name string
		code []byte
		want error
		says string
	}{
		{"returns", []byte{0x31, 0xc0, 0xc3}, efi.ErrEnded, "SUCCESS"},
		{"returns an error", cat(le.AppendUint64([]byte{0x48, 0xb8}, uint64(firmware.LoadError)), []byte{0xc3}), efi.ErrEnded, "LOAD_ERROR"},
		{"system call", []byte{0xb8, 60, 0, 0, 0, 0x0f, 0x05}, efi.ErrIllegal, "system call"},
		{"int 0x80", []byte{0xb8, 1, 0, 0, 0, 0xcd, 0x80}, efi.ErrIllegal, "image offset 0x1005"},
		{"privileged instruction", []byte{0xfa}, efi.ErrIllegal, "cli (or image offset 0x1000)"},
		{"port", []byte{0xe6, 0x80}, efi.ErrIllegal, "out to a port"},
		{"32-bit code", []byte{0x6a, 0x23, 0x68, 0, 0, 0x10, 0, 0x48, 0xcb}, process.ErrMode, ""},
		{"jump to nothing", jump(0x123456789000), efi.ErrIllegal, "jump to memory that is not code at 0x123456789000"},
		{"jump to data", jump(0x200000), efi.ErrIllegal, "jump to memory that is not code at 0x200000"},
		{"breakpoint", []byte{0xcc}, efi.ErrIllegal, "breakpoint"},
		{"endless loop", []byte{0xeb, 0xfe}, process.ErrTime, ""},
		{"all memory", []byte{0xbf, 0, 0, 0x20, 0, 0x89, 0x3f, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0xeb, 0xf5}, process.ErrMemory, ""},
		{"write to a service", cat(prologue(), []byte{0x48, 0x8b, 0x46, 0x28, 0xc6, 0x00, 0xc3}), efi.ErrIllegal, "access to memory that is not there"},
		{"stack that is none", []byte{0x31, 0xe4, 0x50}, efi.ErrIllegal, "access"},
		{"call without a stack", cat(prologue(), []byte{0x48, 0x8b, 0x46, 0x28, 0x31, 0xe4, 0xff, 0xe0}), efi.ErrIllegal, "access"},
		{"calls for ever", cat(prologue(), rcx(1), bootCall(0xf8), []byte{0xeb, 0xee}), process.ErrTime, ""},
		{"stalls for ever", cat(prologue(), rcx(60e6), bootCall(0xf8), []byte{0xeb, 0xee}), firmware.ErrHalted, ""},
		{"kernel that is nowhere", cat(prologue(), leave(), jump(0x100000)), efi.ErrHandOver, "entry 0x100000"},
		{"services after they have ended", cat(prologue(), leave(), rcx(60e6), bootCall(0xf8), epilogue()), efi.ErrEnded, "UNSUPPORTED"},
		{"cli after boot services", cat(prologue(), leave(), []byte{0x90, 0xfa}), efi.ErrIllegal, "cli"},
		{"hand-over without boot_params", cat(prologue(), leave(), []byte{0x31, 0xf6, 0xfc, 0xfa}), efi.ErrHandOver, "argument 0x0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := runProgram(t, tt.code, func(o *efi.Options) {
				o.Limits = efi.Limits{Time: time.Minute, Memory: 64 << 20}
				if errors.Is(tt.want, process.ErrTime) {
					o.Limits.Time = 200 * time.Millisecond
				}
			})
			says, _, _ := strings.Cut(tt.says, " (or")
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), says) {
				t.Errorf("Run() = %v, want %v that says %q", err, tt.want, says)
			}
		})
	}
}

// TestHostilePointers gives each boot service pointers that are none.
func TestHostilePointers(t *testing.T) {
	for _, p := range []uint64{1, 0xfff, 0x9f000, 0x123456789000, 0x7e0000000000, 0x8000000000000000, ^uint64(0)} {
		code := prologue()
		for off := uint32(0x28); off <= 0x170; off += 8 {
			switch off {
			// Native code moves memory as the guest itself can; Exit and a
			// long Stall end it; 0xa0 is reserved.
			case 0xa0, 0xd8, 0xf8, 0x158, 0x160, 0x168:
				continue
			}
			code = append(code, cat(rcx(p), rdx(p), r8(p), r9(p), bootCall(off))...)
		}
		code = append(code, 0x31, 0xc0)
		code = append(code, epilogue()...)
		if len(code) > 0x1000 {
			t.Fatalf("%d bytes of code", len(code))
		}
		calls := 0
		err := runProgram(t, code, func(o *efi.Options) {
			o.Trace = func(c efi.Call) {
				calls++
				if !c.Status.IsError() && c.Name != "SetWatchdogTimer" && c.Name != "Exit" {
					t.Errorf("%s%v = %v", c.Name, c.Args, c.Status)
				}
			}
		})
		if !errors.Is(err, efi.ErrEnded) || calls < 35 {
			t.Errorf("pointers %#x: Run() = %v after %d calls, want %v", p, err, calls, efi.ErrEnded)
		}
	}
}
