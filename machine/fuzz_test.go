// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

func FuzzParseIOMem(f *testing.F) {
	for _, name := range machinetest.Names(f) {
		f.Add(machinetest.FS(f, name)["proc/iomem"].Data)
	}
	f.Add([]byte("0-ffffffffffffffff : System RAM\n  0-ffffffffffffffff : reserved\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		resources, err := machine.ParseIOMem(b)
		for i, r := range resources {
			if err != nil || r.Last < r.Start || r.Depth < 0 || (i == 0 && r.Depth != 0) {
				t.Errorf("resource %d: %+v, %v", i, r, err)
			}
		}
		m := machine.ReadFS(fstest.MapFS{"proc/iomem": {Data: b}})
		ordered(t, "Usable", m.Memory.Usable.Value)
		var spans []machine.Range
		for _, r := range m.Memory.Map.Value {
			spans = append(spans, r.Range)
		}
		ordered(t, "Map", spans)
		for _, u := range m.Memory.Usable.Value {
			for _, r := range m.Memory.ReservedRanges.Value {
				if u.Overlaps(r) {
					t.Errorf("usable %v overlaps reserved %v", u, r)
				}
			}
		}
	})
}

func ordered(t *testing.T, what string, ranges []machine.Range) {
	t.Helper()
	for i, r := range ranges {
		if r.Last < r.Start || (i > 0 && ranges[i-1].Last >= r.Start) {
			t.Errorf("%s: range %d %v is empty, out of order or overlaps", what, i, r)
		}
	}
}

func FuzzParseMemmapEntry(f *testing.F) {
	f.Add([]byte("0x0\n"), []byte("0x9fbff\n"), []byte("System RAM\n"))
	f.Add([]byte("0xffffffffffffffff"), []byte("0x0"), []byte("Reserved"))
	f.Fuzz(func(t *testing.T, start, end, typ []byte) {
		r, err := machine.ParseMemmapEntry(start, end, typ)
		if err == nil && (r.Last < r.Start || r.Type == "") {
			t.Errorf("ParseMemmapEntry(%q, %q, %q) = %v", start, end, typ, r)
		}
	})
}

func FuzzParseE820(f *testing.F) {
	f.Add(machinetest.FS(f, "x86-bios")["sys/kernel/boot_params/data"].Data[0x2d0 : 0x2d0+20*8])
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := machine.ParseE820(b)
		for _, r := range out {
			if err != nil || r.Last < r.Start {
				t.Errorf("ParseE820 gives %v, %v", r, err)
			}
		}
		// The table as the only source of the map.
		page := make([]byte, 4096)
		page[0x1e8] = byte(len(b) / 20)
		copy(page[0x2d0:0x2d0+128*20], b)
		m := machine.ReadFS(fstest.MapFS{"sys/kernel/boot_params/data": {Data: page}})
		var spans []machine.Range
		for _, r := range m.Memory.Map.Value {
			spans = append(spans, r.Range)
		}
		ordered(t, "Map", spans)
	})
}

func FuzzParseVariable(f *testing.F) {
	f.Add([]byte("\x06\x00\x00\x00\x01"))
	f.Add([]byte("\x06"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := machine.ParseVariable(b)
		if (err == nil) != (len(b) >= 4) || (err == nil && len(v.Data) != len(b)-4) {
			t.Errorf("ParseVariable(%x) = %v, %v", b, v, err)
		}
		fsys := fstest.MapFS{
			"sys/firmware/efi/efivars/SecureBoot-" + machine.GUIDGlobal: {Data: b},
			"sys/firmware/efi/mok-variables/MokListRT":                  {Data: b},
		}
		m := machine.ReadFS(fsys)
		if sb := m.EFI.SecureBoot; sb.Value && string(b[4:]) != "\x01" {
			t.Errorf("SecureBoot of %x = %v", b, sb)
		}
	})
}

// FuzzReadFiles puts one text into every small file of a machine.
func FuzzReadFiles(f *testing.F) {
	f.Add("sys/firmware/fdt", seedTree([]byte("12345678")))
	for _, p := range []string{
		"proc/cmdline", "proc/cpuinfo", "proc/self/auxv", "proc/self/status", "proc/kallsyms", "proc/config.gz",
		"sys/firmware/efi/systab", "sys/firmware/efi/runtime-map/0/type", "sys/kernel/boot_params/data",
		"sys/kernel/boot_params/setup_data/0/type", "sys/kernel/security/lockdown", "sys/kernel/vmcoreinfo",
		"sys/kernel/security/ima/policy", "peel-recording.txt", "proc/sys/kernel/osrelease", "proc/kcore",
	} {
		f.Add(p, []byte("0x1\n"))
	}
	f.Add("peel-recording.txt", []byte("peel machine recording 1\ndenied proc/iomem\twhy\nfailed sys/firmware/memmap\n"))
	base := machinetest.FS(f, "x86-ovmf")
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		fsys := fstest.MapFS{}
		for p, file := range base {
			fsys[p] = file
		}
		fsys[path] = &fstest.MapFile{Data: append([]byte(nil), data...), Mode: 0o644}
		m := machine.ReadFS(fsys)
		if again := machine.ReadFS(asFS(m)); !m.Equal(again) {
			t.Errorf("recording reads back differently: %s", jsonDiff(t, m, again))
		}
	})
}
