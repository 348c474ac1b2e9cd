// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

// insn encodes one instruction (RFC 9669, section 3.1). A wide one is followed
// by insn(0, 0, 0, 0, upper half).
func insn(op, dst, src byte, off int16, imm int32) string {
	b := binary.LittleEndian.AppendUint16([]byte{op, dst | src<<4}, uint16(off))
	return hex.EncodeToString(binary.LittleEndian.AppendUint32(b, uint32(imm)))
}

// wide is LD_IMM64 of a constant.
func wide(dst byte, v uint64) string {
	return insn(0x18, dst, 0, 0, int32(v)) + insn(0, 0, 0, 0, int32(v>>32))
}

const exit = "9500000000000000"

// Programs as an outside conformance suite sends them: each class of
// instruction through the command, R0 out of its standard output. Opcodes are
// written as numbers so that a wrong table in package bpf shows.
func TestParserExecConformance(t *testing.T) {
	const a, b = 0x123456789abcdef0, 0xfedcba9876543210
	ab := wide(0, a) + wide(1, b)
	for _, c := range []struct {
		name, program, memory string
		want                  string
	}{
		// Arithmetic, 64 bits, register and constant.
		{"add64", ab + insn(0x0f, 0, 1, 0, 0) + exit, "", "0x1111111111111100"},
		{"add64 constant is sign-extended", wide(0, 1) + insn(0x07, 0, 0, 0, -2) + exit, "", "0xffffffffffffffff"},
		{"sub64", ab + insn(0x1f, 0, 1, 0, 0) + exit, "", "0x13579be02468ace0"},
		{"mul64", ab + insn(0x2f, 0, 1, 0, 0) + exit, "", "0x236d88fe5618cf00"},
		{"div64", wide(0, b) + wide(1, 3) + insn(0x3f, 0, 1, 0, 0) + exit, "", "0x54f43e32d21c10b0"},
		{"div64 by 0", ab + wide(1, 0) + insn(0x3f, 0, 1, 0, 0) + exit, "", "0x0"},
		{"sdiv64", wide(0, uint64(1<<64-10)) + insn(0x37, 0, 0, 1, 3) + exit, "", "0xfffffffffffffffd"},
		{"sdiv64 of the least by -1", wide(0, 1<<63) + insn(0x37, 0, 0, 1, -1) + exit, "", "0x8000000000000000"},
		{"mod64 by 0", ab + wide(1, 0) + insn(0x9f, 0, 1, 0, 0) + exit, "", "0x123456789abcdef0"},
		{"smod64", wide(0, uint64(1<<64-10)) + insn(0x97, 0, 0, 1, 3) + exit, "", "0xffffffffffffffff"},
		{"smod64 of the least by -1", wide(0, 1<<63) + insn(0x97, 0, 0, 1, -1) + exit, "", "0x0"},
		{"or64", ab + insn(0x4f, 0, 1, 0, 0) + exit, "", "0xfefcfef8fefcfef0"},
		{"and64", ab + insn(0x5f, 0, 1, 0, 0) + exit, "", "0x1214121812141210"},
		{"xor64", ab + insn(0xaf, 0, 1, 0, 0) + exit, "", "0xece8ece0ece8ece0"},
		{"lsh64 past the width", wide(0, 1) + wide(1, 65) + insn(0x6f, 0, 1, 0, 0) + exit, "", "0x2"},
		{"rsh64", ab + insn(0x77, 0, 0, 0, 4) + exit, "", "0x123456789abcdef"},
		{"arsh64", wide(0, b) + insn(0xc7, 0, 0, 0, 4) + exit, "", "0xffedcba987654321"},
		{"neg64", wide(0, 1) + insn(0x87, 0, 0, 0, 0) + exit, "", "0xffffffffffffffff"},
		{"mov64 constant is sign-extended", insn(0xb7, 0, 0, 0, -1) + exit, "", "0xffffffffffffffff"},
		// 32 bits: the upper half becomes 0.
		{"add32", ab + insn(0x0c, 0, 1, 0, 0) + exit, "", "0x11111100"},
		{"sub32", ab + insn(0x1c, 0, 1, 0, 0) + exit, "", "0x2468ace0"},
		{"mul32", wide(0, 0x40000001) + insn(0x24, 0, 0, 0, 4) + exit, "", "0x4"},
		{"div32 ignores the upper halves", ab + wide(1, 0xffffffff00000004) + insn(0x3c, 0, 1, 0, 0) + exit, "", "0x26af37bc"},
		{"div32 by 0", ab + wide(1, 1<<32) + insn(0x3c, 0, 1, 0, 0) + exit, "", "0x0"},
		{"mod32 by 0", ab + wide(1, 1<<32) + insn(0x9c, 0, 1, 0, 0) + exit, "", "0x9abcdef0"},
		{"sdiv32", wide(0, 0xfffffff6) + insn(0x34, 0, 0, 1, 3) + exit, "", "0xfffffffd"},
		{"smod32", wide(0, 0xfffffff6) + insn(0x94, 0, 0, 1, 3) + exit, "", "0xffffffff"},
		{"lsh32 past the width", wide(0, 1) + insn(0x64, 0, 0, 0, 33) + exit, "", "0x2"},
		{"rsh32", ab + insn(0x74, 0, 0, 0, 4) + exit, "", "0x9abcdef"},
		{"arsh32", ab + insn(0xc4, 0, 0, 0, 4) + exit, "", "0xf9abcdef"},
		{"neg32", wide(0, 1) + insn(0x84, 0, 0, 0, 0) + exit, "", "0xffffffff"},
		{"mov32", ab + insn(0xbc, 0, 1, 0, 0) + exit, "", "0x76543210"},
		{"movsx 8 to 64", wide(1, 0x80) + insn(0xbf, 0, 1, 8, 0) + exit, "", "0xffffffffffffff80"},
		{"movsx 16 to 64", wide(1, 0x8000) + insn(0xbf, 0, 1, 16, 0) + exit, "", "0xffffffffffff8000"},
		{"movsx 32 to 64", wide(1, 0x80000000) + insn(0xbf, 0, 1, 32, 0) + exit, "", "0xffffffff80000000"},
		{"movsx 8 to 32", wide(1, 0x80) + insn(0xbc, 0, 1, 8, 0) + exit, "", "0xffffff80"},
		{"movsx 16 to 32", wide(1, 0x8000) + insn(0xbc, 0, 1, 16, 0) + exit, "", "0xffff8000"},
		// Byte order.
		{"le16", wide(0, a) + insn(0xd4, 0, 0, 0, 16) + exit, "", "0xdef0"},
		{"le32", wide(0, a) + insn(0xd4, 0, 0, 0, 32) + exit, "", "0x9abcdef0"},
		{"le64", wide(0, a) + insn(0xd4, 0, 0, 0, 64) + exit, "", "0x123456789abcdef0"},
		{"be16", wide(0, a) + insn(0xdc, 0, 0, 0, 16) + exit, "", "0xf0de"},
		{"be32", wide(0, a) + insn(0xdc, 0, 0, 0, 32) + exit, "", "0xf0debc9a"},
		{"be64", wide(0, a) + insn(0xdc, 0, 0, 0, 64) + exit, "", "0xf0debc9a78563412"},
		{"bswap16", wide(0, a) + insn(0xd7, 0, 0, 0, 16) + exit, "", "0xf0de"},
		{"bswap32", wide(0, a) + insn(0xd7, 0, 0, 0, 32) + exit, "", "0xf0debc9a"},
		{"bswap64", wide(0, a) + insn(0xd7, 0, 0, 0, 64) + exit, "", "0xf0debc9a78563412"},
		// Jumps.
		{"ja", wide(0, 1) + insn(0x05, 0, 0, 1, 0) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x1"},
		{"long ja", wide(0, 1) + insn(0x06, 0, 0, 0, 1) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x1"},
		{"jeq32 sees 32 bits", insn(0xb7, 0, 0, 0, 1) + wide(1, 1<<32|7) + insn(0x16, 1, 0, 1, 7) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x1"},
		{"jeq64 sees 64 bits", insn(0xb7, 0, 0, 0, 1) + wide(1, 1<<32|7) + insn(0x15, 1, 0, 1, 7) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x2"},
		{"jlt is unsigned", insn(0xb7, 0, 0, 0, 1) + insn(0xb7, 1, 0, 0, 5) + insn(0xa5, 1, 0, 1, -1) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x1"},
		{"jslt is signed", insn(0xb7, 0, 0, 0, 1) + insn(0xb7, 1, 0, 0, 5) + insn(0xc5, 1, 0, 1, -1) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x2"},
		{"jset", insn(0xb7, 0, 0, 0, 1) + insn(0xb7, 1, 0, 0, 6) + insn(0x45, 1, 0, 1, 2) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x1"},
		{"jump back", insn(0xb7, 1, 0, 0, 5) + insn(0x07, 0, 0, 0, 3) + insn(0x07, 1, 0, 0, -1) + insn(0x55, 1, 0, -3, 0) + exit, "", "0xf"},
		{"exit that is not last", insn(0xb7, 0, 0, 0, 1) + insn(0x05, 0, 0, 2, 0) + insn(0xb7, 0, 0, 0, 2) + exit + insn(0x05, 0, 0, -3, 0), "", "0x2"},
		// Memory: R1 and R2, any alignment.
		{"length in r2", insn(0xbf, 0, 2, 0, 0) + exit, "01 02  03", "0x3"},
		{"no memory", insn(0xbf, 0, 1, 0, 0) + insn(0x4f, 0, 2, 0, 0) + exit, "", "0x0"},
		{"ldxb", insn(0x71, 0, 1, 2, 0) + exit, "001122334455667788", "0x22"},
		{"ldxh unaligned", insn(0x69, 0, 1, 1, 0) + exit, "001122334455667788", "0x2211"},
		{"ldxw unaligned", insn(0x61, 0, 1, 1, 0) + exit, "001122334455667788", "0x44332211"},
		{"ldxdw unaligned", insn(0x79, 0, 1, 1, 0) + exit, "001122334455667788", "0x8877665544332211"},
		{"ldxsb", insn(0x91, 0, 1, 0, 0) + exit, "80", "0xffffffffffffff80"},
		{"ldxsh", insn(0x89, 0, 1, 0, 0) + exit, "0080", "0xffffffffffff8000"},
		{"ldxsw", insn(0x81, 0, 1, 0, 0) + exit, "00000080", "0xffffffff80000000"},
		{"stb", insn(0x72, 1, 0, 1, 0x1ff) + insn(0x61, 0, 1, 0, 0) + exit, "00000000", "0xff00"},
		{"sth", insn(0x6a, 1, 0, 1, 0x12345) + insn(0x61, 0, 1, 0, 0) + exit, "00000000", "0x234500"},
		{"stw", insn(0x62, 1, 0, 0, -2) + insn(0x79, 0, 1, 0, 0) + exit, "0000000000000000", "0xfffffffe"},
		{"stdw is sign-extended", insn(0x7a, 1, 0, 0, -2) + insn(0x79, 0, 1, 0, 0) + exit, "0000000000000000", "0xfffffffffffffffe"},
		{"stxdw", wide(3, a) + insn(0x7b, 1, 3, 1, 0) + insn(0x79, 0, 1, 1, 0) + exit, "000000000000000000", "0x123456789abcdef0"},
		{"first and last byte of the stack", insn(0x72, 10, 0, -512, 1) + insn(0x72, 10, 0, -1, 2) + insn(0x71, 0, 10, -512, 0) + insn(0x71, 3, 10, -1, 0) + insn(0x0f, 0, 3, 0, 0) + exit, "", "0x3"},
		{"stack unaligned", wide(3, a) + insn(0x7b, 10, 3, -13, 0) + insn(0x79, 0, 10, -13, 0) + exit, "", "0x123456789abcdef0"},
		{"lddw", wide(0, 0x1122334455667788) + exit, "", "0x1122334455667788"},
		// Atomics, 32 bits at a multiple of 4, 64 at one of 8.
		{"lock add32", insn(0xb7, 3, 0, 0, 2) + insn(0xc3, 1, 3, 4, 0x00) + insn(0x79, 0, 1, 0, 0) + exit, "00000000ffffffff", "0x100000000"},
		{"lock or64", insn(0xb7, 3, 0, 0, 6) + insn(0xdb, 1, 3, 0, 0x40) + insn(0x79, 0, 1, 0, 0) + exit, "0100000000000000", "0x7"},
		{"lock and64", insn(0xb7, 3, 0, 0, 6) + insn(0xdb, 1, 3, 0, 0x50) + insn(0x79, 0, 1, 0, 0) + exit, "0300000000000000", "0x2"},
		{"lock fetch xor64", insn(0xb7, 3, 0, 0, 6) + insn(0xdb, 1, 3, 0, 0xa1) + insn(0xbf, 0, 3, 0, 0) + exit, "0300000000000000", "0x3"},
		{"lock xchg32 clears the upper half", insn(0xb7, 0, 0, 0, -1) + insn(0xc3, 10, 0, -4, 0xe1) + insn(0xc3, 10, 0, -4, 0xe1) + exit, "", "0xffffffff"},
		{"lock cmpxchg32", insn(0x62, 10, 0, -4, 5) + insn(0xb7, 0, 0, 0, 5) + insn(0xb7, 1, 0, 0, 9) + insn(0xc3, 10, 1, -4, 0xf1) + insn(0x61, 3, 10, -4, 0) + insn(0x67, 3, 0, 0, 8) + insn(0x4f, 0, 3, 0, 0) + exit, "", "0x905"},
		{"lock cmpxchg64 that differs", insn(0x7a, 10, 0, -8, 5) + insn(0xb7, 0, 0, 0, 4) + insn(0xb7, 1, 0, 0, 9) + insn(0xdb, 10, 1, -8, 0xf1) + insn(0x79, 3, 10, -8, 0) + insn(0x67, 3, 0, 0, 8) + insn(0x4f, 0, 3, 0, 0) + exit, "", "0x505"},
		// Calls.
		{"local call keeps r6 and the frame", insn(0xb7, 6, 0, 0, 6) + insn(0x7b, 10, 6, -8, 0) + insn(0xb7, 1, 0, 0, 1) + insn(0x85, 0, 1, 0, 4) + insn(0x0f, 0, 6, 0, 0) + insn(0x79, 6, 10, -8, 0) + insn(0x0f, 0, 6, 0, 0) + exit +
			insn(0xb7, 6, 0, 0, 0) + insn(0x7b, 10, 6, -8, 0) + insn(0xbf, 0, 1, 0, 0) + exit, "", "0xd"},
		{"helper", insn(0x85, 0, 0, 0, 5) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x2"},
		{"helper by register (callx)", insn(0xb7, 2, 0, 0, 5) + insn(0x8d, 2, 0, 0, 0) + insn(0xb7, 0, 0, 0, 2) + exit, "", "0x2"},
	} {
		o := call(t, "parser", "exec", "--hex", c.program, "--memory", c.memory)
		if o.code != 0 || o.stdout != c.want+"\n" || o.err != "" {
			t.Errorf("%s: status %d, %q, %q; want 0, %q", c.name, o.code, o.stdout, o.err, c.want)
		}
	}
}

// What must not run says so with its exit status, prints no value, and gives
// the reason.
func TestParserExecRefuses(t *testing.T) {
	for _, c := range []struct{ name, program, memory, want string }{
		{"nothing", "", "", "no whole instructions"},
		{"no exit", insn(0xb7, 0, 0, 0, 1), "", "past the last instruction"},
		{"half an instruction", "b700", "", ""},
		{"unknown opcode", insn(0xff, 0, 0, 0, 0) + exit, "", "opcode"},
		{"register 11", insn(0xb7, 11, 0, 0, 0) + exit, "", "r10"},
		{"write to r10", insn(0xb7, 10, 0, 0, 0) + exit, "", "read only"},
		{"jump out", insn(0x05, 0, 0, 5, 0) + exit, "", "jump"},
		{"jump into lddw", insn(0x05, 0, 0, 1, 0) + wide(0, 1) + exit, "", "jump"},
		{"half of lddw", insn(0x18, 0, 0, 0, 1) + exit, "", "LD_IMM64"},
		{"lddw of a map that is not there", insn(0x18, 0, 1, 0, 3) + insn(0, 0, 0, 0, 0) + exit, "", ""},
		{"lddw of an unknown kind", insn(0x18, 0, 9, 0, 3) + insn(0, 0, 0, 0, 0) + exit, "", ""},
		{"unknown helper", insn(0x85, 0, 0, 0, 9999) + exit, "", "9999"},
		{"kernel function (call runtime)", insn(0x85, 0, 2, 0, 0x2a) + exit, "", "kernel function"},
		{"unknown helper by register", insn(0xb7, 2, 0, 0, 9999) + insn(0x8d, 2, 0, 0, 0) + exit, "", "9999"},
		{"load past the memory", insn(0x61, 0, 1, 1, 0) + exit, "01020304", "memory"},
		{"load through a number", insn(0x61, 0, 0, 0, 0) + exit, "", ""},
		{"below the stack", insn(0x71, 0, 10, -513, 0) + exit, "", "outside any region"},
		{"above the stack", insn(0x72, 10, 0, 0, 0) + exit, "", "stack"},
		{"atomic off its alignment", insn(0xdb, 10, 0, -12, 0) + exit, "", "align"},
		{"endless loop", insn(0x07, 0, 0, 0, 1) + insn(0x15, 1, 0, -2, 0) + exit, "", "budget"},
		{"endless recursion", insn(0x85, 0, 1, 0, -1) + exit, "", "frames"},
		{"packet load", insn(0x20, 0, 0, 0, 0) + exit, "", "LD_ABS"},
	} {
		o := call(t, "parser", "exec", "--hex", c.program, "--memory", c.memory)
		if o.code == 0 || o.stdout != "" || o.err == "" || !strings.Contains(o.err, c.want) {
			t.Errorf("%s: status %d, %q, %q; want a failure with %q", c.name, o.code, o.stdout, o.err, c.want)
		}
	}
}

func TestParserExecInput(t *testing.T) {
	var out, errw bytes.Buffer
	in := strings.NewReader("b7 00 00 00 2a 00 00 00\n95 00 00 00 00 00 00 00\n")
	code := run(context.Background(), []string{"parser", "exec", "--hex", "-"}, in, &out, &errw)
	if code != 0 || out.String() != "0x2a\n" {
		t.Errorf("program on standard input = %d, %q, %q, want 0x2a", code, out.String(), errw.String())
	}
	call(t, "parser", "exec", "--hex", "0x"+insn(0xb7, 0, 0, 0, 7)+exit).want(t, "0x", 0, "0x7\n")
}
