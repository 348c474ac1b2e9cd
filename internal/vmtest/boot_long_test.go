// SPDX-License-Identifier: Apache-2.0

//go:build long

package vmtest

import (
	"testing"

	"github.com/peelboot/peel/image"
)

// TestBootMore boots the kernels that are only used by long tests, and each firmware.
func TestBootMore(t *testing.T) {
	for _, tt := range []bootTest{
		{image.ArchX86_64, "amd64", "5.10", "5.10.", false},
		{image.ArchX86_64, "amd64", "new", "", false},
		{image.ArchX86_64, "amd64", "6.12", "6.12.", true},
		{image.ArchARM64, "arm64", "6.1", "6.1.", false},
		{image.ArchARM64, "arm64", "new", "", false},
		{image.ArchARM64, "arm64", "generic-6.12", "6.12.", false},
		{image.ArchARM64, "arm64", "6.12", "6.12.", true},
		{image.ArchRISCV64, "riscv64", "new", "", false},
		{image.ArchRISCV64, "riscv64", "6.12", "6.12.", true},
		{image.ArchLoongArch64, "loong64", "new", "", true},
	} {
		name := tt.deb + "-" + tt.series
		if tt.firmware {
			name += "-firmware"
		}
		t.Run(name, func(t *testing.T) { tt.run(t) })
	}
}
