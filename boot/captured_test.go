// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/efi/capture"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

const (
	capKernel = 0x2000000
	capData   = 0x8000000
	capInitrd = 0x9000000
)

func capturedHost() *Host {
	return &Host{Arch: image.ArchX86_64, PageSize: 4096, RSDP: 0xe0000,
		Map:    []E820Entry{{0, 0x9fc00, E820RAM}, {0x100000, 0x3ff00000, E820RAM}},
		Usable: []Range{{0x1000, 0x9f000}, {0x100000, 0x20000000}, {0x20100000, 0x40000000}},
	}
}

// capturedState is what a stub on x86 leaves.
func capturedState() *capture.State {
	bp := make([]byte, 0x2000)
	copy(bp[bpEFIInfo:], "EL64")
	bp[bpE820Entries] = 1
	bp[bpLoaderType] = 0x21
	le.PutUint32(bp[bpCmdline:], capData+0x1000)
	le.PutUint32(bp[bpRamdisk:], capInitrd)
	le.PutUint32(bp[bpRamdiskSize:], 0x1800)
	copy(bp[0x1000:], "console=ttyS0\x00")
	s := &capture.State{Arch: image.ArchX86_64, Entry: capKernel + 0xc43, Argument: capData, Tables: map[string]uint64{}}
	for _, r := range []capture.Run{
		{Phys: 0x1000000, Type: "ACPIReclaim", Data: make([]byte, 0x1000)},
		{Phys: capKernel, Type: "LoaderCode", Data: bytes.Repeat([]byte{0x90}, 0x10000)},
		{Phys: capData, Type: "LoaderData", Data: bp},
		{Phys: capInitrd, Type: "LoaderData", Data: make([]byte, 0x2000)},
	} {
		r.Size = uint64(len(r.Data))
		s.Runs = append(s.Runs, r)
	}
	return s
}

func TestCaptured(t *testing.T) {
	s, h := capturedState(), capturedHost()
	before := bytes.Clone(s.Runs[2].Data)
	p, err := Captured(s, h, Options{Rand: bytes.NewReader(make([]byte, 64))})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, s.Runs[2].Data) {
		t.Error("captured memory was written to")
	}
	if p.HandOver.Cmdline != "console=ttyS0" || p.HandOver.Initrd == nil || *p.HandOver.Initrd != (Range{capInitrd, capInitrd + 0x1800}) {
		t.Errorf("hand-over %+v", p.HandOver)
	}
	info := p.HandOver.BootParams
	if info.EFI != nil || info.RSDP != 0xe0000 || len(info.E820) != 2 {
		t.Errorf("boot_params on a machine with BIOS: %v", info)
	}
	if p.Segment("kernel").Phys != capKernel || p.HandOver.KernelEntry != s.Entry {
		t.Errorf("kernel in %v, entered at %#x", p.Segment("kernel"), p.HandOver.KernelEntry)
	}
	for _, seg := range p.Segments {
		if seg.Phys == 0x1000000 {
			t.Error("tables of the stub's firmware are handed over")
		}
	}
	tramp := p.Segment("trampoline")
	if !bytes.Equal(tramp.Data, TrampolineX86(tramp.Phys, p.Segment("boot_params").Phys, s.Entry)) {
		t.Error("trampoline does not lead to the kernel")
	}

	h.EFI = &EFI{SystemTable: 0x3f000000, ConfigTable: 1, RuntimeMap: []EFIDescriptor{{Type: 6, Phys: 0x3f000000, Pages: 1}}}
	if p, err = Captured(capturedState(), h, Options{}); err != nil {
		t.Fatal(err)
	}
	if i := p.HandOver.BootParams; i.EFI == nil || i.EFI.SystemTable != 0x3f000000 || i.FirmwareEFI == nil || len(i.EFIMap) != 1 {
		t.Errorf("boot_params on a machine with UEFI: %v", i)
	}
	if p, err = Captured(capturedState(), h, Options{NoEFI: true}); err != nil || p.HandOver.BootParams.EFI != nil {
		t.Errorf("Captured(NoEFI): %v", err)
	}
}

// Many small runs become as many segments as kexec takes; what lies between
// is taken along.
func TestCapturedMerges(t *testing.T) {
	s := capturedState()
	for i := range 40 {
		s.Runs = append(s.Runs, capture.Run{Phys: 0x10000000 + uint64(i)*0x10000, Type: "LoaderData", Data: bytes.Repeat([]byte{byte(i + 1)}, 0x1000), Size: 0x1000})
	}
	p, err := Captured(s, capturedHost(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Segments) > MaxSegments {
		t.Errorf("%d segments", len(p.Segments))
	}
	for _, r := range s.Runs[1:] {
		if got := p.read(r.Phys, r.Size); !bytes.Equal(got, r.Data) {
			t.Errorf("memory at %#x is not in the plan", r.Phys)
		}
	}
}

func TestCapturedHostile(t *testing.T) {
	bp := func(s *capture.State) []byte { return s.Runs[2].Data }
	tests := []struct {
		name   string
		change func(*capture.State, *Host)
		want   error
		says   string
	}{
		{"other architecture", func(s *capture.State, h *Host) { h.Arch = image.ArchARM64 }, ErrArch, ""},
		{"entry nowhere", func(s *capture.State, h *Host) { s.Entry = capKernel + 0x10000 }, ErrInvalid, "entry"},
		{"no boot_params", func(s *capture.State, h *Host) { s.Argument = 0x5000 }, ErrInvalid, "boot_params"},
		{"boot_params that end early", func(s *capture.State, h *Host) { s.Argument = capData + 0x1008 }, ErrInvalid, "boot_params"},
		{"no efi_info", func(s *capture.State, h *Host) { bp(s)[bpEFIInfo] = 0 }, ErrInvalid, "efi_info"},
		{"no memory map", func(s *capture.State, h *Host) { bp(s)[bpE820Entries] = 0 }, ErrInvalid, "memory map"},
		{"other loader", func(s *capture.State, h *Host) { bp(s)[bpLoaderType] = 0xd0 }, ErrInvalid, "loader type"},
		{"command line nowhere", func(s *capture.State, h *Host) { le.PutUint32(bp(s)[bpExtCmdline:], 7) }, ErrInvalid, "command line"},
		{"command line without end", func(s *capture.State, h *Host) {
			copy(bp(s)[0x1000:], bytes.Repeat([]byte("x"), 0x1000))
		}, ErrInvalid, "command line"},
		{"initrd nowhere", func(s *capture.State, h *Host) { le.PutUint32(bp(s)[bpExtRamdisk:], 7) }, ErrInvalid, "initrd"},
		{"initrd too long", func(s *capture.State, h *Host) { le.PutUint32(bp(s)[bpRamdiskSize:], 0xffffffff) }, ErrInvalid, "initrd"},
		{"setup_data nowhere", func(s *capture.State, h *Host) { le.PutUint64(bp(s)[bpSetupData:], ^uint64(0)-3) }, ErrInvalid, "setup_data"},
		{"setup_data that is its own next", func(s *capture.State, h *Host) {
			le.PutUint64(bp(s)[bpSetupData:], capData+0x1800)
			le.PutUint64(bp(s)[0x1800:], capData+0x1800)
		}, ErrInvalid, "setup_data"},
		{"setup_data of great length", func(s *capture.State, h *Host) {
			le.PutUint64(bp(s)[bpSetupData:], capData+0x1800)
			le.PutUint32(bp(s)[0x180c:], 0xffffffff)
		}, ErrInvalid, "setup_data"},
		{"kernel outside of RAM", func(s *capture.State, h *Host) { s.Runs[1].Phys = 0x20000000 }, ErrNoRoom, ""},
		{"runs over each other", func(s *capture.State, h *Host) { s.Runs[1].Phys = ^uint64(0) - 0x100 }, ErrInvalid, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, h := capturedState(), capturedHost()
			tt.change(s, h)
			_, err := Captured(s, h, Options{})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Captured() = %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
	if _, err := Captured(capturedState(), capturedHost(), Options{Crash: true}); !errors.Is(err, ErrCrash) {
		t.Errorf("Captured(crash) = %v, want %v", err, ErrCrash)
	}
}

func capturedTree(t testing.TB, props map[string]uint64) []byte {
	t.Helper()
	tree, err := fdt.Parse(capturedARMHost(t).FDT)
	if err != nil {
		t.Fatal(err)
	}
	n := tree.Chosen()
	n.SetText("bootargs", "from the stub")
	for k, v := range props {
		n.SetU64(k, v)
	}
	if err := tree.SetMemory(nil); err != nil {
		t.Fatal(err)
	}
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func capturedARMHost(t testing.TB) *Host {
	t.Helper()
	tree := &fdt.Tree{Root: &fdt.Node{}}
	tree.Root.Set("#address-cells", []byte{0, 0, 0, 2})
	tree.Root.Set("#size-cells", []byte{0, 0, 0, 2})
	tree.Chosen().SetText("bootargs", "of the running kernel")
	if err := tree.SetMemory([]fdt.Region{{Address: 0x40000000, Size: 0x40000000}}); err != nil {
		t.Fatal(err)
	}
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &Host{Arch: image.ArchARM64, PageSize: 4096, Usable: []Range{{0x40000000, 0x80000000}}, FDT: b}
}

func TestCapturedARM64(t *testing.T) {
	const kernel, dtb, initrd, table = 0x50000000, 0x60000000, 0x61000000, 0x62000000
	h := capturedARMHost(t)
	state := func() *capture.State {
		blob := capturedTree(t, map[string]uint64{"linux,uefi-system-table": 0x1234, "linux,uefi-mmap-start": 0x5678})
		where := binary.LittleEndian.AppendUint64(nil, initrd)
		where = binary.LittleEndian.AppendUint64(where, 0x1234)
		return &capture.State{Arch: image.ArchARM64, Entry: kernel + 0x40, Argument: dtb, Tables: map[string]uint64{initrdTable: table},
			Runs: []capture.Run{
				{Phys: kernel, Type: "LoaderCode", Data: make([]byte, 0x10000), Size: 0x10000},
				{Phys: dtb, Type: "LoaderData", Data: blob, Size: uint64(len(blob))},
				{Phys: initrd, Type: "LoaderData", Data: make([]byte, 0x2000), Size: 0x2000},
				{Phys: table, Type: "ACPIReclaim", Data: where, Size: 16},
			}}
	}
	p, err := Captured(state(), h, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.HandOver.Cmdline != "from the stub" || *p.HandOver.Initrd != (Range{initrd, initrd + 0x1234}) {
		t.Errorf("hand-over %+v", p.HandOver)
	}
	tree, err := fdt.Parse(p.Segment("dtb").Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"linux,uefi-system-table", "linux,uefi-mmap-start"} {
		if _, ok := tree.Chosen().Get(name); ok {
			t.Errorf("%s of the stub's firmware is handed over", name)
		}
	}
	if start, err := tree.Chosen().U64("linux,initrd-start"); err != nil || start != initrd {
		t.Errorf("initrd at %#x, %v", start, err)
	}
	if mem, err := tree.Memory(); err != nil || len(mem) != 1 || mem[0].Address != 0x40000000 {
		t.Errorf("memory %v, %v, want that of the machine", mem, err)
	}
	for name, change := range map[string]func(*capture.State){
		"no tree":           func(s *capture.State) { s.Argument = kernel },
		"tree that is cut":  func(s *capture.State) { s.Runs[1].Data = s.Runs[1].Data[:64] },
		"tree too long":     func(s *capture.State) { s.Runs[1].Data[4] = 0xff },
		"initrd nowhere":    func(s *capture.State) { s.Runs[3].Data[7] = 1 },
		"initrd wraps":      func(s *capture.State) { copy(s.Runs[3].Data, bytes.Repeat([]byte{0xff}, 16)) },
		"initrd of nothing": func(s *capture.State) { s.Tables[initrdTable] = 1 },
	} {
		s := state()
		change(s)
		if _, err := Captured(s, h, Options{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("Captured(%s) = %v, want %v", name, err, ErrInvalid)
		}
	}
}

// FuzzCaptured takes boot_params, what lies behind it, and the addresses from
// the fuzzer: no plan that is made leaves RAM or the rules of kexec_load.
func FuzzCaptured(f *testing.F) {
	f.Add(capturedState().Runs[2].Data, uint64(capKernel), uint64(capData), uint64(capData))
	f.Add(capturedState().Runs[2].Data, uint64(0), ^uint64(0), uint64(0x20000000))
	f.Fuzz(func(t *testing.T, bp []byte, entry, arg, at uint64) {
		s := capturedState()
		s.Entry, s.Argument = entry, arg
		s.Runs[2] = capture.Run{Phys: at, Type: "LoaderData", Data: bp, Size: uint64(len(bp))}
		h := capturedHost()
		p, err := Captured(s, h, Options{})
		if err != nil {
			return
		}
		if err := p.Validate(h); err != nil {
			t.Errorf("Captured() made a plan that is none: %v", err)
		}
	})
}
