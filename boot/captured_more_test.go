// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/efi/capture"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

// crashHost has a crash region that holds what capturedState has.
func crashHost() *Host {
	h := withCrash(capturedHost())
	h.Crash = []Range{{0x1000000, 0xa000000}}
	h.Usable = subtract(capturedHost().Usable, h.Crash[0])
	h.RAM = capturedHost().Usable
	return h
}

// lineOf is the command line that boot_params of a plan lead to.
func lineOf(t *testing.T, p *Plan) string {
	t.Helper()
	m, page := zeroPage(t, p)
	return m.text(t, uint64(le.Uint32(page[bpCmdline:]))|uint64(le.Uint32(page[bpExtCmdline:]))<<32)
}

// What is added is behind the command line that the stub left.
func TestCapturedAppend(t *testing.T) {
	for _, append := range []string{"", "more"} {
		want := "console=ttyS0"
		if append != "" {
			want += " " + append
		}
		p, err := Captured(capturedState(), capturedHost(), Options{Append: append})
		if err != nil {
			t.Fatal(err)
		}
		if got := lineOf(t, p); got != want || p.HandOver.Cmdline != want {
			t.Errorf("command line = %q, told %q, want %q", got, p.HandOver.Cmdline, want)
		}
	}
	if _, err := Captured(capturedState(), capturedHost(), Options{Append: strings.Repeat("x", 2048)}); !errors.Is(err, ErrLimit) {
		t.Errorf("Captured(long line) = %v, want %v", err, ErrLimit)
	}
	b, err := Build(payload(modern().bytes(), "one"), uefi(), Options{Append: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if got := lineOf(t, b); got != "one two" {
		t.Errorf("command line of Build = %q, want %q", got, "one two")
	}
}

// The plan for people tells no digest of captured memory: the kernel in it is
// relocated, and there are few places where it could be.
func TestCapturedPrivate(t *testing.T) {
	p, err := Captured(capturedState(), capturedHost(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Segments {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte("sha256")); got != (s.Name == "trampoline") {
			t.Errorf("JSON of segment %s: %s", s.Name, b)
		}
	}
}

// A stub that was shown the crash region alone gives a crash kernel.
func TestCapturedCrash(t *testing.T) {
	h := crashHost()
	p, err := Captured(capturedState(), h, Options{Crash: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Segments {
		if r := p.Segments[i].Range(); !h.Crash[0].Contains(r) {
			t.Errorf("segment %s %v is not in the crash region %v", p.Segments[i].Name, r, h.Crash[0])
		}
	}
	core := p.Segment("elfcorehdr").Range()
	if line := lineOf(t, p); !strings.HasPrefix(line, "elfcorehdr=0x") || !strings.HasSuffix(line, " console=ttyS0") || line != p.HandOver.Cmdline {
		t.Errorf("command line = %q, told %q", line, p.HandOver.Cmdline)
	}
	for _, e := range p.HandOver.BootParams.E820 {
		r := Range{e.Addr, e.Addr + e.Size}
		if e.Type == E820RAM && (r.Overlaps(core) || !h.Crash[0].Contains(r) && r.End > x86MinAddress) {
			t.Errorf("RAM %v of the crash kernel: not in the crash region %v, or over the core header %v", r, h.Crash[0], core)
		}
	}
	// One that has prepared other memory does not.
	h.Crash[0].End = capInitrd
	if _, err := Captured(capturedState(), h, Options{Crash: true}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Captured(outside of the crash region) = %v, want %v", err, ErrNoRoom)
	}
}

func TestCapturedCrashARM64(t *testing.T) {
	h := capturedARMHost(t)
	h.Crash = []Range{{0x50000000, 0x60000000}}
	h.Usable = subtract(h.Usable, h.Crash[0])
	h.RAM = []Range{{0x40000000, 0x80000000}}
	h.CrashNotes, h.VMCoreInfo = []Range{{0x41000000, 0x41000164}}, Range{0x42000000, 0x42001024}
	const kernel, dtb = 0x50000000, 0x51000000
	blob := capturedTree(t, nil)
	s := &capture.State{Arch: image.ArchARM64, Entry: kernel, Argument: dtb, Runs: []capture.Run{
		{Phys: kernel, Type: "LoaderCode", Data: make([]byte, 0x10000), Size: 0x10000},
		{Phys: dtb, Type: "LoaderData", Data: blob, Size: uint64(len(blob))},
	}}
	p, err := Captured(s, h, Options{Crash: true, Append: "irqpoll"})
	if err != nil {
		t.Fatal(err)
	}
	tree := handedTree(t, p)
	core := p.Segment("elfcorehdr").Range()
	for _, tt := range []struct {
		name string
		want Range
	}{{propCore, core}, {propUsable, h.Crash[0]}} {
		v, _ := tree.Chosen().Get(tt.name)
		got, err := fdt.Cells{Address: 2, Size: 2}.Decode(v)
		if err != nil || len(got) != 1 || got[0] != (fdt.Region{Address: tt.want.Start, Size: tt.want.Size()}) {
			t.Errorf("%s = %#x, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if line, _ := tree.Chosen().Text(propBootargs); line != "from the stub irqpoll" || p.HandOver.Cmdline != line {
		t.Errorf("bootargs = %q, told %q", line, p.HandOver.Cmdline)
	}
}

// A NUL would end the command line before what is told of it.
func TestCapturedAppendNUL(t *testing.T) {
	if _, err := Captured(capturedState(), capturedHost(), Options{Append: "one\x00two"}); !errors.Is(err, ErrLimit) {
		t.Errorf("Captured(NUL) = %v, want %v", err, ErrLimit)
	}
}

// A crash kernel with an added RAM disk has a core header and a RAM disk: the
// captured runs leave room for both.
func TestCapturedCrashTailSegments(t *testing.T) {
	h, s := crashHost(), capturedState()
	for i := range MaxSegments + 4 {
		s.Runs = append(s.Runs, capture.Run{Phys: 0x3000000 + uint64(i)*0x10000, Type: "LoaderData", Data: make([]byte, 0x1000), Size: 0x1000})
	}
	for _, o := range []Options{{}, {Crash: true}, {InitrdTail: []byte("tail")}, {Crash: true, InitrdTail: []byte("tail")}} {
		p, err := Captured(s, h, o)
		if o.Crash == false {
			p, err = Captured(s, capturedHost(), o)
		}
		if err != nil {
			t.Errorf("Captured(crash %v, tail %q) = %v", o.Crash, o.InitrdTail, err)
		} else if len(p.Segments) != MaxSegments {
			t.Errorf("Captured(crash %v, tail %q): %d segments, want %d", o.Crash, o.InitrdTail, len(p.Segments), MaxSegments)
		}
	}
}

// A crash region above 4 GiB holds the joined RAM disk too.
func TestCapturedCrashTailHigh(t *testing.T) {
	const up = 4 << 30
	h, s := crashHost(), capturedState()
	h.Crash = []Range{{h.Crash[0].Start + up, h.Crash[0].End + up}}
	h.Map = append(h.Map, E820Entry{up, 1 << 30, E820RAM})
	h.RAM = append(h.RAM, Range{up, up + 1<<30})
	s.Entry += up
	s.Argument += up
	for i := range s.Runs {
		s.Runs[i].Phys += up
	}
	bp := s.Runs[2].Data
	le.PutUint32(bp[bpExtCmdline:], 1)
	le.PutUint32(bp[bpExtRamdisk:], 1)
	p, err := Captured(s, h, Options{Crash: true, InitrdTail: []byte("tail")})
	if err != nil {
		t.Fatal(err)
	}
	if r := p.HandOver.Initrd; r == nil || !h.Crash[0].Contains(*r) || p.HandOver.BootParams.Ramdisk != *r {
		t.Errorf("initrd %v, boot_params say %v, crash region %v", r, p.HandOver.BootParams.Ramdisk, h.Crash[0])
	}
}
