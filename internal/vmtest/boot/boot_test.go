// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/vm"
)

var goarch = map[image.Arch]string{image.ArchX86_64: "amd64", image.ArchARM64: "arm64", image.ArchRISCV64: "riscv64"}

const secondArchive = "from the second archive\n"

// kexecCase is a machine whose kernel, 6.12 if not given, starts a second one
// through a plan and kexec_load.
type kexecCase struct {
	name   string
	config vm.Config
	kernel []byte // started by kexec
	// wrap puts the kernel into an image, a UKI for instance, with an initial
	// RAM disk and a command line, if it takes any; what it returns false
	// for is given to peel beside the image.
	wrap func(t *testing.T, kernel, initrd []byte, cmdline string) (image []byte, all bool)
	args []string
	// cmdline is added to the command lines of all kernels.
	cmdline []string
	// last is what the last kernel does, with files.
	last  guest.Script
	files []testkit.File
	// crash starts the second kernel by a panic.
	crash bool
	// file loads by kexec_file_load instead.
	file bool
	// again lets the second kernel start a third one.
	again bool
}

// run boots the first kernel, which plans, loads and starts the second one,
// and returns what all said. The last one is called "last".
func (c kexecCase) run(t *testing.T) *vmkit.Run {
	t.Helper()
	arch := c.config.Arch
	cmdline := vmkit.Cmdline(t, arch, append(c.cmdline, "peel.kexec=1")...)
	call := "segments"
	if c.file {
		call = "file"
	}
	load := guest.Step{Name: "load", Argv: append([]string{
		"/bin/peel", "load", "/kernel", "--policy", "warn", "--syscall", call, "--initrd", "/initrd2",
	}, c.args...)}
	exec := guest.Step{Name: "exec", Argv: []string{"/bin/peel", "exec", "--force"}}
	c.config.Cmdline = vmkit.Cmdline(t, arch, c.cmdline...)
	if c.crash {
		load.Argv = append(load.Argv, "--crash")
		exec = guest.Step{Name: "status", Argv: []string{"/bin/peel", "status"}}
		c.config.Cmdline = vmkit.Cmdline(t, arch, append(c.cmdline, "crashkernel=256M")...)
	}

	archive := testkit.Plain("initrd2", testkit.Initramfs(t, testkit.Plain("archive", []byte(secondArchive))))
	c.last.Name = "last"
	c.last.Steps = append(c.last.Steps, guest.Step{Name: "archive", Argv: []string{"@cat", "/archive"}})
	initrd := vmkit.Initramfs(t, arch, c.last, c.files...)
	names := []string{"first"}
	if c.again {
		names = []string{"second", "first"}
	}
	for _, name := range names {
		step, img, all := load, c.kernel, false
		if c.wrap != nil {
			img, all = c.wrap(t, c.kernel, initrd, cmdline)
		}
		files := []testkit.File{vmkit.Peel(t, arch), archive, testkit.Plain("kernel", img)}
		if !all {
			files = append(files, testkit.Plain("initrd1", initrd))
			// Its own initrd comes first, as in an image that holds one.
			step.Argv = append([]string{step.Argv[0], "load", "--initrd", "/initrd1", "--cmdline", cmdline}, step.Argv[2:]...)
		}
		initrd = vmkit.Initramfs(t, arch, guest.Script{Name: name, Steps: []guest.Step{step, exec}, Panic: c.crash}, files...)
	}
	c.config.Kernel = cmp.Or(c.config.Kernel, testkit.Kernel(t, goarch[arch], "6.12"))
	c.config.Initrd = testkit.WriteFile(t, "initrd", initrd)
	c.config.MemoryMiB = cmp.Or(c.config.MemoryMiB, 1024)
	run := vmkit.Boot(t, c.config, "last")

	first := run.Boot("first")
	for _, name := range append(names[:len(names)-1], "last") {
		b := run.Boot(name)
		if !strings.HasSuffix(b.Cmdline, cmdline) || !c.crash && b.Cmdline != cmdline {
			t.Errorf("%s /proc/cmdline = %q, want %q", name, b.Cmdline, cmdline)
		}
		if one, two := first.MemTotalKB, b.MemTotalKB; !c.crash && (two < one-one/16 || two > one+one/16) {
			t.Errorf("%s MemTotal = %d kB, first %d kB, want about the same", name, two, one)
		}
		if b.EFI != first.EFI {
			t.Errorf("%s kernel has EFI: %v, first: %v", name, b.EFI, first.EFI)
		}
	}
	if got := run.Result("archive").Stdout; got != secondArchive {
		t.Errorf("file of the second archive = %q, want %q", got, secondArchive)
	}
	return run
}

// withFirmware is a machine with UEFI.
func withFirmware(t *testing.T, arch image.Arch) vm.Config {
	t.Helper()
	c := vmkit.Config(t, arch)
	c.Firmware = vmkit.Firmware(t, arch, false)
	return c
}

func kernel(t *testing.T, arch, series string) []byte {
	t.Helper()
	return testkit.ReadFile(t, testkit.Kernel(t, arch, series))
}

// vmlinux unpacks the kernel in a bzImage with zstd(1).
func vmlinux(t *testing.T, bzImage []byte) []byte {
	t.Helper()
	k, err := linux.ParseBzImage(bzImage)
	if err != nil {
		t.Fatal(err)
	}
	packed := k.Payload()
	in := testkit.WriteFile(t, "payload.zst", packed[:len(packed)-4]) // the size comes behind
	out := filepath.Join(t.TempDir(), "vmlinux")
	testkit.Run(t, "", "zstd", "-q", "-d", "--long=31", in, "-o", out)
	return testkit.ReadFile(t, out)
}

// elfOf puts an Image into an ELF executable with one segment at the virtual
// address of a kernel.
func elfOf(machine elf.Machine, virt uint64, image []byte) []byte {
	const size = 64 + 56
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, size-7)...)
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint64(b[24:], virt)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], 1)
	for i, v := range []uint64{size, virt, virt, uint64(len(image)), uint64(len(image))} {
		le.PutUint64(b[72+8*i:], v)
	}
	return append(b, image...)
}

func TestVMKexecLoadX86(t *testing.T) {
	debian := kernel(t, "amd64", "6.12")
	for _, c := range []kexecCase{
		{name: "6.12", kernel: debian},
		{name: "6.1", kernel: kernel(t, "amd64", "6.1")},
		{name: "new", kernel: kernel(t, "amd64", "new")},
		{name: "vmlinux", kernel: vmlinux(t, debian)},
		{name: "high", kernel: debian, args: []string{"--mem-min", "0x20000000"}},
		{name: "UKI, twice", kernel: debian, wrap: ukiOf("amd64"), again: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config = vmkit.Config(t, image.ArchX86_64)
			c.run(t)
		})
	}
}

// On UEFI, kernels of the second and third generation, each from a UKI, read
// and write variables.
func TestVMKexecLoadUEFI(t *testing.T) {
	k := testkit.KernelImage(t, "amd64", "6.12")
	const name = "/sys/firmware/efi/efivars/PeelTest-2f0d0f3a-9f0b-4f6e-8f0e-7f6d5e4c3b2a"
	c := kexecCase{config: vmkit.Config(t, image.ArchX86_64), kernel: testkit.ReadFile(t, k.Path), wrap: ukiOf("amd64"), again: true}
	c.config.Firmware = vmkit.Firmware(t, image.ArchX86_64, false)
	c.files = []testkit.File{testkit.Plain("efivarfs.ko", testkit.Module(t, k, "efivarfs"))}
	c.last.Modules = []string{"/efivarfs.ko"}
	c.last.Steps = []guest.Step{
		// Attributes: non-volatile, boot and runtime access.
		{Name: "write", Argv: []string{"@write", name, "\x07\x00\x00\x00kept"}},
		{Name: "read", Argv: []string{"@cat", name}},
		{Name: "map", Argv: []string{"@ls", "/sys/firmware/efi/runtime-map"}},
		{Name: "acpi", Argv: []string{"@ls", "/sys/firmware/acpi/tables"}},
	}
	run := c.run(t)
	if !run.Boot("last").EFI {
		t.Error("last kernel has no EFI")
	}
	if r := run.Result("write"); r.Status != 0 {
		t.Errorf("write of a variable = %+v", r)
	}
	if r := run.Result("read"); r.Stdout != "\x07\x00\x00\x00kept" {
		t.Errorf("variable = %q, %s", r.Stdout, r.Stderr)
	}
	if r := run.Result("map"); !strings.Contains(r.Stdout, "0/phys_addr") {
		t.Errorf("runtime map = %q, %s", r.Stdout, r.Stderr)
	}
	if r := run.Result("acpi"); !strings.Contains(r.Stdout, "FACP ") {
		t.Errorf("ACPI tables = %q, %s", r.Stdout, r.Stderr)
	}
}

func TestVMKexecLoadARM64(t *testing.T) {
	debian := kernel(t, "arm64", "6.12")
	for _, c := range []kexecCase{
		{name: "Image, twice", kernel: debian, again: true},
		{name: "zboot", kernel: debian, wrap: justZboot},
		{name: "vmlinux", kernel: elfOf(elf.EM_AARCH64, 0xffff800080000000, debian)},
		{name: "UKI on UEFI", kernel: debian, wrap: ukiOf("arm64"), config: withFirmware(t, image.ArchARM64)},
		{name: "UKI of zboot on UEFI", kernel: debian, wrap: ukiOfZboot, config: withFirmware(t, image.ArchARM64)},
	} {
		t.Run(c.name, func(t *testing.T) { c.runARM64(t) })
	}
}

func (c kexecCase) runARM64(t *testing.T) {
	t.Helper()
	if c.config.Arch == "" {
		c.config = vmkit.Config(t, image.ArchARM64)
	}
	c.last.Steps = []guest.Step{{Name: "acpi", Argv: []string{"@ls", "/sys/firmware/acpi/tables"}}}
	run := c.run(t)
	if acpi, want := strings.Contains(run.Result("acpi").Stdout, "APIC "), c.config.Firmware != nil; acpi != want {
		t.Errorf("last kernel has ACPI: %v, want %v", acpi, want)
	}
}

func TestVMKexecLoadRISCV64(t *testing.T) {
	debian := kernel(t, "riscv64", "6.12")
	for _, c := range []kexecCase{
		{name: "Image", kernel: debian},
		{name: "vmlinux", kernel: elfOf(elf.EM_RISCV, 0xffffffff80000000, debian)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config = vmkit.Config(t, image.ArchRISCV64)
			c.run(t)
		})
	}
}
