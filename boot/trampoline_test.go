// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

func TestTrampolineX86(t *testing.T) {
	const at, params, entry = 0x123456000, 0x234567000, 0x345678200
	b := TrampolineX86(at, params, entry)
	var got []string
	off := 0
	for off < 0x48 && len(got) < 18 {
		in, err := x86asm.Decode(b[off:], 64)
		if err != nil {
			t.Fatalf("offset %#x: %v", off, err)
		}
		got = append(got, fmt.Sprintf("%02x: %s", off, x86asm.IntelSyntax(in, uint64(at+off), nil)))
		off += in.Len
		if in.Op == x86asm.JMP {
			break
		}
	}
	want := []string{
		"00: cli",
		"01: cld",
		"02: mov rsp, 0x123456100",
		"0c: lgdt ptr [rip+0x55]", // 0x13 + 0x55 = 0x68
		"13: mov eax, 0x18",
		"18: mov ds, ax",
		"1a: mov es, ax",
		"1c: mov ss, ax",
		"1e: mov fs, ax",
		"20: mov gs, ax",
		"22: push 0x10",
		"24: lea rax, ptr [rip+0x3]", // 0x2b + 3 = 0x2e
		"2b: push rax",
		"2c: ret far",
		"2e: mov rsi, 0x234567000",
		"38: mov rax, 0x345678200",
		"42: jmp rax",
	}
	for i := range got {
		got[i] = strings.ToLower(got[i])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("instructions, -want +got:\n%s", d)
	}
	// The table that lgdt loads: its limit, its address, its descriptors.
	if limit, addr := le.Uint16(b[0x68:]), le.Uint64(b[0x6a:]); limit != 31 || addr != at+0x48 {
		t.Errorf("GDT limit %d, address %#x, want 31, %#x", limit, addr, uint64(at+0x48))
	}
	for i, w := range []uint64{0, 0, 0x00af9a000000ffff, 0x00cf92000000ffff} {
		if got := le.Uint64(b[0x48+8*i:]); got != w {
			t.Errorf("descriptor %#x = %#x, want %#x", 8*i, got, w)
		}
	}
	if len(b) > trampolineStack-16 {
		t.Errorf("%#x bytes reach into the stack that ends at %#x", len(b), trampolineStack)
	}
}

func TestTrampolineARM64(t *testing.T) {
	const dtb, entry = 0x48200000, 0x40200000
	b := TrampolineARM64(dtb, entry)
	var got []string
	for off := 0; off < 24; off += 4 {
		in, err := arm64asm.Decode(b[off:])
		if err != nil {
			t.Fatalf("offset %#x: %v", off, err)
		}
		got = append(got, strings.ToLower(in.String()))
	}
	want := []string{"ldr x0, .+0x18", "ldr x4, .+0x1c", "mov x1, xzr", "mov x2, xzr", "mov x3, xzr", "br x4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("instructions, -want +got:\n%s", d)
	}
	if x0, x4 := le.Uint64(b[0+0x18:]), le.Uint64(b[4+0x1c:]); x0 != dtb || x4 != entry {
		t.Errorf("x0 = %#x, x4 = %#x, want %#x, %#x", x0, x4, uint64(dtb), uint64(entry))
	}
}
