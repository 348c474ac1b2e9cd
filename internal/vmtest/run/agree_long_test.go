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
	for _, firmware := range []bool{false, true} {
		name := "UKI of zboot"
		if firmware {
			name += " on UEFI"
		}
		t.Run(name, func(t *testing.T) {
			img := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: zboot, Initrd: surveyor(t, a), Cmdline: cmdline(t, a, "uki=zboot")})
			agreement{scene{arch: a, img: img, noACPI: !firmware, firmware: firmware}, []difference{placed}}.run(t)
		})
	}
}
