// SPDX-License-Identifier: Apache-2.0

package build

import (
	"testing"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// kexec-tools take a zboot image without a decompressor and start the kernel
// in it.
func TestHeaderOnlyKexec(t *testing.T) {
	const arch = image.ArchARM64
	_, kernel := zbootSource(t)
	zboot := testkit.ReadFile(t, write(t, &build.Zboot{Kernel: build.Bytes(kernel)}))
	second := vmkit.Initramfs(t, arch, guest.Script{Name: "second"})
	cmdline := vmkit.Cmdline(t, arch, "peel.second=1")
	c := vmkit.Config(t, arch)
	c.MemoryMiB, c.NoACPI = 1024, true
	c.Kernel = testkit.Kernel(t, "arm64", "6.12")
	c.Cmdline = vmkit.Cmdline(t, arch)
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "first", Steps: []guest.Step{
		{Name: "load", Argv: []string{"/usr/sbin/kexec", "-c", "-l", "/zboot.efi", "--initrd=/initrd", "--command-line=" + cmdline}},
		{Name: "start", Argv: []string{"/usr/sbin/kexec", "-e"}},
	}}, append(vmkit.Program(t, arch, "kexec-tools", "usr/sbin/kexec"), testkit.Plain("zboot.efi", zboot), testkit.Plain("initrd", second))...))
	r := vmkit.Boot(t, c, "second")
	if got := r.Result("load"); got.Status != 0 {
		t.Errorf("kexec -l: status %d, %s%s", got.Status, got.Stdout, got.Stderr)
	}
	if got := r.Boot("second").Cmdline; got != cmdline {
		t.Errorf("command line = %q, want %q", got, cmdline)
	}
}
