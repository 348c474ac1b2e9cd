// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package efi_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/machine/machinetest"
)

var le = binary.LittleEndian

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// program makes an EFI application of machine code, which is entered as UEFI
// says: the handle of the image, and the system table.
func program(code []byte) []byte {
	b := make([]byte, 0x1200)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	h := b[0x44:]
	le.PutUint16(h, peMachine)
	le.PutUint16(h[2:], 1)
	le.PutUint16(h[16:], 112+16*8)
	o := h[20:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[16:], 0x1000)
	le.PutUint32(o[32:], 0x1000)
	le.PutUint32(o[36:], 0x200)
	le.PutUint32(o[56:], 0x2000)
	le.PutUint32(o[60:], 0x200)
	le.PutUint16(o[68:], 10)
	le.PutUint32(o[108:], 16)
	s := o[112+16*8:]
	copy(s, ".text")
	le.PutUint32(s[8:], 0x1000)
	le.PutUint32(s[12:], 0x1000)
	le.PutUint32(s[16:], 0x1000)
	le.PutUint32(s[20:], 0x200)
	le.PutUint32(s[36:], 0xe0000020)
	copy(b[0x200:], code)
	return b
}

// at puts a function behind code, at the offset where begin expects it.
func at(code []byte, function []byte) []byte {
	out := make([]byte, 0x600, 0x700)
	copy(out, code)
	return append(out, function...)
}

func runProgram(t *testing.T, code []byte, change func(*efi.Options)) error {
	t.Helper()
	o := efi.Options{Machine: machinetest.Machine(t, recorded), Verify: verified}
	if change != nil {
		change(&o)
	}
	st, err := efi.Run(context.Background(), program(code), o)
	if err == nil {
		st.Close()
	}
	return err
}

func verified([]byte) error { return nil }

// Services by their offsets in the boot services table (UEFI, section 4.4).
const (
	getMemoryMap = 0x38
	createEvent  = 0x50
	signalEvent  = 0x68
	closeEvent   = 0x70
	exitBoot     = 0xe8
	calculateCRC = 0x158
	copyMem      = 0x160
	setMem       = 0x168
)

// TestNative runs the services that are machine code.
func TestNative(t *testing.T) {
	digits := poke(0, le.Uint64([]byte("12345678")))
	moved := func(to, from int32, n int) uint32 {
		b := []byte("12345678ABCDEFGHabcdefghIJKLMNOPijklmnop")
		copy(b[to:], b[from:int(from)+n])
		return crc32.ChecksumIEEE(b)
	}
	letters := cat(digits)
	for i, s := range []string{"ABCDEFGH", "abcdefgh", "IJKLMNOP", "ijklmnop"} {
		letters = cat(letters, poke(8*int32(i+1), le.Uint64([]byte(s))))
	}
	crc := func(n uint64) []byte {
		return cat(argAt(0, 0), arg(1, n), argAt(2, 0x80), bootCall(calculateCRC))
	}
	move := func(to, from int32, n int) []byte {
		return cat(begin(), letters, argAt(0, to), argAt(1, from), arg(2, uint64(n)), bootCall(copyMem), crc(40), end(0x80, moved(to, from, n)))
	}
	tests := []struct {
		name string
		code []byte
		says string
	}{
		{"CalculateCrc32", cat(begin(), digits, poke(8, '9'), crc(9), end(0x80, 0xcbf43926)), "SUCCESS"},
		{"CalculateCrc32 of another size", cat(begin(), digits, poke(8, '9'), crc(10), end(0x80, 0xcbf43926)), "image ended"},
		{"CalculateCrc32 of nothing", cat(begin(), crc(0), epilogue()), "INVALID_PARAMETER"},
		{"CalculateCrc32 of NULL", cat(begin(), arg(0, 0), arg(1, 9), argAt(2, 0x80), bootCall(calculateCRC), epilogue()), "INVALID_PARAMETER"},
		{"CalculateCrc32 to NULL", cat(begin(), argAt(0, 0), arg(1, 9), arg(2, 0), bootCall(calculateCRC), epilogue()), "INVALID_PARAMETER"},
		{"CopyMem up", move(3, 0, 33), "SUCCESS"},
		{"CopyMem down", move(0, 3, 35), "SUCCESS"},
		{"CopyMem apart", move(20, 0, 19), "SUCCESS"},
		{"CopyMem of nothing", move(1, 0, 0), "SUCCESS"},
		{"SetMem", cat(begin(), letters, argAt(0, 0), arg(1, 37), arg(2, 'x'), bootCall(setMem), crc(40),
			end(0x80, crc32.ChecksumIEEE([]byte(strings.Repeat("x", 37)+"nop")))), "SUCCESS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stops := 0
			err := runProgram(t, tt.code, func(o *efi.Options) {
				o.Trace = func(c efi.Call) {
					if c.Name != "Exit" {
						stops++
					}
				}
			})
			if !errors.Is(err, efi.ErrEnded) || !strings.Contains(err.Error(), tt.says) || stops != 0 {
				t.Errorf("Run() = %v after %d stops, want %v: %s after none", err, stops, efi.ErrEnded, tt.says)
			}
			if tt.says == "image ended" && strings.Contains(err.Error(), "SUCCESS") {
				t.Error("the test cannot fail")
			}
		})
	}
}

// TestNotificationFunctions: firmware calls the image's own code, when an
// event is signalled and when boot services end.
func TestNotificationFunctions(t *testing.T) {
	create := func(kind uint64) []byte {
		return cat(arg(0, kind), arg(1, 8), argAt(2, -0x200), argAt(3, 0x18), argAt(4, 0x20), bootCall(createEvent))
	}
	leave := cat(poke(0, 0x500), argAt(0, 0), argAt(1, 0x80), argAt(2, 8), argAt(3, 0x10), argAt(4, 0x28), bootCall(getMemoryMap),
		handleArg(), loadArg(1, 8), bootCall(exitBoot))
	tests := []struct {
		name string
		code []byte
	}{
		{"signal", cat(begin(), poke(0x18, 0), create(0x200), loadArg(0, 0x20), bootCall(signalEvent), loadArg(0, 0x20), bootCall(signalEvent), end(0x18, 2))},
		{"signal after it was closed", cat(begin(), poke(0x18, 0), create(0x200), loadArg(0, 0x20), bootCall(closeEvent), loadArg(0, 0x20), bootCall(signalEvent), end(0x18, 0))},
		{"end of boot services", cat(begin(), poke(0x18, 0), create(0x201), create(0x201), leave, end(0x18, 2))},
		{"not before", cat(begin(), poke(0x18, 0), create(0x201), end(0x18, 0))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := runProgram(t, at(tt.code, increment()), nil)
			if !errors.Is(err, efi.ErrEnded) || !strings.HasSuffix(err.Error(), "SUCCESS") {
				t.Errorf("Run() = %v, want %v: SUCCESS", err, efi.ErrEnded)
			}
		})
	}
}

// TestHostilePointersAtRuntime gives each runtime service pointers that are
// none.
func TestHostilePointersAtRuntime(t *testing.T) {
	const resetSystem = 0x68
	for _, p := range []uint64{1, 0xfff, 0x123456789000, 0x8000000000000000, ^uint64(0)} {
		code := cat(begin(), runtimeServices())
		for off := uint32(0x18); off <= 0x80; off += 8 {
			if off != resetSystem {
				code = append(code, cat(arg(0, p), arg(1, p), arg(2, p), arg(3, p), bootCall(off))...)
			}
		}
		code = append(code, cat(poke(0, 0), end(0, 0))...)
		var called []string
		err := runProgram(t, code, func(o *efi.Options) {
			o.Trace = func(c efi.Call) {
				called = append(called, c.Name)
				if !c.Status.IsError() && c.Name != "Exit" {
					t.Errorf("%s%v = %v", c.Name, c.Args, c.Status)
				}
			}
		})
		if !errors.Is(err, efi.ErrEnded) || !strings.HasSuffix(err.Error(), "SUCCESS") || len(called) != 14 {
			t.Errorf("pointers %#x: Run() = %v after %q", p, err, called)
		}
	}
}
