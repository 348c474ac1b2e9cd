// SPDX-License-Identifier: Apache-2.0

//go:build long

package boot

import (
	"debug/elf"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// More kernels and forms of images.
func TestVMKexecLoadMore(t *testing.T) {
	x86 := vmkit.Config(t, image.ArchX86_64)
	large := x86
	large.MemoryMiB = 6144
	for _, c := range []kexecCase{
		{name: "x86 5.10", config: x86, kernel: kernel(t, "amd64", "5.10")},
		{name: "x86 5.10 on UEFI", config: withFirmware(t, image.ArchX86_64), kernel: kernel(t, "amd64", "5.10")},
		{name: "x86 6.1 UKI on UEFI", config: withFirmware(t, image.ArchX86_64), kernel: kernel(t, "amd64", "6.1"), wrap: ukiOf("amd64")},
		{name: "x86 vmlinux on UEFI", config: withFirmware(t, image.ArchX86_64), kernel: vmlinux(t, kernel(t, "amd64", "6.12"))},
		{name: "x86 above 4 GiB", config: large, kernel: kernel(t, "amd64", "6.12"), args: []string{"--mem-min", "0x100000000"}},
		{name: "riscv64 new", config: vmkit.Config(t, image.ArchRISCV64), kernel: kernel(t, "riscv64", "new")},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
	debian, uefi := kernel(t, "arm64", "6.12"), withFirmware(t, image.ArchARM64)
	for _, c := range []kexecCase{
		{name: "arm64 UKI", kernel: debian, wrap: ukiOf("arm64")},
		{name: "arm64 UKI of zboot, twice", kernel: debian, wrap: ukiOfZboot, again: true},
		{name: "arm64 Image on UEFI, twice", kernel: debian, config: uefi, again: true},
		{name: "arm64 zboot on UEFI", kernel: debian, wrap: justZboot, config: uefi},
		{name: "arm64 vmlinux on UEFI", kernel: elfOf(elf.EM_AARCH64, 0xffff800080000000, debian), config: uefi},
		{name: "arm64 6.1", kernel: kernel(t, "arm64", "6.1")},
		{name: "arm64 new on UEFI", kernel: kernel(t, "arm64", "new"), config: uefi},
	} {
		t.Run(c.name, func(t *testing.T) { c.runARM64(t) })
	}
}

// Debian 13 has no kexec-tools for riscv64.
func TestVMCompareKexecToolsRISCV64(t *testing.T) {
	compareCase{"riscv64", vmkit.Config(t, image.ArchRISCV64), []difference{
		{"segment (dtb|initrd) address|dtb /chosen/linux,initrd-(start|end)", whyPlace},
		{"segment kernel size", "peel takes whole units of 2 MiB, which the kernel reserves"},
		{"segment dtb bytes", "follows from the properties below"},
		{"dtb /chosen/(kaslr|rng)-seed", whySeed},
		{"dtb /chosen/linux,booted-from-kexec", whyBooted},
	}}.run(t)
}
