// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

// What is known of the machines that were recorded, from the way they were
// started.
func TestReadRecordings(t *testing.T) {
	type facts struct {
		Arch                  image.Arch
		FileLoad, Load        bool
		EFI, SecureBoot, ACPI bool
		Lockdown              machine.Lockdown
		CrashMiB              uint64
		RSDP                  bool
		RuntimeMap            int
		BootParams            bool
		FDT                   bool
	}
	x86 := facts{Arch: image.ArchX86_64, FileLoad: true, Load: true, ACPI: true, Lockdown: machine.LockdownNone, RSDP: true, BootParams: true}
	arm := facts{Arch: image.ArchARM64, Load: true, Lockdown: machine.LockdownNone, FDT: true}
	with := func(f facts, edit func(*facts)) facts { edit(&f); return f }
	want := map[string]facts{
		"x86-bios":     with(x86, func(f *facts) { f.CrashMiB = 128 }),
		"x86-bios-7.2": x86,
		"x86-ovmf":     with(x86, func(f *facts) { f.EFI, f.RuntimeMap = true, 6 }),
		"x86-secureboot": with(x86, func(f *facts) {
			f.EFI, f.SecureBoot, f.Lockdown, f.RuntimeMap = true, true, machine.LockdownIntegrity, 3
		}),
		"x86-bios-user": with(x86, func(f *facts) { f.Lockdown = machine.LockdownNone }),
		"arm64-dtb":     with(arm, func(f *facts) { f.CrashMiB = 128 }),
		"arm64-acpi":    with(arm, func(f *facts) { f.EFI, f.ACPI, f.RSDP = true, true, true }),
		"riscv64":       with(arm, func(f *facts) { f.Arch = image.ArchRISCV64 }),
	}
	names := machinetest.Names(t)
	if len(names) != len(want) {
		t.Errorf("recordings %v, want %d of them", names, len(want))
	}
	for _, name := range names {
		m := machinetest.Machine(t, name)
		got := facts{
			Arch:       m.CPU.Arch.Value,
			FileLoad:   m.Kernel.KexecFileLoad.Value,
			Load:       m.Kernel.KexecLoad.Value,
			EFI:        m.EFI.Present.Value,
			SecureBoot: m.EFI.SecureBoot.Value,
			ACPI:       m.ACPI.Present.Value,
			Lockdown:   m.Security.Lockdown.Value,
			CrashMiB:   m.Kexec.CrashSize.Value >> 20,
			RSDP:       m.ACPI.RSDP.Known(),
			RuntimeMap: len(m.EFI.RuntimeMap.Value),
			BootParams: m.BootParams.Data.Known(),
			FDT:        m.FDT.Known(),
		}
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("ReadFS(%s): -want +got\n%s", name, diff)
		}
		if n := m.CPU.PageSize; n != machine.KnownFact(uint64(4096), "/proc/self/auxv") {
			t.Errorf("%s: page size %v, want 4096", name, n)
		}
		if name == "x86-bios-user" {
			continue
		}
		// Every machine has 1 GiB, of which firmware keeps some.
		if n := m.Memory.Total().Value >> 20; n < 960 || n > 1024 {
			t.Errorf("%s: Memory.Total() = %d MiB, want nearly 1024", name, n)
		}
		var crash uint64
		for _, r := range m.Memory.Crash.Value {
			crash += r.Size()
		}
		if crash>>20 != want[name].CrashMiB {
			t.Errorf("%s: crash ranges %v, want %d MiB", name, m.Memory.Crash.Value, want[name].CrashMiB)
		}
		for _, u := range m.Memory.Usable.Value {
			for _, r := range append(m.Memory.ReservedRanges.Value, m.Memory.Crash.Value...) {
				if u.Overlaps(r) {
					t.Errorf("%s: usable %v overlaps %v, which is kept", name, u, r)
				}
			}
		}
		if m.EFI.Present.Value && m.EFI.SystemTable.Value == 0 {
			t.Errorf("%s: no address of the EFI system table", name)
		}
		if len(m.Memory.Kernel.Value) == 0 {
			t.Errorf("%s: no ranges of the running kernel", name)
		}
	}
}

func TestReadNotPermitted(t *testing.T) {
	m := machinetest.Machine(t, "x86-bios-user")
	for what, state := range map[string]machine.State{
		"iomem":  m.Memory.IOMem.State,
		"usable": m.Memory.Usable.State,
		"crash":  m.Memory.Crash.State,
		"ima":    m.Security.IMAPolicy.State,
	} {
		if state != machine.NotPermitted {
			t.Errorf("%s is %v, want %v", what, state, machine.NotPermitted)
		}
	}
	if c := m.Security.CapSysBoot; !c.Known() || c.Value {
		t.Errorf("CapSysBoot = %v, want known and false", c)
	}
	// boot_params is open to all and stands in for the firmware's map.
	if f := m.Memory.Firmware; !f.Known() || len(f.Value) == 0 {
		t.Errorf("Memory.Firmware = %v, want the table of boot_params", f)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, name := range machinetest.Names(t) {
		m := machinetest.Machine(t, name)
		dir := filepath.Join(t.TempDir(), "rec")
		if err := m.Record(dir); err != nil {
			t.Fatalf("%s: Record: %v", name, err)
		}
		again, err := machine.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !m.Equal(again) {
			t.Errorf("%s: Read(Record()) differs: %s", name, jsonDiff(t, m, again))
		}
		// And so does the recording of the recording.
		if diff := cmp.Diff(m.Recording(), again.Recording()); diff != "" {
			t.Errorf("%s: Recording differs: -first +second\n%s", name, diff)
		}
		err = again.Record(dir)
		if !errors.Is(err, machine.ErrExists) {
			t.Errorf("%s: Record into the same directory: %v, want %v", name, err, machine.ErrExists)
		}
	}
	if err := (&machine.Machine{}).Record(t.TempDir()); !errors.Is(err, machine.ErrNoSnapshot) {
		t.Errorf("Record of an empty Machine: %v, want %v", err, machine.ErrNoSnapshot)
	}
}

// The machine the tests run on, whatever it is, records as well.
func TestRecordThisMachine(t *testing.T) {
	m, err := machine.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.Record(dir); err != nil {
		t.Fatal(err)
	}
	again, err := machine.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Equal(again) {
		t.Errorf("Read(Record()) differs: %s", jsonDiff(t, m, again))
	}
}

func jsonDiff(t *testing.T, a, b *machine.Machine) string {
	t.Helper()
	x, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return cmp.Diff(strings.Split(string(x), "\n"), strings.Split(string(y), "\n"))
}

func TestSecretsAreNotRecorded(t *testing.T) {
	const secret = "HUSH-0123456789"
	fsys := machinetest.FS(t, "x86-ovmf")
	for _, p := range []string{
		"sys/kernel/boot_params/setup_data/0/data",
		"sys/firmware/efi/efivars/LoaderSystemToken-" + machine.GUIDLoader,
		"sys/firmware/efi/efivars/RandomSeed-" + "9e61e5a9-09c2-4dc0-8a7c-1d2c7d0b3f4e",
		"sys/class/dmi/id/product_serial",
		"sys/class/dmi/id/product_uuid",
		"sys/firmware/dmi/tables/DMI",
		"proc/self/environ",
	} {
		machinetest.Set(fsys, p, "\x07\x00\x00\x00"+secret)
	}
	machinetest.Set(fsys, "sys/kernel/boot_params/setup_data/0/type", "0x9\n")
	machinetest.Set(fsys, "proc/cpuinfo", "processor\t: 0\nflags\t\t: lm\nSerial\t\t: "+secret+"\n\nprocessor\t: 1\nflags\t\t: lm\nvendor_id\t: "+secret+"\n")
	machinetest.Set(fsys, "proc/self/status", "Name:\t"+secret+"\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n")
	machinetest.Set(fsys, "proc/kallsyms", secret+" T __x64_sys_kexec_load\n")
	machinetest.Set(fsys, "sys/firmware/fdt", string(seedTree([]byte(secret))))
	m := machine.ReadFS(fsys)
	if n := len(m.BootParams.SetupData.Value); n != 1 {
		t.Errorf("setup_data has %d entries, want 1", n)
	}
	if !m.FDT.Known() {
		t.Fatalf("device tree is %v: %s", m.FDT.State, m.FDT.Why)
	}
	for _, f := range m.Recording() {
		if strings.Contains(string(f.Data), secret) {
			t.Errorf("recording holds the secret in %s", f.Path)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), secret) {
		t.Error("the Machine holds the secret")
	}
	if again := machine.ReadFS(asFS(m)); !m.Equal(again) {
		t.Errorf("recording reads back differently: %s", jsonDiff(t, m, again))
	}
}

func asFS(m *machine.Machine) fstest.MapFS {
	out := fstest.MapFS{}
	for _, f := range m.Recording() {
		if f.Dir {
			out[f.Path] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		} else {
			out[f.Path] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
		}
	}
	return out
}

func TestReadNothing(t *testing.T) {
	m := machine.ReadFS(fstest.MapFS{})
	if m.Memory.Map.Known() || m.Kernel.Release.Known() || m.EFI.Present.Known() {
		t.Errorf("an empty directory tells something: %v %v %v", m.Memory.Map, m.Kernel.Release, m.EFI.Present)
	}
	if _, err := machine.Read(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of a missing directory: %v, want %v", err, fs.ErrNotExist)
	}
}

// A recording may come from a stranger: links out of it lead nowhere.
func TestReadStaysBelowRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("stolen\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "proc", "cmdline")); err != nil {
		t.Fatal(err)
	}
	m, err := machine.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if m.Kernel.Cmdline.Known() {
		t.Errorf("Cmdline = %v, want nothing from outside of the root", m.Kernel.Cmdline)
	}
}

func TestReadBootConfig(t *testing.T) {
	fsys := machinetest.FS(t, "x86-bios")
	machinetest.Set(fsys, "boot/config-6.12.117+deb13-cloud-amd64", "CONFIG_KEXEC=y\n# CONFIG_KEXEC_FILE is not set\nCONFIG_KEXEC_SIG_FORCE=y\nCONFIG_SECRET=\"x\"\n")
	r := machine.ReadFS(fsys)
	rel := r.Kernel.Release.Value
	machinetest.Set(fsys, "boot/config-"+rel, "CONFIG_KEXEC=y\n# CONFIG_KEXEC_FILE is not set\nCONFIG_KEXEC_SIG_FORCE=y\nCONFIG_SECRET=\"x\"\n")
	m := machine.ReadFS(fsys)
	if !m.Kernel.KexecLoad.Value || m.Kernel.KexecFileLoad.Value || !m.Kernel.KexecFileLoad.Known() || !m.Kernel.KexecSigForce.Value {
		t.Errorf("calls %v %v, force %v, want those of the configuration", m.Kernel.KexecLoad, m.Kernel.KexecFileLoad, m.Kernel.KexecSigForce)
	}
	if m.Kernel.Symbols.Known() {
		t.Error("kallsyms was read although the configuration is known")
	}
	if again := machine.ReadFS(asFS(m)); !m.Equal(again) {
		t.Errorf("recording reads back differently: %s", jsonDiff(t, m, again))
	}
}

func TestWithVariables(t *testing.T) {
	const key = "Extra-" + machine.GUIDGlobal
	fsys := machinetest.FS(t, "x86-ovmf")
	machinetest.Set(fsys, "sys/firmware/efi/efivars/"+key, "\x07\x00\x00\x00data")
	m := machine.ReadFS(fsys)
	if v := m.EFI.Variable("Extra", machine.GUIDGlobal); v.Known() {
		t.Errorf("Variable(Extra) = %v, want it left out", v)
	}
	if h := m.EFI.HasVariable("Extra", machine.GUIDGlobal); !h.Value {
		t.Errorf("HasVariable(Extra) = %v, want true", h)
	}
	m = machine.ReadFS(fsys, machine.WithVariables(key))
	v := m.EFI.Variable("Extra", machine.GUIDGlobal)
	if !v.Known() || v.Value.Attributes != 7 || string(v.Value.Data) != "data" {
		t.Errorf("Variable(Extra) = %v, want attributes 7 and \"data\"", v)
	}
}

func TestMokListParts(t *testing.T) {
	fsys := machinetest.FS(t, "x86-secureboot")
	for _, n := range []string{"MokListRT", "MokListRT1", "MokListRT12", "MokListXRT", "MokListRTx"} {
		machinetest.Set(fsys, "sys/firmware/efi/efivars/"+n+"-"+machine.GUIDShim, "\x06\x00\x00\x00"+n)
		machinetest.Set(fsys, "sys/firmware/efi/mok-variables/"+n, n)
	}
	m := machine.ReadFS(fsys)
	for _, n := range []string{"MokListRT", "MokListRT1", "MokListRT12", "MokListXRT"} {
		if v := m.EFI.Variable(n, machine.GUIDShim); string(v.Value.Data) != n {
			t.Errorf("Variable(%s) = %v", n, v)
		}
		if got := string(m.EFI.MokVariables.Value[n]); got != n {
			t.Errorf("MokVariables[%s] = %q", n, got)
		}
	}
	if v := m.EFI.Variable("MokListRTx", machine.GUIDShim); v.Known() {
		t.Errorf("Variable(MokListRTx) = %v, want it left out", v)
	}
}

func BenchmarkRead(b *testing.B) {
	fsys := machinetest.FS(b, "x86-secureboot")
	for b.Loop() {
		machine.ReadFS(fsys)
	}
}
