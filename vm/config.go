// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/peelboot/peel/image"
)

// Errors of this package.
var (
	// ErrConfig is a Config that contradicts itself or lacks something.
	ErrConfig = errors.New("virtual machine cannot be configured")
	// ErrArch is an architecture without a machine model here.
	ErrArch = errors.New("no virtual machine for this architecture")
	// ErrNoQEMU means that no QEMU program was found.
	ErrNoQEMU = errors.New("QEMU not found")
	// ErrTimeout is returned by Expect when the text did not come in time.
	ErrTimeout = errors.New("timed out waiting for the console")
	// ErrExited is returned by Expect when the machine ended before the text came.
	ErrExited = errors.New("the machine ended")
)

// Firmware is UEFI firmware in flash memory.
type Firmware struct {
	// Code is the path of the firmware image.
	Code string
	// Vars is the path of a variable store; the machine works on a copy.
	Vars string
	// Secure protects the flash as Secure Boot needs it; x86-64 only, where it takes system management mode.
	Secure bool
}

// Config describes a machine.
type Config struct {
	// Arch is the architecture of the guest.
	Arch image.Arch
	// QEMU is the path of the program; empty looks up qemu-system-ARCH in PATH.
	QEMU string
	// Accel is QEMU's accelerator. Empty is tcg, which works everywhere; a KVM that opens may still fail to run a guest.
	Accel string
	// CPU is QEMU's CPU model; empty is one under which stock kernels boot fast.
	CPU string
	// CPUs is the number of processors; 0 is 1.
	CPUs int
	// MemoryMiB is the size of memory in MiB; 0 is 512.
	MemoryMiB int

	// Kernel, Initrd and DTB are paths for QEMU's own loader. With Firmware, Kernel may be any EFI program. Paths may be
	// those FilePath gives for Files.
	Kernel, Initrd, DTB string
	// Cmdline is the kernel command line. It needs Kernel.
	Cmdline string
	// Memory takes the place of Kernel: what kexec would have left. Its addresses are those of a machine of Facts.
	Memory *Memory
	// Firmware is nil for QEMU's own boot.
	Firmware *Firmware
	// Disks are raw images, the first one first in boot order. What a guest writes to them is thrown away.
	Disks []string
	// NoACPI leaves out the ACPI tables of arm64 and riscv64 machines: the guest gets a device tree alone.
	NoACPI bool
	// TPM is the path of the control socket of an swtpm, or empty.
	TPM string
	// Extra are further arguments of QEMU.
	Extra []string

	// Files are handed to QEMU, such as sealed memory that has no path of its own.
	Files []*os.File
	// Console gets what the guest writes to its serial port, as it comes. May be nil.
	Console io.Writer
	// Input is what the guest reads from its serial port. May be nil.
	Input io.Reader
}

// FilePath is the path under which QEMU sees Config.Files[i].
func FilePath(i int) string { return "/proc/self/fd/" + strconv.Itoa(3+i) }

// model is what differs between architectures.
type model struct {
	suffix  string // of the QEMU program
	machine string
	cpu     string
	tpm     string
	console string
}

func modelOf(a image.Arch) (model, error) {
	switch a {
	case image.ArchX86_64:
		return model{"x86_64", "q35", "qemu64", "tpm-tis", "ttyS0"}, nil
	case image.ArchARM64:
		// cortex-a57 has no pointer authentication, which costs an emulator half of its time.
		return model{"aarch64", "virt", "cortex-a57", "tpm-tis-device", "ttyAMA0"}, nil
	case image.ArchRISCV64:
		return model{"riscv64", "virt", "rv64", "tpm-tis-device", "ttyS0"}, nil
	case image.ArchLoongArch64:
		return model{"loongarch64", "virt", "la464", "tpm-tis-device", "ttyS0"}, nil
	}
	return model{}, fmt.Errorf("%w: %q", ErrArch, a)
}

// ConsoleName is the name of the machine's serial console on a kernel command line, "ttyS0" or "ttyAMA0".
func ConsoleName(a image.Arch) (string, error) {
	m, err := modelOf(a)
	return m.console, err
}

// program finds QEMU.
func (c *Config) program() (string, error) {
	if c.QEMU != "" {
		return c.QEMU, nil
	}
	m, err := modelOf(c.Arch)
	if err != nil {
		return "", err
	}
	p, err := exec.LookPath("qemu-system-" + m.suffix)
	if err != nil {
		return "", fmt.Errorf("%w: %w; install the package that has it, or name it", ErrNoQEMU, err)
	}
	return p, nil
}

// Args returns the arguments for QEMU. The variable store of Firmware is the file vars, a copy of the caller's making.
func (c *Config) Args(vars string) ([]string, error) {
	m, err := modelOf(c.Arch)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Kernel == "" && (c.Initrd != "" || c.Cmdline != "" || c.DTB != ""):
		return nil, fmt.Errorf("%w: initrd, command line and device tree need a kernel", ErrConfig)
	case c.Memory != nil && (c.Kernel != "" || c.Firmware != nil):
		return nil, fmt.Errorf("%w: memory in place of a kernel, and a kernel or firmware", ErrConfig)
	case c.Kernel == "" && c.Memory == nil && c.Firmware == nil && len(c.Disks) == 0:
		return nil, fmt.Errorf("%w: neither kernel, firmware nor disk to boot from", ErrConfig)
	case c.Firmware != nil && c.Firmware.Code == "":
		return nil, fmt.Errorf("%w: firmware without an image", ErrConfig)
	case c.Firmware != nil && c.Firmware.Vars != "" && vars == "":
		return nil, fmt.Errorf("%w: no copy of the variable store", ErrConfig)
	case c.MemoryMiB < 0 || c.CPUs < 0:
		return nil, fmt.Errorf("%w: %d MiB of memory, %d processors", ErrConfig, c.MemoryMiB, c.CPUs)
	}
	machine := m.machine + ",accel=" + cmp.Or(c.Accel, "tcg")
	secure := c.Firmware != nil && c.Firmware.Secure && c.Arch == image.ArchX86_64
	if secure {
		machine += ",smm=on"
	}
	if c.NoACPI {
		if c.Arch == image.ArchX86_64 {
			return nil, fmt.Errorf("%w: x86-64 without ACPI", ErrConfig)
		}
		machine += ",acpi=off"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", machine,
		"-cpu", cmp.Or(c.CPU, m.cpu),
		"-m", strconv.Itoa(cmp.Or(c.MemoryMiB, 512)),
		"-smp", strconv.Itoa(max(c.CPUs, 1)),
		"-chardev", "stdio,id=console,signal=off",
		"-serial", "chardev:console",
	}
	if secure {
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on",
			"-global", "ICH9-LPC.disable_s3=1")
	}
	if f := c.Firmware; f != nil {
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(f.Code))
		if f.Vars != "" {
			args = append(args, "-drive", "if=pflash,unit=1,format=raw,file="+escape(vars))
		}
	}
	for _, o := range []struct{ flag, value string }{
		{"-kernel", c.Kernel}, {"-initrd", c.Initrd}, {"-append", c.Cmdline}, {"-dtb", c.DTB},
	} {
		if o.value != "" {
			args = append(args, o.flag, o.value)
		}
	}
	for i, d := range c.Disks {
		id := "disk" + strconv.Itoa(i)
		args = append(args,
			"-drive", "if=none,format=raw,snapshot=on,id="+id+",file="+escape(d),
			"-device", "virtio-blk-pci,drive="+id+",bootindex="+strconv.Itoa(i+1))
	}
	if c.TPM != "" {
		args = append(args, "-chardev", "socket,id=tpm,path="+escape(c.TPM),
			"-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", m.tpm+",tpmdev=tpm0")
	}
	return append(args, c.Extra...), nil
}

// escape doubles commas, which part QEMU's options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
