// SPDX-License-Identifier: Apache-2.0

package boot_test

import (
	"os"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/vm"
)

var goarch = map[image.Arch]string{image.ArchX86_64: "amd64", image.ArchARM64: "arm64", image.ArchRISCV64: "riscv64"}

// kexecCase is a machine whose kernel starts a second one through a plan.
type kexecCase struct {
	name   string
	config vm.Config
	first  string // series of the first kernel
	kernel []byte // second kernel
	args   []string
	second guest.Script
	// modules are for the first kernel.
	modules []string
}

// kexec boots the first kernel, which plans, loads and starts the second one,
// and returns what both said.
func (c kexecCase) run(t *testing.T) *vmkit.Run {
	t.Helper()
	arch := c.config.Arch
	cmdline := vmkit.Cmdline(t, arch, "peel.generation=2")
	c.second.Name = "second"
	extra := testkit.Plain("extra", []byte("from the second archive\n"))
	load := guest.Step{Name: "load", Argv: append([]string{
		"/bin/loadplan", "-kernel", "/kernel", "-initrd", "/initrd1,/initrd2", "-cmdline", cmdline, "-exec",
	}, c.args...)}
	c.second.Steps = append(c.second.Steps, guest.Step{Name: "extra", Argv: []string{"@cat", "/extra"}})
	first := vmkit.Initramfs(t, arch, guest.Script{Name: "first", Show: true, Steps: []guest.Step{load}},
		testkit.Exec(t, "bin/loadplan", testkit.BuildBinary(t, "./boot/internal/loadplan", goarch[arch])),
		testkit.Plain("kernel", c.kernel),
		testkit.Plain("initrd1", vmkit.Initramfs(t, arch, c.second)),
		testkit.Plain("initrd2", testkit.Initramfs(t, extra)),
	)
	c.config.Kernel = testkit.Kernel(t, goarch[arch], c.first)
	c.config.Initrd = testkit.WriteFile(t, "initrd", first)
	c.config.Cmdline = vmkit.Cmdline(t, arch)
	c.config.MemoryMiB = 1024
	run := vmkit.Boot(t, c.config, "second")
	b := run.Boot("second")
	if want := cmdline; b.Cmdline != want {
		t.Errorf("second /proc/cmdline = %q, want %q", b.Cmdline, want)
	}
	if got := run.Result("extra").Stdout; got != "from the second archive\n" {
		t.Errorf("file of the second initrd = %q", got)
	}
	// Initial RAM disks differ in size and are freed; what is reserved for
	// the kernel differs by its version.
	if one, two := run.Boot("first").MemTotalKB, b.MemTotalKB; two < one-one/16 || two > one+one/16 {
		t.Errorf("second MemTotal = %d kB, first %d kB", two, one)
	}
	t.Log(strings.Split(run.Console, guest.Marker)[1])
	return run
}

func readKernel(t *testing.T, arch, series string) []byte {
	t.Helper()
	b, err := os.ReadFile(testkit.Kernel(t, arch, series))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVMKexecLoadX86(t *testing.T) {
	for _, series := range []string{"6.12", "6.1", "new"} {
		t.Run("bios-"+series, func(t *testing.T) {
			c := kexecCase{config: vmkit.Config(t, image.ArchX86_64), first: "6.12", kernel: readKernel(t, "amd64", series)}
			run := c.run(t)
			if run.Boot("second").EFI {
				t.Error("second kernel has EFI on a machine without")
			}
		})
	}
}

func TestVMKexecLoadARM64(t *testing.T) {
	for _, noACPI := range []bool{false, true} {
		t.Run(map[bool]string{false: "default", true: "dtb"}[noACPI], func(t *testing.T) {
			c := kexecCase{config: vmkit.Config(t, image.ArchARM64), first: "6.12", kernel: readKernel(t, "arm64", "6.12")}
			c.config.NoACPI = noACPI
			c.run(t)
		})
	}
}

func TestVMKexecLoadRISCV64(t *testing.T) {
	c := kexecCase{config: vmkit.Config(t, image.ArchRISCV64), first: "6.12", kernel: readKernel(t, "riscv64", "6.12")}
	c.run(t)
}
