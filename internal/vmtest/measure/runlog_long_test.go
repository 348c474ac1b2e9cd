// SPDX-License-Identifier: Apache-2.0

//go:build long

package measure

import (
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// TestRunLogMore compares logs for the other stubs, with Secure Boot and without, with files of each kind beside the image.
func TestRunLogMore(t *testing.T) {
	const a = image.ArchX86_64
	for _, tt := range []boot{
		{name: "252", stub: "bookworm", objcopy: true},
		{name: "252 secure", stub: "bookworm", objcopy: true, secure: true},
		{name: "257 secure", stub: "trixie", secure: true},
		{name: "newest", stub: "forky"},
		{name: "newest secure", stub: "forky", secure: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.arch = a
			k, key := testkit.KernelImage(t, "amd64", "6.12"), testkit.Snakeoil(t)
			img := testkit.UKI(t, testkit.UKIOptions{Stub: testkit.Stub(t, "amd64", tt.stub), Kernel: k.Path, Initrd: initrd(t, a, k, "measured", nil),
				Cmdline: vmkit.Cmdline(t, a), Objcopy: tt.objcopy, Key: key})
			volume := filepath.Join(t.TempDir(), "esp")
			path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
			put(t, path, testkit.ReadFile(t, img))
			tt.putBeside(t, volume, path+".extra.d", key)
			c := vmkit.Config(t, a)
			c.MemoryMiB = 1024
			c.Firmware = vmkit.Firmware(t, a, tt.secure)
			c.TPM = testkit.MachineTPM(t, "sha256")
			c.Disks = []string{esp(t, files(t, volume))}
			got := result(t, vmkit.Boot(t, c, "measured"), "probe")
			log, err := eventlog.Read(got.Log)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.secure { // there are no variables, nor authorities
				compareLogs(t, runLog(t, path, volume), log)
				return
			}
			vars := filepath.Join(t.TempDir(), "efivars")
			for name, b := range got.Vars {
				put(t, filepath.Join(vars, name), b)
			}
			// With the variables the authorities are known that let the image and its addons in.
			compareLogs(t, runLog(t, path, volume, "--efivars", vars), log, measure.PCRSecureBoot)
		})
	}
}
