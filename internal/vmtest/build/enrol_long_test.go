// SPDX-License-Identifier: Apache-2.0

//go:build long

package build

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/keyset"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/trust/esl"
	"github.com/peelboot/peel/vm"
)

const efivars = "/sys/firmware/efi/efivars/"

// enrol is a step that writes an update that peel keygen made to a variable.
func enrol(file, name, vendor string) guest.Step {
	return guest.Step{Name: file, Argv: []string{"@copy", "/keys/" + file, efivars + name + "-" + vendor}}
}

// Firmware that has no keys takes the updates that peel keygen makes, turns
// Secure Boot on, and starts from then on what db's key signed and nothing
// else, until PK-delete.auth gives the machine back.
func TestEnrol(t *testing.T) {
	const arch = image.ArchX86_64
	s, err := keyset.New(keyset.Options{Name: "enrolled", Time: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keyset.New(keyset.Options{Name: "foreign", Time: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	k := testkit.KernelImage(t, "amd64", "6.12")
	files := []testkit.File{testkit.Plain("efivarfs.ko", testkit.Module(t, k, "efivarfs"))}
	all, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if filepath.Ext(f.Name) == ".auth" {
			// efivarfs wants the attributes in front: NV, BS, RT, time based.
			files = append(files, testkit.Plain("keys/"+f.Name, append([]byte{0x27, 0, 0, 0}, f.Data...)))
		}
	}
	script := func(name string, steps ...guest.Step) []byte {
		steps = append(steps, guest.Step{Name: "setup mode", Argv: []string{"@sha256", efivars + "SetupMode-" + esl.GlobalVariable}})
		return vmkit.Initramfs(t, arch, guest.Script{Name: name, Modules: []string{"/efivarfs.ko"}, Steps: steps}, files...)
	}

	// One store of variables for all machines: what one writes the next finds.
	plain := vmkit.Firmware(t, arch, false)
	vars := testkit.WriteFile(t, "VARS.fd", testkit.ReadFile(t, plain.Vars))
	c := vmkit.Config(t, arch)
	c.MemoryMiB = 1024
	c.Firmware = &vm.Firmware{Code: vmkit.Firmware(t, arch, true).Code, Secure: true}
	c.Extra = append(slices.Clone(c.Extra), "-drive", "if=pflash,unit=1,format=raw,file="+vars)

	first := c
	first.Kernel, first.Cmdline = k.Path, vmkit.Cmdline(t, arch)
	first.Initrd = testkit.WriteFile(t, "initrd", script("first",
		enrol("db.auth", "db", esl.ImageSecurityDatabase), enrol("KEK.auth", "KEK", esl.GlobalVariable), enrol("PK.auth", "PK", esl.GlobalVariable)))
	r := vmkit.Boot(t, first, "first")
	if b := r.Boot("first"); !b.EFI || b.SecureBoot != "off" {
		t.Errorf("before: %+v, want EFI without Secure Boot", *b)
	}
	for _, step := range []string{"db.auth", "KEK.auth", "PK.auth"} {
		if got := r.Result(step); got.Status != 0 {
			t.Errorf("enrolling %s: %s", step, got.Stderr)
		}
	}

	u := &build.UKI{
		Stub: build.File(testkit.Stub(t, "amd64", "trixie")), Linux: build.File(k.Path), OSRelease: build.Text("ID=peel-test\n"),
		Initrds: []build.Content{build.Bytes(script("second", enrol("PK-delete.auth", "PK", esl.GlobalVariable)))},
		Cmdline: build.Text(vmkit.Cmdline(t, arch)),
	}
	u.SignKernel = []build.Signature{{Key: s.DB}}
	c.Kernel = write(t, u, build.Signature{Key: foreign.DB})
	refused(t, c, "foreign")
	c.Kernel = write(t, u, build.Signature{Key: s.DB})
	r = vmkit.Boot(t, c, "second")
	if b := r.Boot("second"); b.SecureBoot != "on" || b.Lockdown != "integrity" {
		t.Errorf("after: %+v, want Secure Boot on, and the kernel locked down by it", *b)
	}
	if got := r.Result("PK-delete.auth"); got.Status != 0 {
		t.Errorf("PK-delete.auth: %s", got.Stderr)
	}

	first.Initrd = testkit.WriteFile(t, "initrd", script("third"))
	if b := vmkit.Boot(t, first, "third").Boot("third"); b.SecureBoot != "off" {
		t.Errorf("without PK: %+v, want Secure Boot off", *b)
	}
}
