// SPDX-License-Identifier: Apache-2.0

package run

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

func goArch(a image.Arch) string {
	if a == image.ArchX86_64 {
		return "amd64"
	}
	return "arm64"
}

// cmdline is vmkit.Cmdline without the kernel's check of its timer, which fails where many emulators share few processors.
func cmdline(t testing.TB, a image.Arch, more ...string) string {
	t.Helper()
	if a == image.ArchX86_64 {
		more = append(more, "no_timer_check")
	}
	return vmkit.Cmdline(t, a, more...)
}

func file(t *testing.T, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// scene is one kexec through the run route.
type scene struct {
	arch     image.Arch
	img      string // path
	args     []string
	initrd   bool // the second initrd is offered beside the image, not in it
	firmware bool // the first kernel is started by UEFI
	noACPI   bool // arm64: with a device tree
	beside   []testkit.File
	route    string // empty is "run"
	user     bool   // an ordinary user looks at the plan first
}

// second is the initrd of the second kernel; with efivars its init loads the module of Debian 13's kernel.
func second(t *testing.T, a image.Arch, efivars bool) []byte {
	t.Helper()
	s := guest.Script{Name: "second", Steps: []guest.Step{{Name: "extra", Argv: []string{"@ls", "/.extra"}}}}
	var files []testkit.File
	if efivars {
		k := testkit.KernelImage(t, goArch(a), "6.12")
		files = append(files, testkit.Plain("efivarfs.ko", testkit.Module(t, k, "efivarfs")))
		s.Modules = []string{"/efivarfs.ko"}
		s.Steps = append(s.Steps, guest.Step{Name: "efivars", Argv: []string{"@ls", "/sys/firmware/efi/efivars"}})
	}
	return vmkit.Initramfs(t, a, s, files...)
}

// play runs a scene and returns what the machine said.
func play(t *testing.T, s scene) *vmkit.Run {
	t.Helper()
	args := s.args
	files := append([]testkit.File{
		vmkit.Peel(t, s.arch),
		testkit.Plain("img/image.efi", testkit.ReadFile(t, s.img)),
	}, s.beside...)
	if s.initrd {
		files = append(files, testkit.Plain("second.cpio", second(t, s.arch, false)))
		args = append(args, "--initrd", "/second.cpio")
	}
	load := func(more ...string) []string {
		return append(append([]string{"/bin/peel", "load", "/img/image.efi", "--via", cmp.Or(s.route, "run"), "--policy", "warn"}, args...), more...)
	}
	script := guest.Script{Name: "first", Steps: []guest.Step{
		{Name: "dry", Argv: load("--dry-run")},
		{Name: "load", Argv: load()},
		{Name: "exec", Argv: []string{"/bin/peel", "exec"}},
	}}
	if s.user {
		plan := load()
		plan[1] = "plan"
		script.Steps = append([]guest.Step{{Name: "user", Argv: plan, UID: 65534}}, script.Steps...)
	}
	c := vmkit.Config(t, s.arch)
	c.MemoryMiB = 1024
	c.NoACPI = s.noACPI
	k := testkit.Kernel(t, goArch(s.arch), "6.12")
	initrd := vmkit.Initramfs(t, s.arch, script, files...)
	c.Kernel, c.Cmdline, c.Initrd = k, cmdline(t, s.arch), file(t, "initrd", initrd)
	if s.firmware {
		c.Firmware = vmkit.Firmware(t, s.arch, false)
	}
	run := vmkit.Boot(t, c, "second")
	if r := run.Result("dry"); r.Status != 0 {
		t.Errorf("peel load --dry-run: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	} else {
		t.Logf("%s", r.Stdout)
	}
	if s.user {
		if r := run.Result("user"); r.Status != 0 || !strings.Contains(r.Stdout, "preview, not to be loaded") {
			t.Errorf("peel plan of an ordinary user: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	return run
}

// check compares the second kernel with the first one.
func check(t *testing.T, run *vmkit.Run, line string, efi bool) {
	t.Helper()
	first, b := run.Boot("first"), run.Boot("second")
	if strings.TrimSpace(b.Cmdline) != line {
		t.Errorf("/proc/cmdline of the second kernel = %q, want %q", b.Cmdline, line)
	}
	if b.MemTotalKB < first.MemTotalKB*9/10 {
		t.Errorf("second kernel has %d kB of memory, the first %d", b.MemTotalKB, first.MemTotalKB)
	}
	if b.EFI != efi {
		t.Errorf("/sys/firmware/efi in the second kernel: %v, want %v", b.EFI, efi)
	}
}

func TestKernelsX86(t *testing.T) {
	for _, series := range []string{"6.12", "6.1", "new", "5.10"} {
		t.Run(series, func(t *testing.T) {
			line := cmdline(t, image.ArchX86_64, "run="+series)
			run := play(t, scene{arch: image.ArchX86_64, img: testkit.Kernel(t, "amd64", series), initrd: true, user: series == "6.12", args: []string{"--cmdline", line}})
			check(t, run, line, false)
		})
	}
}

func TestUKIX86(t *testing.T) {
	for _, stub := range []string{"bookworm", "trixie", "forky"} {
		t.Run(stub, func(t *testing.T) {
			line := cmdline(t, image.ArchX86_64, "uki="+stub)
			// The stub of Debian 12 is older than ukify's idea of it.
			img := testkit.UKI(t, testkit.UKIOptions{Stub: testkit.Stub(t, "amd64", stub), Objcopy: stub == "bookworm",
				Initrd: second(t, image.ArchX86_64, false), Cmdline: line})
			check(t, play(t, scene{arch: image.ArchX86_64, img: img}), line, false)
		})
	}
}

// TestFirmwareX86 kexecs on a machine with UEFI: its variables can be read in the second kernel.
func TestFirmwareX86(t *testing.T) {
	line := cmdline(t, image.ArchX86_64, "uki=ovmf")
	img := testkit.UKI(t, testkit.UKIOptions{Initrd: second(t, image.ArchX86_64, true), Cmdline: line})
	run := play(t, scene{arch: image.ArchX86_64, img: img, firmware: true})
	check(t, run, line, true)
	checkVariables(t, run)
}

// checkVariables looks for variables of the firmware, which only its runtime services know.
func checkVariables(t *testing.T, run *vmkit.Run) {
	t.Helper()
	if r := run.Result("efivars"); r.Status != 0 || !strings.Contains(r.Stdout, "-8be4df61-93ca-11d2-aa0d-00e098032b8c") {
		t.Errorf("efivars in the second kernel: status %d, %q %s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestBesideX86 has addons, a credential and a profile.
func TestBesideX86(t *testing.T) {
	a := image.ArchX86_64
	dir := t.TempDir()
	part := func(name string, args ...string) string {
		out := filepath.Join(dir, name)
		testkit.Run(t, "", "ukify", append([]string{"build", "--stub=" + testkit.AddonStub(t, "amd64", "trixie"), "--output=" + out}, args...)...)
		return out
	}
	line := cmdline(t, a, "profile=one")
	img := testkit.UKI(t, testkit.UKIOptions{Initrd: second(t, a, false), Cmdline: cmdline(t, a, "profile=main"), Extra: []string{
		"--profile=ID=main", "--join-profile=" + part("one", "--profile=ID=one", "--cmdline="+line)}})
	run := play(t, scene{arch: a, img: img, args: []string{"--profile", "one"}, beside: []testkit.File{
		testkit.Plain("img/image.efi.extra.d/x.addon.efi", testkit.ReadFile(t, part("x", "--cmdline=addon=x"))),
		testkit.Plain("img/image.efi.extra.d/a.cred", []byte("credential")),
	}})
	check(t, run, line+" addon=x", false)
	if r := run.Result("extra"); !strings.Contains(r.Stdout, "credentials/a.cred 10") {
		t.Errorf("/.extra of the second kernel holds %q, want the credential", r.Stdout)
	}
}

func TestARM64(t *testing.T) {
	a := image.ArchARM64
	for _, series := range []string{"6.12", "6.1", "new"} {
		name := "Image"
		if series != "6.12" {
			name += " " + series
		}
		t.Run(name, func(t *testing.T) {
			line := cmdline(t, a, "run=arm64")
			check(t, play(t, scene{arch: a, img: testkit.Kernel(t, "arm64", series), initrd: true, noACPI: true, args: []string{"--cmdline", line}}), line, false)
		})
	}
	for _, stub := range []string{"trixie", "forky"} {
		t.Run("UKI "+stub, func(t *testing.T) {
			line := cmdline(t, a, "uki=arm64")
			img := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Stub: testkit.Stub(t, "arm64", stub), Kernel: testkit.Kernel(t, "arm64", "6.12"),
				Initrd: second(t, a, true), Cmdline: line})
			run := play(t, scene{arch: a, img: img, firmware: true})
			check(t, run, line, true)
			checkVariables(t, run)
		})
	}
	for _, name := range []string{"vmlinuz-arm64-6.12-gzip.efi", "vmlinuz-arm64-6.1-xz.efi", "vmlinuz-arm64-6.1-lzo.efi"} {
		zboot := filepath.Join(testkit.ModuleDir(t), "image", "zboot", "testdata", name)
		t.Run(name, func(t *testing.T) {
			line := cmdline(t, a, "run=zboot")
			check(t, play(t, scene{arch: a, img: zboot, initrd: true, noACPI: true, args: []string{"--cmdline", line}}), line, false)
		})
		t.Run("UKI of "+name, func(t *testing.T) {
			line := cmdline(t, a, "uki=zboot")
			img := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: zboot, Initrd: second(t, a, false), Cmdline: line})
			check(t, play(t, scene{arch: a, img: img, noACPI: true}), line, false)
		})
	}
}
