// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
)

func TestArgs(t *testing.T) {
	tests := []struct {
		name    string
		config  Config
		vars    string
		want    []string // each must appear, in the way "flag value"
		without []string
	}{
		{
			name:    "x86-64 kernel",
			config:  Config{Arch: image.ArchX86_64, Kernel: "k", Initrd: "i", Cmdline: "a b"},
			want:    []string{"-machine q35,accel=tcg", "-m 512", "-smp 1", "-cpu qemu64", "-kernel k", "-initrd i", "-append a b", "-no-reboot"},
			without: []string{"-drive", "-dtb", "-tpmdev", "-global"},
		},
		{
			name:   "arm64 kernel without ACPI",
			config: Config{Arch: image.ArchARM64, Kernel: "k", MemoryMiB: 128, CPUs: 2, NoACPI: true, DTB: "d"},
			want:   []string{"-machine virt,accel=tcg,acpi=off", "-cpu cortex-a57", "-m 128", "-smp 2", "-dtb d"},
		},
		{
			name:   "Secure Boot",
			config: Config{Arch: image.ArchX86_64, Firmware: &Firmware{Code: "c,d", Vars: "v", Secure: true}, Disks: []string{"x,y"}},
			vars:   "/tmp/copy",
			want: []string{"-machine q35,accel=tcg,smm=on", "-global driver=cfi.pflash01,property=secure,value=on",
				"-drive if=pflash,unit=0,format=raw,readonly=on,file=c,,d", "-drive if=pflash,unit=1,format=raw,file=/tmp/copy",
				"-drive if=none,format=raw,snapshot=on,id=disk0,file=x,,y", "-device virtio-blk-pci,drive=disk0,bootindex=1"},
			without: []string{"-kernel"},
		},
		{
			name:   "arm64 firmware needs no SMM",
			config: Config{Arch: image.ArchARM64, Firmware: &Firmware{Code: "c", Secure: true}, Kernel: "k"},
			want:   []string{"-machine virt,accel=tcg"},
		},
		{
			name:   "TPM",
			config: Config{Arch: image.ArchARM64, Kernel: "k", TPM: "/s", Extra: []string{"-S"}},
			want: []string{"-chardev socket,id=tpm,path=/s", "-tpmdev emulator,id=tpm0,chardev=tpm",
				"-device tpm-tis-device,tpmdev=tpm0", "-S"},
		},
		{
			name:   "riscv64, other accelerator and CPU",
			config: Config{Arch: image.ArchRISCV64, Kernel: "k", Accel: "kvm", CPU: "max"},
			want:   []string{"-machine virt,accel=kvm", "-cpu max"},
		},
		{
			name:   "loongarch64",
			config: Config{Arch: image.ArchLoongArch64, Kernel: "k"},
			want:   []string{"-cpu la464"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, err := tt.config.Args(tt.vars)
			if err != nil {
				t.Fatalf("Args(%q) = %v", tt.vars, err)
			}
			line := " " + strings.Join(args, " ") + " "
			for _, w := range tt.want {
				if !strings.Contains(line, " "+w+" ") {
					t.Errorf("Args(%q) = %q, want %q among them", tt.vars, args, w)
				}
			}
			for _, w := range tt.without {
				if slices.Contains(args, w) {
					t.Errorf("Args(%q) = %q, want no %s", tt.vars, args, w)
				}
			}
		})
	}
}

func TestArgsErrors(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		want   error
	}{
		{"no architecture", Config{Kernel: "k"}, ErrArch},
		{"architecture without a model", Config{Arch: image.ArchPPC64LE, Kernel: "k"}, ErrArch},
		{"nothing to boot", Config{Arch: image.ArchX86_64}, ErrConfig},
		{"initrd without kernel", Config{Arch: image.ArchX86_64, Initrd: "i", Firmware: &Firmware{Code: "c"}}, ErrConfig},
		{"command line without kernel", Config{Arch: image.ArchX86_64, Cmdline: "c", Disks: []string{"d"}}, ErrConfig},
		{"firmware without code", Config{Arch: image.ArchX86_64, Firmware: &Firmware{}}, ErrConfig},
		{"no copy of the variables", Config{Arch: image.ArchX86_64, Firmware: &Firmware{Code: "c", Vars: "v"}}, ErrConfig},
		{"negative memory", Config{Arch: image.ArchX86_64, Kernel: "k", MemoryMiB: -1}, ErrConfig},
		{"x86-64 without ACPI", Config{Arch: image.ArchX86_64, Kernel: "k", NoACPI: true}, ErrConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.config.Args(""); !errors.Is(err, tt.want) {
				t.Errorf("Args() = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestConsoleName(t *testing.T) {
	for _, tt := range []struct {
		arch image.Arch
		want string
	}{{image.ArchX86_64, "ttyS0"}, {image.ArchARM64, "ttyAMA0"}} {
		if got, err := ConsoleName(tt.arch); err != nil || got != tt.want {
			t.Errorf("ConsoleName(%s) = %q, %v, want %q", tt.arch, got, err, tt.want)
		}
	}
	if _, err := ConsoleName(image.ArchUnknown); !errors.Is(err, ErrArch) {
		t.Errorf("ConsoleName(unknown) = %v, want %v", err, ErrArch)
	}
}
