// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/peelboot/peel/internal/testkit"
)

// TestNative builds one C source for cpu v4 and for this machine; the results
// must be equal.
func TestNative(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "native")
	testkit.Run(t, "", "clang", "-O1", "-fwrapv", "-DNATIVE", filepath.Join("testdata", "v4.bpf.c"), "-o", bin)
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(out))
	for _, flags := range [][]string{{"-mcpu=v4"}, {"-mcpu=v4", "-O1"}, {"-mcpu=v4", "-O3"}, {"-mcpu=v4", "-mllvm", "-gotol-abs-low-bound=0"}} {
		o, err := OpenObject(compile(t, "v4", append(flags, "-fwrapv")...), nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := o.Link(nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Run(context.Background(), "hash", 0)
		if err != nil || fmt.Sprintf("%x", got) != want {
			t.Errorf("hash with %v = %x, %v, want %s", flags, got, err, want)
		}
	}
}

// TestLoadELFAgainstCilium compares the linked programs with those that
// cilium/ebpf makes: the same functions, each with the same instructions but
// for what relocation fills in.
func TestLoadELFAgainstCilium(t *testing.T) {
	const mmapable = 1 << 10 // cilium adds it where the kernel has it
	for _, name := range []string{"parser", "core", "v4"} {
		object := compile(t, name, "-mcpu=v4")
		o, err := LoadELF(object)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		if len(spec.Programs) != len(o.Programs) {
			t.Errorf("%s: %d programs, want %d", name, len(o.Programs), len(spec.Programs))
		}
		for _, m := range o.Maps {
			want := spec.Maps[m.Name]
			if want == nil || uint32(want.Type) != uint32(m.Type) || want.KeySize != m.KeySize || want.ValueSize != m.ValueSize ||
				want.MaxEntries != m.MaxEntries || want.Flags != m.Flags&^mmapable {
				t.Errorf("%s: map %+v, cilium says %+v", name, m, want)
			}
		}
		for _, p := range o.Programs {
			want := spec.Programs[p.Name]
			if want == nil {
				t.Errorf("%s: cilium has no program %s", name, p.Name)
				continue
			}
			if uint32(want.Type) != p.Type || uint32(want.AttachType) != p.AttachType || want.AttachTo != p.AttachTo || want.Flags != p.Flags {
				t.Errorf("%s: type %d attach %d to %q flags %#x, want %v %v %q %#x", p.Name, p.Type, p.AttachType, p.AttachTo, p.Flags,
					want.Type, want.AttachType, want.AttachTo, want.Flags)
			}
			wantFuncs := map[string][]string{}
			fn := ""
			for _, in := range want.Instructions {
				if s := in.Symbol(); s != "" {
					fn = s
				}
				wantFuncs[fn] = append(wantFuncs[fn], opcodes(in))
			}
			gotFuncs := map[string][]string{}
			for i := 0; i < len(p.insns)/slotBytes; i++ {
				s := slotAt(p.insns, i)
				fn := p.functionAt(i)
				gotFuncs[fn] = append(gotFuncs[fn], fmt.Sprintf("%02x r%d", s.op, s.dst))
				if s.op == opcodeLdImm64 {
					i++
				}
			}
			for fn, w := range wantFuncs {
				if g := gotFuncs[fn]; strings.Join(g, ",") != strings.Join(w, ",") {
					t.Errorf("%s: function %s:\n%v\nwant\n%v", p.Name, fn, g, w)
				}
			}
			if len(gotFuncs) != len(wantFuncs) {
				t.Errorf("%s: %d functions, want %d", p.Name, len(gotFuncs), len(wantFuncs))
			}
		}
	}
}

func opcodes(in asm.Instruction) string {
	var b bytes.Buffer
	in = in.WithReference("")
	in.Constant = 0
	return fmt.Sprintf("%02x r%d", firstByte(&b, in), in.Dst)
}

// firstByte is the encoded opcode; cilium keeps some operations elsewhere.
func firstByte(b *bytes.Buffer, in asm.Instruction) byte {
	if op := uint32(in.OpCode); op <= 0xff {
		return byte(op)
	}
	return byte(uint32(in.OpCode) & 0xff)
}
