// SPDX-License-Identifier: Apache-2.0

package run

import (
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// TestCrash: a stub that is shown the crash region alone prepares the kernel that a panic starts.
func TestCrash(t *testing.T) { crash(t, image.ArchX86_64, true) }

func crash(t *testing.T, a image.Arch, uki bool) {
	t.Helper()
	k := testkit.Kernel(t, goArch(a), "6.12")
	line := cmdline(t, a, "reset_devices")
	initrd := vmkit.Initramfs(t, a, guest.Script{Name: "second", Steps: []guest.Step{{Name: "core", Argv: []string{"/bin/head", "/proc/vmcore", "4"}}}},
		testkit.Exec(t, "bin/head", testkit.BuildBinary(t, "./internal/vmtest/run/head", goArch(a))))
	files := []testkit.File{vmkit.Peel(t, a)}
	load := []string{"/bin/peel", "load", "/image.efi", "--via", "run", "--policy", "warn", "--crash"}
	if uki {
		files = append(files, testkit.Plain("image.efi", testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{Arch: goArch(a), Kernel: k, Initrd: initrd, Cmdline: line}))))
	} else {
		files = append(files, testkit.Plain("image.efi", testkit.ReadFile(t, k)), testkit.Plain("initrd", initrd))
		load = append(load, "--cmdline", line, "--initrd", "/initrd")
	}
	c := vmkit.Config(t, a)
	c.MemoryMiB = 1024
	c.NoACPI = a == image.ArchARM64
	c.Kernel, c.Cmdline = k, cmdline(t, a, "crashkernel=320M")
	c.Initrd = file(t, "initrd", vmkit.Initramfs(t, a, guest.Script{Name: "first", Panic: true, Steps: []guest.Step{
		{Name: "load", Argv: load},
		{Name: "status", Argv: []string{"/bin/peel", "status"}},
	}}, files...))
	run := vmkit.Boot(t, c, "second")
	if r := run.Result("status"); !strings.Contains(r.Stdout, "crash kernel  loaded") {
		t.Errorf("peel status: %s%s; load: %s%s", r.Stdout, r.Stderr, run.Result("load").Stdout, run.Result("load").Stderr)
	}
	b := run.Boot("second")
	if !strings.HasSuffix(strings.TrimSpace(b.Cmdline), line) {
		t.Errorf("/proc/cmdline of the crash kernel = %q, want %q at its end", b.Cmdline, line)
	}
	if b.MemTotalKB > 330<<10 {
		t.Errorf("crash kernel has %d kB of memory, want those of its region", b.MemTotalKB)
	}
	if r := run.Result("core"); r.Stdout != "7f454c46" {
		t.Errorf("/proc/vmcore begins with %q: %s", r.Stdout, r.Stderr)
	}
}
