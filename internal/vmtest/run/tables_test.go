// SPDX-License-Identifier: Apache-2.0

package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/hwid"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/vm"
)

// ownTree is the device tree of a virtual machine, as a person would build it into an image: with a name of its own.
func ownTree(t *testing.T, c vm.Config, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	testkit.Run(t, "", "qemu-system-aarch64", "-machine", "virt,acpi=off,dumpdtb="+out, "-cpu", "cortex-a57", "-m", "1024", "-display", "none")
	tree, err := fdt.Parse(testkit.ReadFile(t, out))
	if err != nil {
		t.Fatal(err)
	}
	// With firmware and ACPI this machine has no PL061: a kernel that looks for it dies of the bus error.
	if !tree.Root.RemoveChild("pl061@9030000") || !tree.Root.RemoveChild("gpio-keys") {
		t.Fatal("QEMU's tree has no PL061: is it for another machine?")
	}
	tree.Root.Set("compatible", []byte("acme,"+name+"\x00linux,dummy-virt\x00"))
	tree.Root.Set("model", []byte("tree of "+name+"\x00"))
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// hwids makes a .hwids section that names a device tree for machines of one product.
func hwids(product, compatible string) []byte {
	const size, deviceTree = 28, 0x1000001c
	id := hwid.Compute(map[string]string{"sys_vendor": "acme", "product_name": product}, "")[9] // manufacturer and product
	word := func(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
	b := append(word(deviceTree), id[:]...)
	b = append(append(b, word(2*size)...), word(2*size+5)...)
	b = append(b, make([]byte, size)...)
	return append(append(b, "name\x00"...), compatible+"\x00"...)
}

// playTables kexecs on a machine with SMBIOS strings of the test's own.
func playTables(t *testing.T, a image.Arch) {
	trees := a == image.ArchARM64
	line := cmdline(t, a, "uki=tables")
	c := vmkit.Config(t, a)
	c.MemoryMiB = 1024
	c.Kernel, c.Cmdline, c.Firmware = testkit.Kernel(t, goArch(a), "6.12"), cmdline(t, a), vmkit.Firmware(t, a, false)
	c.Extra = []string{"-smbios", "type=1,manufacturer=acme,product=two", "-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=from=smbios"}

	look := []guest.Step{
		{Name: "systab", Argv: []string{"@cat", "/sys/firmware/efi/systab"}},
		{Name: "dmi", Argv: []string{"@sha256", "/sys/firmware/dmi/tables/DMI"}},
	}
	if !trees { // with a tree, the second kernel of arm64 goes by that
		look = append(look, guest.Step{Name: "acpi", Argv: []string{"@ls", "/sys/firmware/acpi/tables"}})
	}
	named := func(prefix string) (out []guest.Step) {
		for _, s := range look {
			s.Name = prefix + " " + s.Name
			out = append(out, s)
		}
		return out
	}
	after := named("second")
	extra := []string{"--section=.hwids:@" + testkit.WriteFile(t, "hwids", hwids("two", "acme,two"))}
	if trees {
		after = append(after, guest.Step{Name: "model", Argv: []string{"@cat", "/sys/firmware/devicetree/base/model"}})
		for _, name := range []string{"one", "two", "three"} {
			extra = append(extra, "--devicetree-auto="+ownTree(t, c, name))
		}
	}
	img := testkit.UKI(t, testkit.UKIOptions{Arch: goArch(a), Kernel: testkit.Kernel(t, goArch(a), "6.12"), Cmdline: line, Extra: extra,
		Initrd: vmkit.Initramfs(t, a, guest.Script{Name: "second", Steps: after})})
	load := []string{"/bin/peel", "load", "/img/image.efi", "--via", "run", "--policy", "warn"}
	first := named("first")
	files := []testkit.File{vmkit.Peel(t, a), testkit.Plain("img/image.efi", testkit.ReadFile(t, img))}
	var modules []string
	if !trees {
		steps, more := variables(t, a)
		first, files = append(first, steps...), append(files, more...)
		modules = []string{"/efivarfs.ko"}
	}
	script := guest.Script{Name: "first", Modules: modules, Steps: append(first, guest.Step{Name: "load", Argv: load}, guest.Step{Name: "exec", Argv: []string{"/bin/peel", "exec"}})}
	c.Initrd = file(t, "initrd", vmkit.Initramfs(t, a, script, files...))
	run := vmkit.Boot(t, c, "second")

	check(t, run, line+" from=smbios", true)
	// The second kernel has the machine's tables, not the stub's copies of them.
	for _, s := range look {
		first, second := run.Result("first "+s.Name), run.Result("second "+s.Name)
		if first.Status != 0 || first.Stdout == "" || first.Stdout != second.Stdout {
			t.Errorf("%s: first kernel %d %q %s, second kernel %d %q %s", s.Name, first.Status, first.Stdout, first.Stderr, second.Status, second.Stdout, second.Stderr)
		}
	}
	if !trees {
		checkWritten(t, run)
	} else {
		if got := strings.TrimRight(run.Result("model").Stdout, "\x00\n"); got != "tree of two" {
			t.Errorf("model of the second kernel's device tree = %q, want %q", got, "tree of two")
		}
	}
}

// variables are steps that write a variable, twice, and delete it: the kernel makes its file immutable.
func variables(t *testing.T, a image.Arch) ([]guest.Step, []testkit.File) {
	const path = "/sys/firmware/efi/efivars/PeelTest-7e6ba9f2-1a62-4f0a-9d5e-5b2f10737065"
	set := func(name, attributes, text string) guest.Step {
		return guest.Step{Name: name, Argv: []string{"/bin/setvar", "PeelTest", attributes, text}}
	}
	cat := func(name string) guest.Step { return guest.Step{Name: name, Argv: []string{"@cat", path}} }
	write := func(name string) guest.Step { return guest.Step{Name: name, Argv: []string{"@write", path, "x"}} }
	return []guest.Step{
			set("create", "7", "one"), cat("created"), write("immutable"), set("change", "7", "other"), cat("changed"), write("still immutable"),
			set("attributes", "3", "x"), set("delete", "6", ""), cat("deleted"), set("create volatile", "6", "x"),
		}, []testkit.File{
			testkit.Exec(t, "bin/setvar", testkit.BuildBinary(t, "./internal/vmtest/run/setvar", goArch(a))),
			testkit.Plain("efivarfs.ko", testkit.Module(t, testkit.KernelImage(t, goArch(a), "6.12"), "efivarfs")),
		}
}

func checkWritten(t *testing.T, run *vmkit.Run) {
	t.Helper()
	for _, w := range []struct {
		step, out, err string
		status         int
	}{
		{"create", "", "", 0}, {"created", "\x07\x00\x00\x00one", "", 0}, {"immutable", "", "operation not permitted", 1},
		{"change", "", "", 0}, {"changed", "\x07\x00\x00\x00other", "", 0}, {"still immutable", "", "operation not permitted", 1},
		{"attributes", "", "exists with other attributes", 1}, {"delete", "", "", 0}, {"deleted", "", "no such file", 1},
		{"create volatile", "", "volatile variables only before", 1},
	} {
		r := run.Result(w.step)
		if r.Stdout != w.out || (r.Status != 0) != (w.status != 0) || !strings.Contains(r.Stderr, w.err) {
			t.Errorf("%s: status %d, %q, %q, want %d, %q, %q", w.step, r.Status, r.Stdout, r.Stderr, w.status, w.out, w.err)
		}
	}
}

// TestTablesX86: the stub reads the machine's SMBIOS, and nothing of what it was given stays.
func TestTablesX86(t *testing.T) { playTables(t, image.ArchX86_64) }

// TestTablesARM64: on a machine without a device tree it also chooses one of the image by the machine's SMBIOS.
func TestTablesARM64(t *testing.T) { playTables(t, image.ArchARM64) }
