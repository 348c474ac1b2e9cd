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

const (
	// recorded is the machine that programs run on.
	recorded  = "arm64-dtb"
	peMachine = 0xaa64
)

func words(w ...uint32) []byte {
	var b []byte
	for _, v := range w {
		b = le.AppendUint32(b, v)
	}
	return b
}

// begin is a prologue after which x22 holds where the program keeps data, and
// a function lies 0x200 bytes before that; x21 holds the boot services.
func begin() []byte {
	return words(0x10004016, // adr x22, .+0x800
		0xa9bc7bfd, // stp x29, x30, [sp, #-64]!
		0xaa0103f3, // mov x19, x1
		0xaa0003f4, // mov x20, x0
		0xf9403035) // ldr x21, [x1, #0x60]
}

func epilogue() []byte { return words(0xa8c47bfd, 0xd65f03c0) } // ldp x29, x30, [sp], #64; ret

// bootCall calls the boot service at an offset.
func bootCall(off uint32) []byte {
	return words(0xf94002b0|off/8<<10, 0xd63f0200) // ldr x16, [x21, #off]; blr x16
}

// arg sets argument n, argAt makes it the address of data at an offset,
// loadArg what data holds, handleArg the image's handle.
func arg(n int, v uint64) []byte {
	r := uint32(n)
	return words(0xd2800000|uint32(v&0xffff)<<5|r, 0xf2a00000|uint32(v>>16&0xffff)<<5|r,
		0xf2c00000|uint32(v>>32&0xffff)<<5|r, 0xf2e00000|uint32(v>>48)<<5|r)
}

func argAt(n int, off int32) []byte {
	if off < 0 {
		return words(0xd10002c0 | uint32(-off)<<10 | uint32(n)) // sub xn, x22, #-off
	}
	return words(0x910002c0 | uint32(off)<<10 | uint32(n)) // add xn, x22, #off
}

func loadArg(n int, off int32) []byte {
	return words(0xf94002c0 | uint32(off)/8<<10 | uint32(n)) // ldr xn, [x22, #off]
}

func handleArg() []byte { return words(0xaa1403e0) } // mov x0, x20

// poke writes data, end returns the difference of data and want.
func poke(off int32, v uint64) []byte {
	return cat(arg(9, v), words(0xf90002c0|uint32(off)/8<<10|9)) // str x9, [x22, #off]
}

func end(off int32, want uint32) []byte {
	return cat(words(0xb94002c0|uint32(off)/4<<10), arg(1, uint64(want)), words(0x4b010000), epilogue()) // ldr w0, [x22, #off]; sub w0, w0, w1
}

// runtimeServices makes bootCall call those.
func runtimeServices() []byte { return words(0xf9402e75) } // ldr x21, [x19, #0x58]

// increment is a notification function that counts in its context.
func increment() []byte { return words(0xf9400022, 0x91000442, 0xf9000022, 0xd65f03c0) }

// TestHostilePrograms: whatever an image does, Run ends and names the act.
func TestHostilePrograms(t *testing.T) {
	jump := func(to uint64) []byte { return cat(arg(9, to), words(0xd61f0120)) } // br x9
	leave := cat(poke(0, 0x500), argAt(0, 0), argAt(1, 0x80), argAt(2, 8), argAt(3, 0x10), argAt(4, 0x28), bootCall(getMemoryMap),
		handleArg(), loadArg(1, 8), bootCall(exitBoot))
	stall := cat(arg(0, 60e6), bootCall(0xf8))
	tests := []struct {
		name string
		code []byte
		want error
		says string
	}{
		{"returns", words(0xd2800000, 0xd65f03c0), efi.ErrEnded, "SUCCESS"},
		{"returns an error", cat(arg(0, uint64(firmware.LoadError)), words(0xd65f03c0)), efi.ErrEnded, "LOAD_ERROR"},
		{"system call", words(0xd2800ba8, 0xd4000001), efi.ErrIllegal, "system call"},
		{"hypervisor call", words(0xd4000002), efi.ErrIllegal, "image offset 0x1000"},
		{"privileged instruction", words(0xd518c000), efi.ErrIllegal, "msr"},
		{"interrupts off", words(0xd5034fdf), efi.ErrIllegal, "system instruction"},
		{"jump to nothing", jump(0x123456789000), efi.ErrIllegal, "jump to memory that is not code at 0x123456789000"},
		{"jump to data", jump(0x42000000), efi.ErrIllegal, "jump to memory that is not code at 0x42000000"},
		{"breakpoint", words(0xd4200000), efi.ErrIllegal, "breakpoint"},
		{"endless loop", words(0x14000000), process.ErrTime, ""},
		{"all memory", cat(arg(0, 0x42000000), words(0xf9000000, 0x91400400, 0x17fffffe)), process.ErrMemory, ""},
		{"write to a service", cat(begin(), words(0xf94016a9, 0xf9000120)), efi.ErrIllegal, "access to memory that is not there"},
		{"stack that is none", cat(arg(0, 0), words(0x9100001f, 0xf81f0fe0)), efi.ErrIllegal, "access"},
		{"stalls for ever", cat(begin(), stall, stall, stall), firmware.ErrHalted, ""},
		{"kernel that is nowhere", cat(begin(), leave, jump(0x42000000)), efi.ErrHandOver, "entry 0x42000000"},
		{"services after they have ended", cat(begin(), leave, stall, epilogue()), efi.ErrEnded, "UNSUPPORTED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := runProgram(t, tt.code, func(o *efi.Options) {
				o.Limits = efi.Limits{Time: time.Minute, Memory: 64 << 20}
				if errors.Is(tt.want, process.ErrTime) {
					o.Limits.Time = 500 * time.Millisecond
				}
			})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Run() = %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
}

// TestHostilePointers gives each boot service pointers that are none.
func TestHostilePointers(t *testing.T) {
	for _, p := range []uint64{1, 0xfff, 0x3ffff000, 0x123456789000, 0x7e00000000, 0x8000000000000000, ^uint64(0)} {
		code := begin()
		for off := uint32(0x28); off <= 0x170; off += 8 {
			switch off {
			// Native code moves memory as the guest itself can; Exit and a
			// long Stall end it; 0xa0 is reserved.
			case 0xa0, 0xd8, 0xf8, calculateCRC, copyMem, setMem:
				continue
			}
			code = append(code, cat(arg(0, p), arg(1, p), arg(2, p), arg(3, p), arg(4, p), arg(5, p), bootCall(off))...)
		}
		code = append(code, cat(arg(0, 0), epilogue())...)
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
