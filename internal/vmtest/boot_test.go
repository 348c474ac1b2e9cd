// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// bootTest is a Debian kernel, by the names of package artefact.
type bootTest struct {
	arch        image.Arch
	deb, series string
	release     string // its beginning
	firmware    bool
}

// TestBoot is the ground that the other tests stand on: Debian's kernels boot to a Go init that reports and runs commands.
func TestBoot(t *testing.T) {
	for _, tt := range []bootTest{
		{image.ArchARM64, "arm64", "6.12", "6.12.", false},
		{image.ArchX86_64, "amd64", "6.12", "6.12.", false},
		{image.ArchX86_64, "amd64", "6.1", "6.1.", false},
		{image.ArchRISCV64, "riscv64", "6.12", "6.12.", false},
	} {
		t.Run(tt.deb+"-"+tt.series, func(t *testing.T) { tt.run(t) })
	}
}

func (tt bootTest) run(t *testing.T) {
	t.Helper()
	script := guest.Script{Name: "ground", Steps: []guest.Step{
		{Name: "write", Argv: []string{"@write", "/tmp/x", "text\n"}},
		{Name: "cat", Argv: []string{"@cat", "/tmp/x"}},
		{Name: "missing", Argv: []string{"@cat", "/none"}},
		{Name: "no program", Argv: []string{"/none"}},
		{Name: "self", Argv: []string{"/init"}},
	}}
	c := vmkit.Config(t, tt.arch)
	if tt.firmware {
		c.Firmware = vmkit.Firmware(t, tt.arch, false)
		c.MemoryMiB = 1024
	}
	c.Kernel = testkit.Kernel(t, tt.deb, tt.series)
	c.Cmdline = vmkit.Cmdline(t, tt.arch, "peel.test=1")
	c.Initrd = file(t, "initrd", vmkit.Initramfs(t, tt.arch, script))
	run := vmkit.Boot(t, c, "ground")

	b := run.Boot("ground")
	if !strings.HasPrefix(b.Release, tt.release) || b.Machine != string(tt.arch) && b.Machine != "aarch64" {
		t.Errorf("uname = %s %s, want %s... %s", b.Release, b.Machine, tt.release, tt.arch)
	}
	// For a kernel started by firmware, QEMU puts the name of the initrd behind the rest.
	if !strings.HasPrefix(b.Cmdline, c.Cmdline) || !tt.firmware && b.Cmdline != c.Cmdline {
		t.Errorf("/proc/cmdline = %q, want %q", b.Cmdline, c.Cmdline)
	}
	most := uint64(cmp.Or(c.MemoryMiB, 512)) << 10
	if b.MemTotalKB < most*3/4 || b.MemTotalKB > most {
		t.Errorf("MemTotal = %d kB, want %d to %d", b.MemTotalKB, most*3/4, most)
	}
	if b.EFI != tt.firmware {
		t.Errorf("EFI = %v, want %v", b.EFI, tt.firmware)
	}
	for _, want := range []guest.Result{
		{Step: "write"},
		{Step: "cat", Stdout: "text\n"},
		{Step: "missing", Status: 1, Stderr: "open /none: no such file or directory\n"},
		{Step: "no program", Status: -1, Stderr: "fork/exec /none: no such file or directory\n"},
		{Step: "self", Status: 2, Stderr: "guestinit: to be run as the first process of a virtual machine\n"},
	} {
		if got := run.Result(want.Step); *got != want {
			t.Errorf("step %q = %+v, want %+v", want.Step, *got, want)
		}
	}
}

// file writes a file for a machine.
func file(t *testing.T, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}
