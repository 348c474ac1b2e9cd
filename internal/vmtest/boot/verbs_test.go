// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"errors"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// peel try boots what an image holds, and says by its exit status whether the
// console showed what was expected.
func TestVMTry(t *testing.T) {
	for _, arch := range []image.Arch{image.ArchX86_64, image.ArchARM64} {
		t.Run(string(arch), func(t *testing.T) {
			initrd := vmkit.Initramfs(t, arch, guest.Script{Name: "tried", Steps: []guest.Step{
				{Name: "archive", Argv: []string{"@cat", "/archive"}},
			}})
			more := testkit.WriteFile(t, "more", testkit.Initramfs(t, testkit.Plain("archive", []byte(secondArchive))))
			const cmdline = "quiet panic=-1 peel.try=1"
			wrapped, _ := ukiOf(goarch[arch])(t, kernel(t, goarch[arch], "6.12"), initrd, cmdline)
			uki := testkit.WriteFile(t, "uki.efi", wrapped)
			args := []string{"try", uki, "--policy", "warn", "--qemu", vmkit.Config(t, arch).QEMU, "--initrd", more,
				"--append", "peel.more", "--timeout", vmkit.Timeout.String(), "--expect"}

			out, err := try(t, append(args, `"archive","status":0`)...)
			if err != nil {
				t.Fatalf("peel try: %v\n%s", err, out)
			}
			b := booted(t, out)
			// The image names no console: peel adds the machine's.
			if !strings.HasPrefix(b.Cmdline, cmdline+" peel.more console=tty") {
				t.Errorf("/proc/cmdline = %q, want %q, what --append gives and a console", b.Cmdline, cmdline)
			}
			if arch != image.ArchX86_64 {
				return
			}
			out, err = try(t, append(args, "never on this console")...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("peel try of what is not on the console = %v, want exit status 1\n%s", err, out)
			}
		})
	}
}

// try runs peel on this computer, alone, as it starts a machine.
func try(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	peel := testkit.BuildBinary(t, "./cmd/peel", runtime.GOARCH)
	release := vmkit.Alone(t)
	defer release()
	cmd := exec.Command(peel, args...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	return both.String(), err
}

func booted(t *testing.T, console string) *guest.Boot {
	t.Helper()
	for _, m := range guest.Parse(strings.ReplaceAll(console, "\r", "")) {
		if m.Boot != nil {
			return m.Boot
		}
	}
	t.Fatalf("no boot reported on the console:\n%s", console)
	return nil
}

// A recording of a machine gives the findings and the plan that the machine
// itself gave.
func TestVMRecord(t *testing.T) {
	const arch = image.ArchX86_64
	peel := func(name string, args ...string) guest.Step {
		return guest.Step{Name: name, Argv: append([]string{"/bin/peel"}, args...)}
	}
	plan := []string{"plan", "/kernel", "--policy", "warn", "--initrd", "/initrd1", "--cmdline", "quiet", "--json"}
	c := withFirmware(t, arch)
	k := testkit.Kernel(t, "amd64", "6.12")
	c.Kernel = k
	c.MemoryMiB = 1024
	c.Cmdline = vmkit.Cmdline(t, arch, "crashkernel=128M")
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "record", Steps: []guest.Step{
		peel("doctor", "doctor", "--json", "--record", "/tmp/recording"),
		peel("doctor again", "doctor", "--json", "--root", "/tmp/recording"),
		peel("plan", plan...),
		peel("plan again", append(plan, "--root", "/tmp/recording")...),
		peel("crash plan", append(plan, "--crash")...),
		peel("crash plan again", append(plan, "--crash", "--root", "/tmp/recording")...),
	}}, vmkit.Peel(t, arch), testkit.Plain("kernel", testkit.ReadFile(t, k)), testkit.Plain("initrd1", []byte("initrd"))))
	run := vmkit.Boot(t, c, "record")
	for _, step := range []string{"doctor", "plan", "crash plan"} {
		live, again := run.Result(step), run.Result(step+" again")
		if live.Status != 0 || again.Status != 0 || len(live.Stdout) < 100 {
			t.Errorf("%s: status %d and %d\n%s%s", step, live.Status, again.Status, live.Stderr, again.Stderr)
		}
		if step == "crash plan" {
			// The recording does not tell where the kernel has itself mapped,
			// so the core header has one program header of 56 bytes less.
			sized := regexp.MustCompile(`("size": |"core_header": \{\s+"start": \d+,\s+"end": )\d+`)
			live.Stdout, again.Stdout = sized.ReplaceAllString(live.Stdout, "$1"), sized.ReplaceAllString(again.Stdout, "$1")
		}
		if live.Stdout != again.Stdout {
			t.Errorf("%s of the recording:\n%s\nof the machine:\n%s", step, again.Stdout, live.Stdout)
		}
	}
}
