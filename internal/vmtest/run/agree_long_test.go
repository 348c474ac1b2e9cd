// SPDX-License-Identifier: Apache-2.0

//go:build long

package run

import (
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
)

func TestAgreeARM64More(t *testing.T) {
	const a = image.ArchARM64
	zboot := filepath.Join(testkit.ModuleDir(t), "image", "zboot", "testdata", "vmlinuz-arm64-6.12-gzip.efi")
	debian := testkit.Kernel(t, "arm64", "6.12")
	noMemory := difference{what: "/memory@.*", why: "the stub takes memory nodes out where UEFI's memory map tells the same (drivers/firmware/efi/libstub/fdt.c)"}
	elsewhere := difference{what: "/chosen/linux,uefi-mmap-start", why: "each first kernel's stub, on a machine of its own, has put the firmware's memory map where there was room", chance: true}
	for _, tt := range []struct {
		name, kernel   string
		firmware, acpi bool
		known          []difference
	}{
		{"UKI of zboot", zboot, false, false, []difference{placed}},
		{"UKI of zboot on UEFI", zboot, true, false, []difference{placed, noMemory, elsewhere}},
		{"UKI on UEFI and ACPI", debian, true, true, []difference{placed, elsewhere}}, // the kernel of the zboot image knows no ACPI
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: tt.kernel, Initrd: surveyor(t, a), Cmdline: cmdline(t, a, "uki=agree")})
			agreement{scene{arch: a, img: img, noACPI: !tt.acpi, firmware: tt.firmware}, tt.known}.run(t)
		})
	}
}
