// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// TestBoot is the ground that the other tests stand on: Debian's kernels boot to a Go init that reports and runs commands.
func TestBoot(t *testing.T) {
	tests := []struct {
		arch          image.Arch
		deb, series   string
		release       string
		machine       string
		wantMinMemory uint64
	}{
		{image.ArchARM64, "arm64", "6.12", "6.12.", "aarch64", 400 << 10},
		{image.ArchX86_64, "amd64", "6.12", "6.12.", "x86_64", 400 << 10},
		{image.ArchX86_64, "amd64", "6.1", "6.1.", "x86_64", 400 << 10},
		{image.ArchRISCV64, "riscv64", "6.12", "6.12.", "riscv64", 400 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.deb+"-"+tt.series, func(t *testing.T) {
			script := guest.Script{Name: "ground", Steps: []guest.Step{
				{Name: "write", Argv: []string{"@write", "/tmp/x", "text\n"}},
				{Name: "cat", Argv: []string{"@cat", "/tmp/x"}},
				{Name: "missing", Argv: []string{"@cat", "/none"}},
				{Name: "no program", Argv: []string{"/none"}},
				{Name: "self", Argv: []string{"/init"}},
			}}
			c := vmkit.Config(t, tt.arch)
			c.Kernel = testkit.Kernel(t, tt.deb, tt.series)
			c.Cmdline = vmkit.Cmdline(t, tt.arch, "peel.test=1")
			c.Initrd = file(t, "initrd", vmkit.Initramfs(t, tt.arch, script))
			run := vmkit.Boot(t, c, "ground")

			b := run.Boot("ground")
			if !strings.HasPrefix(b.Release, tt.release) || b.Machine != tt.machine {
				t.Errorf("uname = %s %s, want %s... %s", b.Release, b.Machine, tt.release, tt.machine)
			}
			if b.Cmdline != c.Cmdline {
				t.Errorf("/proc/cmdline = %q, want %q", b.Cmdline, c.Cmdline)
			}
			if b.MemTotalKB < tt.wantMinMemory || b.MemTotalKB > 512<<10 {
				t.Errorf("MemTotal = %d kB, want %d to %d", b.MemTotalKB, tt.wantMinMemory, 512<<10)
			}
			if b.EFI {
				t.Error("EFI = true without firmware")
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
		})
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
