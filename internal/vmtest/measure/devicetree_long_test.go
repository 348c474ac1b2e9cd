// SPDX-License-Identifier: Apache-2.0

//go:build long

package measure

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/measure"
)

// TestLogInDeviceTree: on a machine without UEFI, whose TPM a device tree describes, the kernel that a measured kexec starts
// shows peel's log as the firmware's; and so does the one after it.
func TestLogInDeviceTree(t *testing.T) {
	const a = image.ArchARM64
	const kernels = "/sys/kernel/security/tpm0/binary_bios_measurements"
	k := testkit.KernelImage(t, "arm64", "6.12")
	load := func(file string) []guest.Step {
		return kexecSteps("extend", file, "--policy", "warn", "--syscall", "segments")
	}
	check := []guest.Step{peel("verify", "measure", "--verify", "--json"), {Name: "logs", Argv: []string{"@sha256", kernels, measure.HandoverPath}}}
	rd := func(name string, steps []guest.Step, files ...testkit.File) []byte {
		return initrd(t, a, k, name, named(name, steps...), append(files, vmkit.Peel(t, a))...)
	}
	uki := func(name string, initrd []byte) []byte {
		return testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{Name: name + ".efi", Arch: "arm64", Stub: testkit.Stub(t, "arm64", "trixie"),
			Kernel: k.Path, Cmdline: vmkit.Cmdline(t, a), Initrd: initrd}))
	}
	third := uki("third", rd("third", slices.Clone(check)))
	second := uki("second", rd("second", append(slices.Clone(check), load("/img/third.efi")...), testkit.Plain("img/third.efi", third)))
	first := rd("first", append([]guest.Step{{Name: "none", Argv: []string{"@cat", kernels}}}, load("/img/second.efi")...), testkit.Plain("img/second.efi", second))

	c := vmkit.Config(t, a)
	c.MemoryMiB = 2048
	c.Kernel, c.Initrd, c.Cmdline = k.Path, testkit.WriteFile(t, "initrd", first), vmkit.Cmdline(t, a)
	c.TPM = testkit.MachineTPM(t, "sha256")
	run := vmkit.Boot(t, c, "third")

	if r := run.Result("first none"); r.Status == 0 {
		t.Errorf("first: there is a log of %d bytes without firmware", len(r.Stdout))
	}
	for i, kernel := range []string{"second", "third"} {
		r := run.Result(kernel + " logs")
		var digests []string
		for line := range strings.Lines(r.Stdout) {
			d, path, _ := strings.Cut(strings.TrimSpace(line), "  ")
			if len(d) == 64 && filepath.IsAbs(path) {
				digests = append(digests, d)
			}
		}
		if r.Status != 0 || len(digests) != 2 || digests[0] != digests[1] {
			t.Errorf("%s: the kernel's log and that of the RAM disk: status %d, %s%s, want two equal ones", kernel, r.Status, r.Stdout, r.Stderr)
		}
		r = run.Result(kernel + " verify")
		var v measure.Verdict
		if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil || r.Status != 0 || !v.OK() || v.Kexecs != i+1 || len(v.Unlogged) != 0 {
			t.Errorf("%s: verify: status %d, %v, %+v, %s", kernel, r.Status, err, v, r.Stderr)
		}
	}
}
