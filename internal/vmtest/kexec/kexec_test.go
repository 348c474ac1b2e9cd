// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kexec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// answer is what testdata/probe prints.
type answer struct {
	Error, Call, Errno, Kind string
	Loaded, CrashLoaded      bool
	Route                    string
	Findings                 map[string]string
}

func probeResult(t *testing.T, r *vmkit.Run, step string) answer {
	t.Helper()
	res := r.Result(step)
	var a answer
	if err := json.Unmarshal([]byte(res.Stdout), &a); err != nil {
		t.Fatalf("step %s: status %d: %v\n%s%s", step, res.Status, err, res.Stdout, res.Stderr)
	}
	return a
}

func probeFile(t *testing.T, a image.Arch) testkit.File {
	t.Helper()
	goarch := "amd64"
	if a == image.ArchARM64 {
		goarch = "arm64"
	}
	return testkit.Exec(t, "bin/probe", testkit.BuildBinary(t, "./internal/vmtest/kexec/testdata/probe", goarch))
}

func probe(name string, args ...string) guest.Step {
	return guest.Step{Name: name, Argv: append([]string{"/bin/probe"}, args...)}
}

// wantAnswer checks one step: the state after it, the errno's text ("" is
// success) and words of the explanation.
type wantAnswer struct {
	step                string
	loaded, crashLoaded bool
	call, errno         string
	words               string
}

func check(t *testing.T, r *vmkit.Run, want []wantAnswer) {
	t.Helper()
	for _, w := range want {
		a := probeResult(t, r, w.step)
		if a.Loaded != w.loaded || a.CrashLoaded != w.crashLoaded {
			t.Errorf("%s: loaded %v, crash loaded %v, want %v, %v", w.step, a.Loaded, a.CrashLoaded, w.loaded, w.crashLoaded)
		}
		if a.Call != w.call || a.Errno != w.errno || (w.words == "") != (a.Error == "") || !strings.Contains(a.Error, w.words) {
			t.Errorf("%s: error %q of call %q with %q, want call %q with %q and the words %q", w.step, a.Error, a.Call, a.Errno, w.call, w.errno, w.words)
		}
	}
}

const (
	ePERM   = "operation not permitted"
	eACCES  = "permission denied"
	eNOEXEC = "exec format error"
	eNODATA = "no data available"
	eNOKEY  = "required key not available"
	eNOSYS  = "function not implemented"
	eNOADDR = "cannot assign requested address"
)

// Load, status, unload and start on a kernel with both calls; what a second
// kernel then refuses, and why.
func TestVMKexec(t *testing.T) {
	const arch = image.ArchX86_64
	k := testkit.KernelImage(t, "amd64", "6.12")
	second := vmkit.Initramfs(t, arch, guest.Script{Name: "second", Steps: []guest.Step{
		probe("before disabling", "load", "/vmlinuz", "-", "x"),
		probe("unload before disabling", "unload"),
		{Name: "disable", Argv: []string{"@write", "/proc/sys/kernel/kexec_load_disabled", "1"}},
		probe("file disabled", "load", "/vmlinuz", "-", "x"),
		probe("segments disabled", "segments"),
		probe("doctor disabled", "state"),
	}}, probeFile(t, arch), testkit.Plain("vmlinuz", testkit.ReadFile(t, k.Path)))
	cmdline := vmkit.Cmdline(t, arch, "peel.second=1")
	user := probe("user", "load", "/vmlinuz", "-", "x")
	user.UID = 1000
	first := vmkit.Initramfs(t, arch, guest.Script{Name: "first", Steps: []guest.Step{
		probe("exec nothing", "exec"),
		probe("text", "load", "/text", "-", "x"),
		user,
		probe("unload nothing", "unload"),
		probe("file", "load", "/vmlinuz", "-", "x"),
		probe("text over file", "load", "/text", "-", "x"),
		probe("unload file", "unload"),
		probe("segments", "segments"),
		probe("unload segments", "unload"),
		probe("crash", "load", "/vmlinuz", "/initrd", "x", "crash"),
		probe("unload crash", "unload", "crash"),
		probe("crash segments", "segments", "crash"),
		probe("unload crash segments", "unload", "crash"),
		probe("doctor", "state"),
		probe("load", "load", "/vmlinuz", "/initrd", cmdline),
		probe("exec", "exec"),
	}}, probeFile(t, arch), testkit.Plain("vmlinuz", testkit.ReadFile(t, k.Path)), testkit.Plain("initrd", second),
		testkit.Plain("text", []byte("no kernel\n")))

	c := vmkit.Config(t, arch)
	c.Kernel, c.MemoryMiB = k.Path, 1024
	c.Initrd = testkit.WriteFile(t, "initrd", first)
	c.Cmdline = vmkit.Cmdline(t, arch, "crashkernel=192M")
	r := vmkit.Boot(t, c, "second")
	if got := r.Boot("second").Cmdline; got != cmdline {
		t.Errorf("second kernel's command line is %q, want %q", got, cmdline)
	}
	check(t, r, []wantAnswer{
		{step: "exec nothing", words: "no kernel is loaded"},
		{step: "text", call: "kexec_file_load", errno: eNOEXEC, words: "knows no loader"},
		{step: "user", call: "kexec_file_load", errno: ePERM, words: "CAP_SYS_BOOT"},
		{step: "unload nothing"},
		{step: "file", loaded: true},
		{step: "text over file", loaded: true, call: "kexec_file_load", errno: eNOEXEC, words: "knows no loader"},
		{step: "unload file"},
		{step: "segments", loaded: true},
		{step: "unload segments"},
		{step: "crash", crashLoaded: true},
		{step: "unload crash"},
		{step: "crash segments", crashLoaded: true},
		{step: "unload crash segments"},
		{step: "load", loaded: true},
		{step: "before disabling", loaded: true},
		{step: "unload before disabling"},
		{step: "file disabled", call: "kexec_file_load", errno: ePERM, words: "kernel.kexec_load_disabled is 1"},
		{step: "segments disabled", call: "kexec_load", errno: ePERM, words: "kernel.kexec_load_disabled is 1"},
	})
	if got := probeResult(t, r, "doctor").Findings["kexec_load_disabled"]; got != "ok" {
		t.Errorf("doctor on kexec_load_disabled = %q, want ok", got)
	}
	if got := probeResult(t, r, "doctor disabled").Findings["kexec_load_disabled"]; got != "blocked" {
		t.Errorf("doctor on kexec_load_disabled once it is set = %q, want blocked", got)
	}
}

// Without memory for a crash kernel, and locked down by the command line.
func TestVMLockdown(t *testing.T) {
	const arch = image.ArchX86_64
	unsigned := testkit.KernelImage(t, "amd64", "6.12-unsigned")
	k := testkit.KernelImage(t, "amd64", "6.12")
	c := vmkit.Config(t, arch)
	c.Kernel, c.MemoryMiB = k.Path, 1024
	c.Cmdline = vmkit.Cmdline(t, arch, "lockdown=integrity")
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "locked", Steps: []guest.Step{
		probe("unsigned", "load", "/unsigned", "-", "x"),
		probe("stranger", "load", "/signed", "-", "x"),
		probe("segments", "segments"),
		probe("unload", "unload"),
		probe("doctor", "state"),
	}}, probeFile(t, arch), testkit.Plain("unsigned", testkit.ReadFile(t, unsigned.Path)),
		testkit.Plain("signed", testkit.ReadFile(t, k.Path))))
	r := vmkit.Boot(t, c, "locked")
	if got := r.Boot("locked").Lockdown; got != "integrity" {
		t.Fatalf("lockdown is %q, want integrity", got)
	}
	check(t, r, []wantAnswer{
		{step: "unsigned", call: "kexec_file_load", errno: ePERM, words: "locked down (integrity) and does not accept the signature"},
		{step: "stranger", call: "kexec_file_load", errno: ePERM, words: "locked down (integrity) and does not accept the signature"},
		{step: "segments", call: "kexec_load", errno: ePERM, words: "locked down (integrity) and refuses kexec_load in all cases"},
		{step: "unload"},
	})
	a := probeResult(t, r, "doctor")
	if a.Route != "file" || a.Findings["lockdown"] != "warn" || a.Findings["kexec_load"] != "blocked" || a.Findings["kernel signature"] != "warn" {
		t.Errorf("doctor: route %q, findings %v, want file, and lockdown and kexec_load found", a.Route, a.Findings)
	}
}

// Secure Boot: the keys of the firmware decide, and IMA refuses kexec_load
// even before lockdown does.
func TestVMSecureBoot(t *testing.T) {
	const arch = image.ArchX86_64
	unsigned := testkit.KernelImage(t, "amd64", "6.12-unsigned")
	owner := testkit.Snakeoil(t)
	ours := testkit.Sign(t, owner, unsigned.Path)
	strangers := testkit.Sign(t, testkit.NewKey(t, "stranger"), unsigned.Path)
	c := vmkit.Config(t, arch)
	c.Kernel, c.MemoryMiB, c.Firmware = ours, 1024, vmkit.Firmware(t, arch, true)
	c.Cmdline = vmkit.Cmdline(t, arch)
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "secure", Steps: []guest.Step{
		probe("unsigned", "load", "/unsigned", "-", "x"),
		probe("stranger", "load", "/stranger", "-", "x"),
		probe("segments", "segments"),
		probe("crash without memory", "load", "/ours", "-", "x", "crash"),
		probe("ours", "load", "/ours", "-", "x"),
		probe("unload", "unload"),
		probe("doctor", "state"),
	}}, probeFile(t, arch), testkit.Plain("unsigned", testkit.ReadFile(t, unsigned.Path)),
		testkit.Plain("ours", testkit.ReadFile(t, ours)), testkit.Plain("stranger", testkit.ReadFile(t, strangers))))
	r := vmkit.Boot(t, c, "secure")
	check(t, r, []wantAnswer{
		{step: "unsigned", call: "kexec_file_load", errno: eNODATA, words: "carries none"},
		{step: "stranger", call: "kexec_file_load", errno: eNOKEY, words: "none of the running kernel's keyrings"},
		{step: "segments", call: "kexec_load", errno: eACCES, words: "IMA demands"},
		{step: "crash without memory", call: "kexec_file_load", errno: eNOADDR, words: "crashkernel="},
		{step: "ours", loaded: true},
		{step: "unload"},
	})
	a := probeResult(t, r, "doctor")
	if a.Route != "file" || a.Findings["kernel signature"] != "warn" {
		t.Errorf("doctor: route %q, findings %v, want file, and the signature found", a.Route, a.Findings)
	}
}

// Debian's arm64 kernel has no kexec_file_load.
func TestVMARM64(t *testing.T) {
	const arch = image.ArchARM64
	k := testkit.KernelImage(t, "arm64", "6.12")
	c := vmkit.Config(t, arch)
	c.Kernel, c.MemoryMiB, c.NoACPI = k.Path, 1024, true
	c.Cmdline = vmkit.Cmdline(t, arch, "crashkernel=192M")
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "arm64", Steps: []guest.Step{
		probe("file", "load", "/text", "-", "x"),
		probe("segments", "segments"),
		probe("unload", "unload"),
		probe("crash segments", "segments", "crash"),
		probe("unload crash", "unload", "crash"),
		probe("doctor", "state"),
	}}, probeFile(t, arch), testkit.Plain("text", []byte("no kernel\n"))))
	r := vmkit.Boot(t, c, "arm64")
	check(t, r, []wantAnswer{
		{step: "file", call: "kexec_file_load", errno: eNOSYS, words: "use kexec_load"},
		{step: "segments", loaded: true},
		{step: "unload"},
		{step: "crash segments", crashLoaded: true},
		{step: "unload crash"},
	})
	if a := probeResult(t, r, "doctor"); a.Route != "segments" {
		t.Errorf("doctor: route %q, want segments", a.Route)
	}
}
