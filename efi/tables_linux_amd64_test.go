// SPDX-License-Identifier: Apache-2.0

package efi_test

import (
	"bytes"
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/hwid"
	"github.com/peelboot/peel/internal/testkit"
)

// smbiosStructure makes an SMBIOS structure (DSP0134, section 6.1).
func smbiosStructure(kind byte, data []byte, text ...string) []byte {
	b := append([]byte{kind, byte(4 + len(data)), kind, 0}, data...)
	for _, s := range text {
		b = append(append(b, s...), 0)
	}
	if len(text) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}

// smbios is the root directory of a machine whose SMBIOS has a manufacturer,
// a product and OEM strings.
func smbios(vendor, product string, oem ...string) fstest.MapFS {
	system := append([]byte{1, 2, 0, 0}, make([]byte, 17)...)
	var b []byte
	b = append(b, smbiosStructure(0, append([]byte{1, 2, 0, 0, 3, 0}, make([]byte, 12)...), "bios", "1.0", "01/01/2026")...)
	b = append(b, smbiosStructure(1, append(system, 3, 4), vendor, product, "sku", "family")...)
	b = append(b, smbiosStructure(2, []byte{1, 2, 0, 0}, "board vendor", "board")...)
	if len(oem) > 0 {
		b = append(b, smbiosStructure(11, []byte{byte(len(oem))}, oem...)...)
	}
	b = append(b, smbiosStructure(127, nil)...)
	entry := append([]byte("_SM3_\x00\x18\x03\x05\x00\x01\x00"), make([]byte, 12)...)
	return fstest.MapFS{
		"sys/firmware/dmi/tables/smbios_entry_point": {Data: entry},
		"sys/firmware/dmi/tables/DMI":                {Data: b},
	}
}

// ids are the hardware ids of such a machine.
func ids(vendor, product string) [][16]byte {
	return hwid.ForMatching(map[string]string{"sys_vendor": vendor, "product_name": product, "product_sku": "sku",
		"product_family": "family", "board_vendor": "board vendor", "board_name": "board", "bios_vendor": "bios",
		"bios_version": "1.0"}, "")
}

// hwidsSection makes a .hwids section (systemd, chid.h): a device per id, of
// 28 bytes each, an empty one, then names.
func hwidsSection(devices ...struct {
	id         [16]byte
	compatible string
}) []byte {
	const size, deviceTree = 28, 0x1000001c
	head, names := []byte{}, []byte{}
	at := uint32(size * (len(devices) + 1))
	for _, d := range devices {
		head = le.AppendUint32(head, deviceTree)
		head = append(head, d.id[:]...)
		head = le.AppendUint32(head, at+uint32(len(names)))
		names = append(names, "name\x00"...)
		head = le.AppendUint32(head, at+uint32(len(names)))
		names = append(names, d.compatible+"\x00"...)
	}
	return append(append(head, make([]byte, size)...), names...)
}

func deviceTree(t *testing.T, compatible string) []byte {
	t.Helper()
	tree := fdt.New()
	tree.Root.Set("compatible", []byte(compatible+"\x00"))
	tree.Root.Set("model", []byte("of the image\x00"))
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const treeTable = "b1b621d5-f19c-41a5-830b-d9152c69aae0"

// TestHardwareIDs: a stub chooses a device tree of its image by the machine's
// SMBIOS.
func TestHardwareIDs(t *testing.T) {
	type device = struct {
		id         [16]byte
		compatible string
	}
	section := testkit.WriteFile(t, "hwids", hwidsSection(
		device{ids("acme", "one")[0], "acme,one"}, device{ids("acme", "two")[0], "acme,two"}))
	args := []string{"--section=.hwids:@" + section}
	for _, c := range []string{"acme,zero", "acme,one", "acme,two"} {
		args = append(args, "--devicetree-auto="+testkit.WriteFile(t, c, deviceTree(t, c)))
	}
	for _, suite := range []string{"trixie", "forky"} {
		img := uki(t, suite, testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", "6.1"), Cmdline: "x", Extra: args})
		for product, want := range map[string]string{"one": "acme,one", "two": "acme,two", "three": ""} {
			t.Run(suite+" "+product, func(t *testing.T) {
				o := options(t, "x86-bios")
				o.Tables = efi.ReadTables(smbios("acme", product))
				st, err := efi.Run(context.Background(), img, o)
				if err != nil {
					t.Fatal(err)
				}
				defer st.Close()
				at := st.Tables[treeTable]
				if (at != 0) != (want != "") {
					t.Fatalf("device tree at %#x, want %q; notes %q", at, want, st.Notes)
				}
				if at != 0 && !bytes.Contains(st.Read(at, 256), []byte(want)) {
					t.Errorf("device tree is another than %q", want)
				}
			})
		}
	}
}

// TestCmdlineOfSMBIOS: a stub appends what the machine's OEM strings say, also
// under Secure Boot: they come from the machine, not from the image's caller.
func TestCmdlineOfSMBIOS(t *testing.T) {
	global, err := firmware.ParseGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"trixie", "forky"} {
		img := uki(t, suite, testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", "6.1"), Cmdline: "from=uki"})
		for _, secure := range []bool{false, true} {
			o := options(t, "x86-bios")
			o.Tables = efi.ReadTables(smbios("acme", "one", "first", "io.systemd.stub.kernel-cmdline-extra=from=smbios"))
			if secure {
				o.LoadOptions = "from=caller"
				for name, v := range map[string]byte{"SecureBoot": 1, "SetupMode": 0} {
					o.Variables = append(o.Variables, efi.Variable{Name: name, GUID: global, Attributes: 6, Data: []byte{v}})
				}
			}
			if line, _, _ := handedOver(t, img, o); line != "from=uki from=smbios" {
				t.Errorf("%s, Secure Boot %v: command line = %q", suite, secure, line)
			}
		}
	}
}

// TestShellArguments: a stub that a shell has started takes the arguments for
// its command line, without the name of the image.
func TestShellArguments(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "forky"} {
		img := uki(t, suite, testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", "6.1"), Cmdline: "from=uki"})
		o := options(t, "x86-bios")
		o.LoadOptions, o.Arguments = "from=options", []string{"image.efi", "from=shell", "second"}
		if line, _, _ := handedOver(t, img, o); line != "from=shell second" {
			t.Errorf("%s: command line = %q", suite, line)
		}
		o.Arguments = o.Arguments[:1]
		if line, _, _ := handedOver(t, img, o); line != "from=uki" {
			t.Errorf("%s without arguments: command line = %q", suite, line)
		}
	}
}

// TestTablesStayHere: nothing of the copies is handed over.
func TestTablesStayHere(t *testing.T) {
	const mark = "a string that is nowhere else"
	root := smbios("acme", "one", mark)
	fadt := append([]byte("FACP"), make([]byte, 240)...)
	le.PutUint32(fadt[4:], 244)
	root["sys/firmware/acpi/tables/FACP"] = &fstest.MapFile{Data: fadt}
	ssdt := append([]byte("SSDT"), make([]byte, 60)...)
	le.PutUint32(ssdt[4:], 64)
	copy(ssdt[36:], mark)
	root["sys/firmware/acpi/tables/SSDT1"] = &fstest.MapFile{Data: ssdt}
	root["sys/firmware/acpi/tables/dynamic/SSDT2"] = &fstest.MapFile{Data: ssdt}
	for _, recording := range []string{"x86-bios", "x86-ovmf"} {
		o := options(t, recording)
		o.Tables = efi.ReadTables(root)
		if len(o.Tables.Notes) != 0 || len(o.Tables.ACPI) != 2 {
			t.Fatalf("ReadTables() = %d tables, %q", len(o.Tables.ACPI), o.Tables.Notes)
		}
		st, err := efi.Run(context.Background(), testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12")), o)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if st.Tables["8868e871-e4f1-11d3-bc22-0080c73c8881"] == 0 || st.Tables["f2fd1544-9794-4a2c-992e-e5bbcf20e394"] == 0 {
			t.Errorf("configuration tables %v, want ACPI 2.0 and SMBIOS 3", st.Tables)
		}
		entry := st.RAM[st.Tables["f2fd1544-9794-4a2c-992e-e5bbcf20e394"]:]
		if at := le.Uint64(entry[16:]); !bytes.Contains(st.RAM[at:at+4096], []byte(mark)) {
			t.Errorf("no copy of SMBIOS at %#x", at)
		}
		plan, err := boot.Captured(st.State, boot.HostOf(o.Machine), boot.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Segments {
			if bytes.Contains(s.Data, []byte(mark)) {
				t.Errorf("segment %s holds a copy of a table", s.Name)
			}
		}
		want := o.Machine.ACPI.RSDP.Or(0)
		if got := plan.HandOver.BootParams.RSDP; got != want {
			t.Errorf("%s: acpi_rsdp_addr = %#x, want the machine's own %#x", recording, got, want)
		}
	}
}

// denied is a root directory in which nothing may be read.
type denied struct{}

func (denied) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func TestReadTables(t *testing.T) {
	got := efi.ReadTables(denied{})
	if n := strings.Join(got.Notes, "; "); len(got.Notes) != 2 || !strings.Contains(n, "SMBIOS: /sys/firmware/dmi/tables/smbios_entry_point: permission denied") ||
		!strings.Contains(n, "ACPI tables: /sys/firmware/acpi/tables: permission denied") {
		t.Errorf("ReadTables(nothing readable).Notes = %q", got.Notes)
	}
	if got := efi.ReadTables(fstest.MapFS{}); len(got.Notes) != 0 || len(got.ACPI) != 0 || got.SMBIOS.Entry != nil {
		t.Errorf("ReadTables(machine without) = %v", got)
	}
	root := fstest.MapFS{}
	for _, name := range []string{"SSDT10", "SSDT2", "APIC", "SSDT1", "FACP"} {
		root["sys/firmware/acpi/tables/"+name] = &fstest.MapFile{Data: []byte(name)}
	}
	var names []string
	for _, b := range efi.ReadTables(root).ACPI {
		names = append(names, string(b))
	}
	if got, want := strings.Join(names, " "), "APIC FACP SSDT1 SSDT2 SSDT10"; got != want {
		t.Errorf("ReadTables() reads %q, want %q", got, want)
	}
	root["sys/firmware/acpi/tables/HUGE"] = &fstest.MapFile{Data: make([]byte, 17<<20)}
	if got := efi.ReadTables(root); len(got.ACPI) != 0 || !strings.Contains(strings.Join(got.Notes, ""), "more than") {
		t.Errorf("ReadTables(17 MiB) = %d tables, %q", len(got.ACPI), got.Notes)
	}
}
