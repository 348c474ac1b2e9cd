// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

func TestParseIOMem(t *testing.T) {
	const text = "00001000-0009fbff : System RAM\n" +
		"100000000-17fffffff : System RAM\n" +
		"  100200000-100ffffff : Kernel code\n" +
		"  120000000-12fffffff : Crash kernel\n" +
		"    120000000-120000fff : deeper\n" +
		"ffffffffffff0000-ffffffffffffffff : Reserved : odd\n"
	want := []machine.Resource{
		{Range: machine.Range{Start: 0x1000, Last: 0x9fbff}, Name: "System RAM"},
		{Range: machine.Range{Start: 0x100000000, Last: 0x17fffffff}, Name: "System RAM"},
		{Range: machine.Range{Start: 0x100200000, Last: 0x100ffffff}, Depth: 1, Name: "Kernel code"},
		{Range: machine.Range{Start: 0x120000000, Last: 0x12fffffff}, Depth: 1, Name: "Crash kernel"},
		{Range: machine.Range{Start: 0x120000000, Last: 0x120000fff}, Depth: 2, Name: "deeper"},
		{Range: machine.Range{Start: math.MaxUint64 - 0xffff, Last: math.MaxUint64}, Name: "Reserved : odd"},
	}
	got, err := machine.ParseIOMem([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseIOMem: -want +got\n%s", diff)
	}
	for _, tc := range []struct {
		text string
		want error
	}{
		{"00000000-00000000 : Reserved\n  00000000-00000000 : System RAM\n", machine.ErrHidden},
		{"00001000-00000fff : backwards\n", machine.ErrMalformed},
		{"00001000 : no range\n", machine.ErrMalformed},
		{"00001000-00001fff\n", machine.ErrMalformed},
		{"  00001000-00001fff : a child of nobody\n", machine.ErrMalformed},
		{"0-1 : a\n 0-1 : odd indentation\n", machine.ErrMalformed},
		{"11111111111111111-22222222222222222 : too long\n", machine.ErrMalformed},
		{strings.Repeat("0-1 : x\n", 1<<14+1), machine.ErrLimit},
	} {
		if _, err := machine.ParseIOMem([]byte(tc.text)); !errors.Is(err, tc.want) {
			t.Errorf("ParseIOMem(%.40q) = %v, want %v", tc.text, err, tc.want)
		}
	}
}

func TestMemoryFromIOMem(t *testing.T) {
	fsys := machinetest.FS(t, "arm64-dtb")
	machinetest.Set(fsys, "proc/iomem", "40000000-7fffffff : System RAM\n"+
		"  40200000-41ffffff : Kernel code\n"+
		"  48000000-480fffff : reserved\n"+
		"  50000000-57ffffff : Crash kernel\n"+
		"80000000-8000ffff : reserved\n"+
		"90000000-9000ffff : pl011@9000000\n"+
		"a0000000-afffffff : dax0.0\n"+
		"  a0000000-a7ffffff : System RAM (kmem)\n"+
		"  a8000000-afffffff : System RAM\n")
	m := machine.ReadFS(fsys)
	want := []machine.Range{{Start: 0x40000000, Last: 0x47ffffff}, {Start: 0x48100000, Last: 0x4fffffff},
		{Start: 0x58000000, Last: 0x7fffffff}, {Start: 0xa8000000, Last: 0xafffffff}}
	if diff := cmp.Diff(want, m.Memory.Usable.Value); diff != "" {
		t.Errorf("Usable: -want +got\n%s", diff)
	}
	wantMap := []machine.MemoryRange{
		{Range: machine.Range{Start: 0x40000000, Last: 0x7fffffff}, Type: machine.RAM},
		{Range: machine.Range{Start: 0x80000000, Last: 0x8000ffff}, Type: machine.Reserved},
		{Range: machine.Range{Start: 0xa8000000, Last: 0xafffffff}, Type: machine.RAM},
	}
	if diff := cmp.Diff(wantMap, m.Memory.Map.Value); diff != "" {
		t.Errorf("Map: -want +got\n%s", diff)
	}
}

// The map is made of the firmware's table, and of iomem only where that is
// silent.
func TestMemoryMapMerge(t *testing.T) {
	fsys := machinetest.FS(t, "x86-bios")
	for p := range fsys {
		if strings.HasPrefix(p, "sys/firmware/memmap/") {
			delete(fsys, p)
		}
	}
	for i, e := range []struct{ start, end, typ string }{
		{"0x0", "0x9ffff", "System RAM"},
		{"0x100000", "0x1fffff", "System RAM"},
		{"0x180000", "0x18ffff", "Reserved"}, // overlaps RAM
		{"0x200000", "0x20ffff", "ACPI Tables"},
	} {
		dir := "sys/firmware/memmap/" + string(rune('0'+i))
		machinetest.Set(fsys, dir+"/start", e.start+"\n")
		machinetest.Set(fsys, dir+"/end", e.end+"\n")
		machinetest.Set(fsys, dir+"/type", e.typ+"\n")
	}
	machinetest.Set(fsys, "proc/iomem", "00000000-00000fff : Reserved\n00001000-0009ffff : System RAM\n"+
		"00100000-0017ffff : System RAM\n00300000-003fffff : Persistent Memory\n00400000-004fffff : PCI Bus 0000:00\n")
	m := machine.ReadFS(fsys)
	want := []machine.MemoryRange{
		{Range: machine.Range{Start: 0, Last: 0x9ffff}, Type: machine.RAM},
		{Range: machine.Range{Start: 0x100000, Last: 0x17ffff}, Type: machine.RAM},
		{Range: machine.Range{Start: 0x180000, Last: 0x18ffff}, Type: machine.Reserved},
		{Range: machine.Range{Start: 0x190000, Last: 0x1fffff}, Type: machine.RAM},
		{Range: machine.Range{Start: 0x200000, Last: 0x20ffff}, Type: machine.ACPITables},
		{Range: machine.Range{Start: 0x300000, Last: 0x3fffff}, Type: machine.PMEM},
	}
	if diff := cmp.Diff(want, m.Memory.Map.Value); diff != "" {
		t.Errorf("Map: -want +got\n%s", diff)
	}
}

// Subtract against a model that marks single addresses.
func TestSubtractModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() []machine.Range {
		var out []machine.Range
		at := uint64(rng.IntN(8))
		for range rng.IntN(6) {
			last := at + uint64(rng.IntN(6))
			out = append(out, machine.Range{Start: at, Last: last})
			at = last + 1 + uint64(rng.IntN(5))
		}
		return out
	}
	for range 20000 {
		from, holes := random(), random()
		var want [80]bool
		for _, r := range from {
			for a := r.Start; a <= r.Last; a++ {
				want[a] = true
			}
		}
		for _, r := range holes {
			for a := r.Start; a <= r.Last; a++ {
				want[a] = false
			}
		}
		var got [80]bool
		out := machine.Subtract(from, holes)
		for i, r := range out {
			if r.Last < r.Start || (i > 0 && r.Start <= out[i-1].Last) {
				t.Fatalf("Subtract(%v, %v) = %v: not sorted and disjoint", from, holes, out)
			}
			for a := r.Start; a <= r.Last; a++ {
				got[a] = true
			}
		}
		if got != want {
			t.Fatalf("Subtract(%v, %v) = %v", from, holes, out)
		}
	}
	top := machine.Range{Start: 16, Last: math.MaxUint64}
	if got := machine.Subtract([]machine.Range{top}, []machine.Range{{Start: 32, Last: math.MaxUint64}}); len(got) != 1 || got[0].Last != 31 {
		t.Errorf("Subtract at the end of the address space = %v", got)
	}
}

func TestRange(t *testing.T) {
	all := machine.Range{Start: 0, Last: math.MaxUint64}
	if all.Size() != math.MaxUint64 || all.End() != math.MaxUint64 {
		t.Errorf("Range{0, max}: Size %#x End %#x, want both saturated", all.Size(), all.End())
	}
	r := machine.Range{Start: 0x1000, Last: 0x1fff}
	if r.Size() != 0x1000 || r.End() != 0x2000 || r.String() != "0x1000-0x1fff" {
		t.Errorf("Range %v: Size %#x End %#x", r, r.Size(), r.End())
	}
}

func TestParseE820(t *testing.T) {
	entry := func(addr, size uint64, typ uint32) []byte {
		b := binary.LittleEndian.AppendUint64(nil, addr)
		b = binary.LittleEndian.AppendUint64(b, size)
		return binary.LittleEndian.AppendUint32(b, typ)
	}
	in := append(entry(0, 0x9fc00, 1), entry(0x9fc00, 0x400, 2)...)
	in = append(in, entry(5, 0, 1)...)
	in = append(in, entry(0x100000, 0x1000, 77)...)
	got, err := machine.ParseE820(in)
	want := []machine.MemoryRange{
		{Range: machine.Range{Start: 0, Last: 0x9fbff}, Type: machine.RAM},
		{Range: machine.Range{Start: 0x9fc00, Last: 0x9ffff}, Type: machine.Reserved},
		{Range: machine.Range{Start: 0x100000, Last: 0x100fff}, Type: machine.UnknownMemory},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("ParseE820: %v, -want +got\n%s", err, diff)
	}
	for _, bad := range [][]byte{make([]byte, 19), entry(math.MaxUint64, 2, 1)} {
		if _, err := machine.ParseE820(bad); !errors.Is(err, machine.ErrMalformed) {
			t.Errorf("ParseE820(%x) = %v, want %v", bad, err, machine.ErrMalformed)
		}
	}
	for _, typ := range []machine.MemoryType{machine.RAM, machine.Reserved, machine.ACPITables, machine.ACPINVS, machine.PMEM} {
		got, err := machine.ParseE820(entry(0, 1, typ.E820()))
		if err != nil || got[0].Type != typ {
			t.Errorf("E820 of %s reads back as %v, %v", typ, got, err)
		}
	}
}

func TestParseLockdown(t *testing.T) {
	for text, want := range map[string]machine.Lockdown{
		"[none] integrity confidentiality\n": machine.LockdownNone,
		"none [integrity] confidentiality\n": machine.LockdownIntegrity,
		"none integrity [confidentiality]\n": machine.LockdownConfidentiality,
		"none integrity confidentiality\n":   "",
		"[other]":                            "",
	} {
		got, err := machine.ParseLockdown([]byte(text))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseLockdown(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestParseVariable(t *testing.T) {
	v, err := machine.ParseVariable([]byte("\x06\x00\x00\x80x"))
	if err != nil || v.Attributes != 0x80000006 || string(v.Data) != "x" {
		t.Errorf("ParseVariable = %v, %v", v, err)
	}
	if _, err := machine.ParseVariable([]byte("\x06\x00\x00")); !errors.Is(err, machine.ErrMalformed) {
		t.Errorf("ParseVariable of 3 bytes: %v, want %v", err, machine.ErrMalformed)
	}
}

func TestKernelOption(t *testing.T) {
	var m machine.Machine
	m.Kernel.Cmdline = machine.KnownFact(`quiet lockdown=integrity acpi_rsdp=0x1 "dyndbg=a b" lockdown=none -- lockdown=x`, "")
	for name, want := range map[string]string{"lockdown": "none", "acpi_rsdp": "0x1", "dyndbg": "a b", "quiet": ""} {
		if got, ok := m.Kernel.Option(name); got != want || !ok {
			t.Errorf("Option(%s) = %q, %v, want %q", name, got, ok, want)
		}
	}
	if got, ok := m.Kernel.Option("missing"); ok {
		t.Errorf("Option(missing) = %q, true", got)
	}
}

// Signature and IMA policy that follow from configuration and Secure Boot.
func TestSignaturePolicy(t *testing.T) {
	yes, no := machine.KnownFact(true, "test"), machine.KnownFact(false, "test")
	var unknown machine.Fact[bool]
	for _, tc := range []struct {
		name                          string
		sig, force, arch, secureBoot  machine.Fact[bool]
		lockdown                      machine.Lockdown
		rules                         []string
		wantForced, wantIMA, wantLoad string
	}{
		{name: "plain", sig: yes, force: no, arch: no, secureBoot: no, lockdown: "none", wantForced: "false", wantIMA: "?", wantLoad: "?"},
		{name: "forced", sig: yes, force: yes, arch: no, secureBoot: no, lockdown: "none", wantForced: "true", wantIMA: "?", wantLoad: "?"},
		{name: "lockdown", sig: yes, force: no, arch: no, secureBoot: no, lockdown: "integrity", wantForced: "true", wantIMA: "?", wantLoad: "?"},
		{name: "arch policy with sig", sig: yes, force: no, arch: yes, secureBoot: yes, lockdown: "none", wantForced: "true", wantIMA: "false", wantLoad: "true"},
		{name: "arch policy without sig", sig: no, force: no, arch: yes, secureBoot: yes, lockdown: "none", wantForced: "false", wantIMA: "true", wantLoad: "true"},
		{name: "Secure Boot alone", sig: yes, force: no, arch: no, secureBoot: yes, lockdown: "none", wantForced: "false", wantIMA: "?", wantLoad: "?"},
		{name: "rule", sig: no, force: no, arch: no, secureBoot: no, lockdown: "none",
			rules: []string{"measure func=KEXEC_KERNEL_CHECK", "appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig"}, wantForced: "false", wantIMA: "true", wantLoad: "true"},
		{name: "measured only", sig: no, force: no, arch: no, secureBoot: no, lockdown: "none",
			rules: []string{"measure func=KEXEC_KERNEL_CHECK"}, wantForced: "false", wantIMA: "false", wantLoad: "false"},
		{name: "nothing told", sig: unknown, force: unknown, arch: unknown, secureBoot: unknown, wantForced: "?", wantIMA: "?", wantLoad: "?"},
	} {
		var m machine.Machine
		m.Kernel.KexecSig, m.Kernel.KexecSigForce, m.Kernel.IMAArchPolicy = tc.sig, tc.force, tc.arch
		m.EFI.SecureBoot = tc.secureBoot
		if tc.lockdown != "" {
			m.Security.Lockdown = machine.KnownFact(tc.lockdown, "test")
		}
		if tc.rules != nil {
			m.Security.IMAPolicy = machine.KnownFact(tc.rules, "test")
		}
		for _, c := range []struct {
			what string
			got  machine.Fact[bool]
			want string
		}{
			{"KexecSigEnforced", m.KexecSigEnforced(), tc.wantForced},
			{"IMAAppraisesKexec", m.IMAAppraisesKexec(), tc.wantIMA},
			{"IMARefusesKexecLoad", m.IMARefusesKexecLoad(), tc.wantLoad},
		} {
			got := "?"
			if v, ok := c.got.Get(); ok && v {
				got = "true"
			} else if ok {
				got = "false"
			}
			if got != c.want {
				t.Errorf("%s: %s() = %s, want %s", tc.name, c.what, got, c.want)
			}
		}
	}
}

// seedTree is a device tree whose /chosen holds seed in rng-seed and
// kaslr-seed, and an address of the EFI system table.
func seedTree(seed []byte) []byte {
	strs := "rng-seed\x00kaslr-seed\x00linux,uefi-system-table\x00"
	var body []byte
	word := func(v uint32) { body = binary.BigEndian.AppendUint32(body, v) }
	prop := func(name string, value []byte) {
		word(3)
		word(uint32(len(value)))
		word(uint32(strings.Index(strs, name+"\x00")))
		body = append(append(body, value...), make([]byte, -len(value)&3)...)
	}
	word(1)
	word(0) // root, ""
	word(1)
	body = append(body, "chosen\x00\x00"...)
	prop("rng-seed", seed)
	prop("kaslr-seed", seed)
	prop("linux,uefi-system-table", []byte{0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78})
	word(2)
	word(2)
	word(9)
	const head = 56 // header and one empty reservation
	var out []byte
	for _, v := range []uint32{0xd00dfeed, uint32(head + len(body) + len(strs)), head, uint32(head + len(body)), 40, 17, 16, 0,
		uint32(len(strs)), uint32(len(body))} {
		out = binary.BigEndian.AppendUint32(out, v)
	}
	out = append(out, make([]byte, 16)...)
	return append(append(out, body...), strs...)
}

func TestSystemTableFromDeviceTree(t *testing.T) {
	fsys := machinetest.FS(t, "arm64-acpi")
	machinetest.Set(fsys, "sys/firmware/fdt", string(seedTree([]byte("12345678"))))
	m := machine.ReadFS(fsys)
	if m.EFI.SystemTable != machine.KnownFact(uint64(0x12345678), "/sys/firmware/fdt") {
		t.Errorf("SystemTable = %v, want 0x12345678", m.EFI.SystemTable)
	}
	machinetest.Set(fsys, "sys/firmware/fdt", string(seedTree([]byte("12345678"))[:80]))
	if m := machine.ReadFS(fsys); m.FDT.Known() {
		t.Errorf("FDT of a truncated tree is known")
	}
}

func TestArchWithoutArchFile(t *testing.T) {
	for _, name := range []string{"x86-bios", "arm64-dtb", "riscv64"} {
		fsys := machinetest.FS(t, name)
		want := machine.ReadFS(fsys).CPU.Arch.Value
		delete(fsys, "proc/sys/kernel/arch")
		if got := machine.ReadFS(fsys).CPU.Arch; got.Value != want {
			t.Errorf("%s: Arch = %v from cpuinfo, want %v", name, got, want)
		}
	}
}

// Newer kernels keep the kexec files in a directory.
func TestKexecDirectory(t *testing.T) {
	fsys := machinetest.FS(t, "x86-bios")
	for _, f := range []string{"loaded", "crash_loaded", "crash_size"} {
		delete(fsys, "sys/kernel/kexec_"+f)
	}
	machinetest.Set(fsys, "sys/kernel/kexec/loaded", "1\n")
	machinetest.Set(fsys, "sys/kernel/kexec/crash_size", "4096\n")
	m := machine.ReadFS(fsys)
	if !m.Kexec.Loaded.Value || m.Kexec.CrashSize.Value != 4096 || m.Kexec.CrashLoaded.Known() {
		t.Errorf("Kexec = %+v", m.Kexec)
	}
}
