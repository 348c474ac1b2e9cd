// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

const x86 = image.ArchX86_64

// nobody is an ordinary user inside the guests.
const nobody = 65534

// second is the initrd of the kernels that are booted by kexec: their init reports and powers off.
func second(t *testing.T, a image.Arch, name string) []byte {
	t.Helper()
	return vmkit.Initramfs(t, a, guest.Script{Name: name})
}

// ownCmdline is the command line that a UKI brings: of odd spelling, so that nothing but the UKI can be its source.
func ownCmdline(t *testing.T, a image.Arch) string {
	t.Helper()
	return vmkit.Cmdline(t, a, `peel.marker="from the uki"`, "x=ä")
}

// verdict is what a guest's peel is to say about an image.
type verdict struct {
	image  string
	status int
	// says are texts, in lower case, that the message must hold.
	says []string
}

// refusals returns the steps that try to load images which must be refused, and show after each that nothing is loaded.
func refusals(all []verdict, args ...string) []guest.Step {
	var steps []guest.Step
	for _, v := range all {
		img := "/img/" + v.image
		steps = append(steps,
			guest.Step{Name: "load " + v.image, Argv: append([]string{"/bin/peel", "load", img}, args...)},
			guest.Step{Name: "status after " + v.image, Argv: []string{"/bin/peel", "status"}},
			guest.Step{Name: "kernel after " + v.image, Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		)
	}
	return steps
}

// checkRefusals checks the results of refusals, and that no two images got the same message.
func checkRefusals(t *testing.T, run *vmkit.Run, all []verdict) {
	t.Helper()
	seen := map[string]string{}
	for _, v := range all {
		r := run.Result("load " + v.image)
		if r.Status != v.status {
			t.Errorf("peel load %s: status %d, want %d; it said:\n%s%s", v.image, r.Status, v.status, r.Stdout, r.Stderr)
		}
		low := strings.ToLower(r.Stdout + r.Stderr)
		for _, want := range v.says {
			if !strings.Contains(low, want) {
				t.Errorf("peel load %s says %q, want %q in it", v.image, r.Stdout+r.Stderr, want)
			}
		}
		reason := strings.ReplaceAll(strings.TrimSpace(r.Stderr), v.image, "IMAGE")
		if other, ok := seen[reason]; ok {
			t.Errorf("peel load %s and %s both say only %q", v.image, other, reason)
		}
		seen[reason] = v.image
		if r := run.Result("status after " + v.image); r.Status != 0 || !saysNothingLoaded(r.Stdout) {
			t.Errorf("peel status after %s: status %d, %q, want it to say that nothing is loaded", v.image, r.Status, r.Stdout+r.Stderr)
		}
		if r := run.Result("kernel after " + v.image); r.Stdout != "0\n" {
			t.Errorf("/sys/kernel/kexec_loaded after %s = %q, want 0", v.image, r.Stdout)
		}
	}
}

// saysNothingLoaded looks at the line of `peel status` that is about the ordinary kernel, not the crash kernel.
func saysNothingLoaded(status string) bool {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "kernel "); ok {
			return strings.TrimSpace(rest) == "nothing is loaded"
		}
	}
	return false
}

// mustDo fails the test for each step that did not end with status 0.
func mustDo(t *testing.T, run *vmkit.Run, steps ...string) {
	t.Helper()
	for _, s := range steps {
		if r := run.Result(s); r.Status != 0 {
			t.Errorf("%s: status %d, want 0; it said:\n%s%s", s, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// TestUKI is the main path: a signed UKI is verified, taken apart and started by kexec; its own initrd answers, with its own
// command line. What must not boot is refused in the same machine, before.
func TestUKI(t *testing.T) {
	ca := testkit.NewCA(t, "peel test CA")
	key, other := ca.Issue(t, "peel test signer"), testkit.NewKey(t, "somebody else")
	unsigned := testkit.UKI(t, testkit.UKIOptions{Initrd: second(t, x86, "second"), Cmdline: ownCmdline(t, x86)})
	good := testkit.Sign(t, key, unsigned)
	goodBytes := testkit.ReadFile(t, good)

	refused := []verdict{
		{"flipped.efi", 3, []string{"does not match its signature"}},
		{"other.efi", 3, []string{"somebody else"}},
		{"unsigned.efi", 3, []string{"not signed"}},
		{"truncated.efi", 1, []string{"truncated"}},
		{"text.efi", 1, []string{"not a boot image"}},
	}
	files := []testkit.File{
		vmkit.Peel(t, x86),
		testkit.Plain("keys/ca.pem", testkit.ReadFile(t, ca.CertPEM)),
		testkit.Plain("keys/signer.der", testkit.ReadFile(t, key.CertDER)),
		testkit.Plain("img/good.efi", goodBytes),
		testkit.Exec(t, "img/flipped.efi", testkit.FlipSection(t, good, ".initrd", 1000)),
		testkit.Exec(t, "img/other.efi", testkit.Sign(t, other, unsigned)),
		testkit.Exec(t, "img/unsigned.efi", unsigned),
		testkit.Plain("img/truncated.efi", goodBytes[:len(goodBytes)/2]),
		testkit.Plain("img/text.efi", []byte("This is a text, not an image.\n")),
		testkit.Plain("img/extra.cpio", testkit.Initramfs(t, testkit.Plain("extra", []byte("more\n")))),
	}
	enforce := []string{"--policy", "enforce", "--cert", "/keys/ca.pem"}
	peel := func(verb string, args ...string) []string { return append([]string{"/bin/peel", verb}, args...) }
	steps := refusals(refused, enforce...)
	steps = append(steps,
		guest.Step{Name: "verify", Argv: peel("verify", append(enforce, "/img/good.efi")...)},
		guest.Step{Name: "verify by signer", Argv: peel("verify", "--cert", "/keys/signer.der", "/img/good.efi")},
		guest.Step{Name: "inspect", UID: nobody, Argv: peel("inspect", "/img/good.efi")},
		guest.Step{Name: "extract", UID: nobody, Argv: peel("extract", "--cert", "/keys/ca.pem", "/img/good.efi", "-o", "/tmp/parts")},
		guest.Step{Name: "dry run", UID: nobody, Argv: peel("load", append(enforce, "--dry-run", "/img/good.efi")...)},
		guest.Step{Name: "kernel after dry run", Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		guest.Step{Name: "append under enforce", Argv: peel("load", append(enforce, "--append", "init=/bin/sh", "/img/good.efi")...)},
		guest.Step{Name: "initrd under enforce", Argv: peel("load", append(enforce, "--initrd", "/img/extra.cpio", "/img/good.efi")...)},
		guest.Step{Name: "load as user", UID: nobody, Argv: peel("load", append(enforce, "/img/good.efi")...)},
		guest.Step{Name: "kernel after additions", Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		guest.Step{Name: "append under warn", Argv: peel("load", "--policy", "warn", "--cert", "/keys/ca.pem", "--append", "extra", "/img/good.efi")},
		guest.Step{Name: "status loaded", Argv: peel("status")},
		guest.Step{Name: "unload", Argv: peel("unload")},
		guest.Step{Name: "status unloaded", Argv: peel("status")},
		guest.Step{Name: "kernel after unload", Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		guest.Step{Name: "load", Argv: peel("load", append(enforce, "/img/good.efi")...)},
		guest.Step{Name: "kernel after load", Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		guest.Step{Name: "exec", Argv: peel("exec")},
	)
	c := vmkit.Config(t, x86)
	c.MemoryMiB = 1024
	c.Kernel = testkit.Kernel(t, "amd64", "6.12")
	c.Cmdline = vmkit.Cmdline(t, x86)
	c.Initrd = file(t, "initrd", vmkit.Initramfs(t, x86, guest.Script{Name: "first", Steps: steps}, files...))
	run := vmkit.Boot(t, c, "second")

	checkRefusals(t, run, refused)
	mustDo(t, run, "verify", "verify by signer", "inspect", "extract", "dry run", "append under warn", "status loaded", "unload", "load")
	for _, s := range []string{"append under enforce", "initrd under enforce"} {
		if r := run.Result(s); r.Status != 3 || !strings.Contains(strings.ToLower(r.Stderr+r.Stdout), "not signed") {
			t.Errorf("%s: status %d, %q, want 3 and the reason", s, r.Status, r.Stderr+r.Stdout)
		}
	}
	if r := run.Result("load as user"); r.Status != 4 {
		t.Errorf("load as user: status %d, %q, want 4", r.Status, r.Stderr+r.Stdout)
	}
	if r := run.Result("append under warn"); !strings.Contains(strings.ToLower(r.Stderr+r.Stdout), "unverified") {
		t.Errorf("append under warn says %q, want the addition shown as unverified", r.Stderr+r.Stdout)
	}
	for s, want := range map[string]string{"kernel after dry run": "0\n", "kernel after additions": "0\n", "kernel after unload": "0\n", "kernel after load": "1\n"} {
		if r := run.Result(s); r.Stdout != want {
			t.Errorf("%s: /sys/kernel/kexec_loaded = %q, want %q", s, r.Stdout, want)
		}
	}
	if r := run.Result("status loaded"); saysNothingLoaded(r.Stdout) {
		t.Errorf("status with a kernel loaded says %q", r.Stdout)
	}
	if r := run.Result("status unloaded"); !saysNothingLoaded(r.Stdout) {
		t.Errorf("status after unload says %q", r.Stdout)
	}
	b := run.Boot("second")
	if want := ownCmdline(t, x86); b.Cmdline != want {
		t.Errorf("/proc/cmdline of the second kernel = %q, want %q", b.Cmdline, want)
	}
	first := run.Boot("first")
	if b.Release != first.Release || b.MemTotalKB < first.MemTotalKB*9/10 {
		t.Errorf("second kernel: %s with %d kB, want %s with about %d kB", b.Release, b.MemTotalKB, first.Release, first.MemTotalKB)
	}
}

// TestUKISecureBoot is the main path on a machine with Secure Boot on, whose kernel is locked down and has the last word.
func TestUKISecureBoot(t *testing.T) {
	db := testkit.Snakeoil(t)
	unsignedKernel := testkit.Kernel(t, "amd64", "6.12-unsigned")
	uki := func(name string, kernel string, kernelKey, key *testkit.Key) testkit.File {
		return testkit.Exec(t, "img/"+name, testkit.UKI(t, testkit.UKIOptions{
			Kernel: kernel, KernelKey: kernelKey, Key: key, Initrd: second(t, x86, "second"), Cmdline: ownCmdline(t, x86),
		}))
	}
	stranger := testkit.NewKey(t, "somebody else")
	files := []testkit.File{
		vmkit.Peel(t, x86),
		testkit.Plain("keys/db.pem", testkit.ReadFile(t, db.CertPEM)),
		uki("inner-signed.efi", unsignedKernel, db, db),
		uki("inner-unsigned.efi", unsignedKernel, nil, db),
		uki("inner-stranger.efi", unsignedKernel, stranger, db),
		uki("unsigned.efi", unsignedKernel, nil, nil),
	}
	k := testkit.KernelImage(t, "amd64", "6.12")
	files = append(files, testkit.Plain("efivarfs.ko", testkit.Module(t, k, "efivarfs")))
	cert := []string{"--cert", "/keys/db.pem"}
	refused := []verdict{
		{"inner-unsigned.efi", 1, []string{"kexec_file_load", "sign"}},
		{"inner-stranger.efi", 1, []string{"kexec_file_load", "key"}},
	}
	steps := append(refusals(refused, cert...),
		guest.Step{Name: "unsigned", Argv: append([]string{"/bin/peel", "load", "/img/unsigned.efi"}, cert...)},
		guest.Step{Name: "unsigned, policy off", Argv: []string{"/bin/peel", "load", "/img/unsigned.efi", "--policy", "off"}},
		guest.Step{Name: "kernel after unsigned", Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		// Without keys of one's own, the firmware's count.
		guest.Step{Name: "verify by db", Argv: []string{"/bin/peel", "verify", "/img/inner-signed.efi"}},
		guest.Step{Name: "unsigned by db", Argv: []string{"/bin/peel", "verify", "/img/unsigned.efi"}},
		guest.Step{Name: "doctor", Argv: []string{"/bin/peel", "doctor"}},
		guest.Step{Name: "verify inner-unsigned", Argv: append([]string{"/bin/peel", "verify", "/img/inner-unsigned.efi"}, cert...)},
		guest.Step{Name: "verify", Argv: append([]string{"/bin/peel", "verify", "/img/inner-signed.efi"}, cert...)},
		guest.Step{Name: "load", Argv: append([]string{"/bin/peel", "load", "/img/inner-signed.efi"}, cert...)},
		guest.Step{Name: "kernel after load", Argv: []string{"@cat", "/sys/kernel/kexec_loaded"}},
		guest.Step{Name: "exec", Argv: []string{"/bin/peel", "exec"}},
	)
	script := guest.Script{Name: "first", Modules: []string{"/efivarfs.ko"}, Steps: steps}
	c := vmkit.Config(t, x86)
	c.MemoryMiB = 1024
	c.Firmware = vmkit.Firmware(t, x86, true)
	// The firmware starts the first UKI because the key in its db signed it.
	c.Kernel = testkit.UKI(t, testkit.UKIOptions{
		Name: "first.efi", Kernel: k.Path, Key: db, Cmdline: vmkit.Cmdline(t, x86),
		Initrd: vmkit.Initramfs(t, x86, script, files...),
	})
	run := vmkit.Boot(t, c, "second")

	if b := run.Boot("first"); !b.EFI || b.SecureBoot != "on" || b.Lockdown != "integrity" {
		t.Fatalf("first kernel: %+v, want Secure Boot on and lockdown integrity", *b)
	}
	checkRefusals(t, run, refused)
	mustDo(t, run, "verify inner-unsigned", "verify", "verify by db", "doctor", "load")
	for step, want := range map[string]verdict{
		"unsigned":             {status: 3, says: []string{"not signed"}},
		"unsigned, policy off": {status: 1, says: []string{"kexec_file_load", "sign"}},
		"verify by db":         {status: 0, says: []string{"secure boot is on", "list       db"}},
		"unsigned by db":       {status: 3, says: []string{"secure boot is on", "not signed"}},
		"doctor":               {status: 0, says: []string{"lockdown", "integrity"}},
	} {
		r := run.Result(step)
		for _, text := range want.says {
			if r.Status != want.status || !strings.Contains(strings.ToLower(r.Stdout+r.Stderr), text) {
				t.Errorf("%s: status %d, %q, want %d and %q", step, r.Status, r.Stdout+r.Stderr, want.status, text)
			}
		}
	}
	if r := run.Result("kernel after unsigned"); r.Stdout != "0\n" {
		t.Errorf("/sys/kernel/kexec_loaded after unsigned = %q, want 0", r.Stdout)
	}
	if r := run.Result("kernel after load"); r.Stdout != "1\n" {
		t.Errorf("/sys/kernel/kexec_loaded = %q, want 1", r.Stdout)
	}
	b := run.Boot("second")
	if want := ownCmdline(t, x86); b.Cmdline != want {
		t.Errorf("/proc/cmdline of the second kernel = %q, want %q", b.Cmdline, want)
	}
	if !b.EFI || b.Lockdown != "integrity" {
		t.Errorf("second kernel: %+v, want EFI and lockdown carried over", *b)
	}
}
