// SPDX-License-Identifier: Apache-2.0

package kexec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

func TestChoose(t *testing.T) {
	edit := func(name string, do func(*machine.Machine)) *machine.Machine {
		m := machinetest.Machine(t, name)
		do(m)
		return m
	}
	nop := func(*machine.Machine) {}
	plain := edit("x86-bios", nop)
	for _, tc := range []struct {
		name   string
		m      *machine.Machine
		w      kexec.Wish
		want   kexec.Route
		reason string
		err    error
	}{
		{"both", plain, kexec.Wish{}, kexec.RouteFile, "places and checks", nil},
		{"device tree", plain, kexec.Wish{NeedsSegments: "a device tree is given"}, kexec.RouteSegments, "device tree", nil},
		{"asked for segments", plain, kexec.Wish{Route: kexec.RouteSegments}, kexec.RouteSegments, "asked", nil},
		{"asked for file", plain, kexec.Wish{Route: kexec.RouteFile}, kexec.RouteFile, "asked", nil},
		{"asked for file, impossible", plain, kexec.Wish{Route: kexec.RouteFile, NeedsSegments: "run route"}, "", "run route", kexec.ErrUnsupported},
		{"no file call", edit("arm64-dtb", nop), kexec.Wish{}, kexec.RouteSegments, "without kexec_file_load", nil},
		{"no file call, needed", edit("arm64-dtb", nop), kexec.Wish{NeedsFile: "x"}, "", "kexec_load cannot do it: x", kexec.ErrUnsupported},
		{"lockdown", edit("x86-secureboot", nop), kexec.Wish{}, kexec.RouteFile, "locked down (integrity)", nil},
		{"lockdown, segments asked for", edit("x86-secureboot", nop), kexec.Wish{Route: kexec.RouteSegments}, "", "locked down", kexec.ErrNotPermitted},
		{"lockdown, segments needed", edit("x86-secureboot", nop), kexec.Wish{NeedsSegments: "run route"}, "", "run route", kexec.ErrNotPermitted},
		{"IMA", edit("x86-bios", func(m *machine.Machine) {
			m.Security.IMAPolicy = machine.KnownFact([]string{"appraise func=KEXEC_KERNEL_CHECK"}, "")
		}), kexec.Wish{}, kexec.RouteFile, "IMA", nil},
		{"Secure Boot without lockdown", edit("x86-secureboot", func(m *machine.Machine) { m.Security.Lockdown.Value = machine.LockdownNone }),
			kexec.Wish{}, kexec.RouteFile, "IMA", nil},
		{"neither call", edit("arm64-dtb", func(m *machine.Machine) { m.Kernel.KexecLoad.Value = false }), kexec.Wish{}, "", "without kexec_load", kexec.ErrUnsupported},
		{"nothing told", &machine.Machine{}, kexec.Wish{}, kexec.RouteFile, "should it have the call", nil},
		{"unknown route", plain, kexec.Wish{Route: "x"}, "", "route", kexec.ErrInvalid},
	} {
		got, err := kexec.Choose(tc.m, tc.w)
		text := got.Reason
		if err != nil {
			text = err.Error()
		}
		if got.Route != tc.want || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || !strings.Contains(text, tc.reason) {
			t.Errorf("%s: Choose = %+v, %v, want %q because of %q", tc.name, got, err, tc.want, tc.reason)
		}
	}
	if got, _ := kexec.Choose(&machine.Machine{}, kexec.Wish{}); got.Fallback != kexec.RouteSegments {
		t.Errorf("Choose on a machine that tells nothing: fallback %q, want %q", got.Fallback, kexec.RouteSegments)
	}
}

func finding(t *testing.T, all []kexec.Finding, what string) kexec.Finding {
	t.Helper()
	for _, f := range all {
		if f.What == what {
			return f
		}
	}
	t.Fatalf("no finding about %q", what)
	return kexec.Finding{}
}

// What keeps kexec from working, set in a recording, is found with its remedy.
func TestDiagnose(t *testing.T) {
	for _, tc := range []struct {
		name      string
		recording string
		edit      func(m *machine.Machine)
		what      string
		state     kexec.State
		words     string
	}{
		{"fine", "x86-bios", nil, kexec.SubjectFileLoad, kexec.OK, "has it"},
		{"arm64 of Debian", "arm64-dtb", nil, kexec.SubjectFileLoad, kexec.Warn, "kexec_load remains"},
		{"no kexec", "arm64-dtb", func(m *machine.Machine) { m.Kernel.KexecLoad.Value = false }, kexec.SubjectFileLoad, kexec.Blocked, "CONFIG_KEXEC"},
		{"no kexec, other call", "arm64-dtb", func(m *machine.Machine) { m.Kernel.KexecLoad.Value = false }, kexec.SubjectLoad, kexec.Blocked, "CONFIG_KEXEC"},
		{"only file", "x86-bios", func(m *machine.Machine) { m.Kernel.KexecLoad.Value = false }, kexec.SubjectLoad, kexec.Warn, "kexec_file_load remains"},
		{"user", "x86-bios-user", nil, kexec.SubjectPrivilege, kexec.Blocked, "as root"},
		{"root", "x86-bios", nil, kexec.SubjectPrivilege, kexec.OK, "has CAP_SYS_BOOT"},
		{"seccomp", "x86-bios", func(m *machine.Machine) { m.Security.Seccomp.Value = true }, kexec.SubjectPrivilege, kexec.Warn, "seccomp"},
		{"disabled", "x86-bios", func(m *machine.Machine) { m.Kexec.LoadDisabled.Value = true }, kexec.SubjectDisabled, kexec.Blocked, "reboot"},
		{"limit", "x86-bios", func(m *machine.Machine) { m.Kexec.LimitReboot.Value = 0 }, kexec.SubjectLimit, kexec.Blocked, "no load is left"},
		{"crash limit", "x86-bios", func(m *machine.Machine) { m.Kexec.LimitPanic.Value = 0 }, kexec.SubjectLimit, kexec.Warn, "panic"},
		{"some left", "x86-bios", func(m *machine.Machine) { m.Kexec.LimitReboot.Value = 2 }, kexec.SubjectLimit, kexec.Warn, "2 for a reboot, any number"},
		{"lockdown", "x86-secureboot", nil, kexec.SubjectLockdown, kexec.Warn, "initrd and command line"},
		{"lockdown and kexec_load", "x86-secureboot", nil, kexec.SubjectLoad, kexec.Blocked, "signed by a key that the running kernel trusts"},
		{"no lockdown", "x86-bios", nil, kexec.SubjectLockdown, kexec.OK, "none"},
		{"securityfs", "x86-bios", func(m *machine.Machine) {
			m.Security.Lockdown = machine.Fact[machine.Lockdown]{Why: "securityfs is not mounted"}
			m.Security.Securityfs.Value = false
		}, kexec.SubjectLockdown, kexec.Unknown, "mount -t securityfs"},
		{"Secure Boot on", "x86-secureboot", nil, kexec.SubjectSecureBoot, kexec.OK, "it is on"},
		{"Secure Boot off", "x86-ovmf", nil, kexec.SubjectSecureBoot, kexec.OK, "it is off"},
		{"setup mode", "x86-secureboot", func(m *machine.Machine) { m.EFI.SetupMode.Value, m.EFI.SecureBoot.Value = true, false }, kexec.SubjectSecureBoot, kexec.Warn, "setup mode"},
		{"shim insecure", "x86-secureboot", func(m *machine.Machine) { m.EFI.ShimInsecure.Value = true }, kexec.SubjectSecureBoot, kexec.Warn, "mokutil"},
		{"efivarfs", "x86-secureboot", func(m *machine.Machine) {
			m.EFI.SecureBoot.State = machine.Unknown
			m.EFI.Mounted.Value = false
		}, kexec.SubjectSecureBoot, kexec.Unknown, "mount -t efivarfs"},
		{"efivarfs again", "x86-secureboot", func(m *machine.Machine) { m.EFI.Mounted.Value = false }, kexec.SubjectVariables, kexec.Unknown, "mount -t efivarfs"},
		{"signature demanded", "x86-secureboot", nil, kexec.SubjectSignature, kexec.Warn, "shim"},
		{"signature not told", "x86-bios", nil, kexec.SubjectSignature, kexec.Unknown, "not told"},
		{"signature impossible", "x86-secureboot", func(m *machine.Machine) {
			m.Kernel.KexecSig.Value = false
			m.Kernel.IMAArchPolicy.Value = false
		}, kexec.SubjectSignature, kexec.Blocked, "can check none"},
		{"unsigned under Secure Boot", "x86-secureboot", func(m *machine.Machine) {
			m.Security.Lockdown.Value = machine.LockdownNone
			m.Kernel.IMAArchPolicy.Value = false
			m.Kernel.KexecSigForce = machine.KnownFact(false, "")
		}, kexec.SubjectSignature, kexec.Warn, "would start an unsigned kernel"},
		{"IMA rule", "x86-bios", func(m *machine.Machine) {
			m.Security.IMAPolicy = machine.KnownFact([]string{"appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig"}, "")
		}, kexec.SubjectIMA, kexec.Warn, "evmctl"},
		{"IMA hidden", "x86-bios", nil, kexec.SubjectIMA, kexec.Unknown, "policy"},
		{"loaded", "x86-bios", func(m *machine.Machine) { m.Kexec.Loaded.Value = true }, kexec.SubjectLoaded, kexec.OK, "peel exec"},
		{"crash memory", "x86-bios", nil, kexec.SubjectCrash, kexec.OK, "128 MiB"},
		{"no crash memory", "x86-ovmf", nil, kexec.SubjectCrash, kexec.OK, "crashkernel="},
		{"hidden memory", "x86-bios-user", nil, kexec.SubjectMemory, kexec.Unknown, "as root"},
		{"small memory", "arm64-dtb", nil, kexec.SubjectMemory, kexec.Warn, "small initrd"},
		{"no EFI", "x86-bios", nil, kexec.SubjectEFI, kexec.OK, "no EFI services"},
		{"EFI", "x86-ovmf", nil, kexec.SubjectEFI, kexec.OK, "system table at 0x"},
		{"EFI of arm64", "arm64-acpi", nil, kexec.SubjectEFI, kexec.OK, "system table at 0x"},
		{"no runtime map", "x86-ovmf", func(m *machine.Machine) { m.EFI.RuntimeMap.State = machine.NotPermitted }, kexec.SubjectEFI, kexec.Warn, "CONFIG_EFI_RUNTIME_MAP"},
		{"no device tree", "arm64-dtb", func(m *machine.Machine) { m.FDT.State = machine.NotPermitted }, kexec.SubjectHardware, kexec.Warn, "--dtb"},
		{"ACPI of arm64", "arm64-acpi", nil, kexec.SubjectHardware, kexec.OK, "ACPI"},
		{"guest", "x86-bios", func(m *machine.Machine) { m.Confidential.Value = machine.ConfidentialTDX }, kexec.SubjectGuest, kexec.Warn, "tdx"},
		{"systemd", "x86-bios", func(m *machine.Machine) { m.Systemd.Value = true }, kexec.SubjectManager, kexec.OK, "kexec.target"},
		{"TPM", "x86-bios", func(m *machine.Machine) { m.TPM.Present.Value = true }, kexec.SubjectTPM, kexec.Warn, "peel measure"},
	} {
		m := machinetest.Machine(t, tc.recording)
		if tc.edit != nil {
			tc.edit(m)
		}
		got := finding(t, kexec.Diagnose(m), tc.what)
		if got.State != tc.state || !strings.Contains(got.Why+" "+got.Remedy, tc.words) {
			t.Errorf("%s: Diagnose about %s = %+v, want %s and %q", tc.name, tc.what, got, tc.state, tc.words)
		}
	}
}

// Every machine, also one that tells nothing, gets one finding per subject,
// and what is blocked has a remedy.
func TestDiagnoseIsComplete(t *testing.T) {
	machines := map[string]*machine.Machine{"nothing": {}}
	for _, n := range machinetest.Names(t) {
		machines[n] = machinetest.Machine(t, n)
	}
	for name, m := range machines {
		seen := map[string]int{}
		for _, f := range kexec.Diagnose(m) {
			seen[f.What]++
			if f.Why == "" || f.What == "" || f.State == "" {
				t.Errorf("%s: finding %+v is not complete", name, f)
			}
			if f.State == kexec.Blocked && f.Remedy == "" {
				t.Errorf("%s: finding %+v has no remedy", name, f)
			}
		}
		if len(seen) != 18 {
			t.Errorf("%s: %d subjects, want 18: %v", name, len(seen), seen)
		}
		for what, n := range seen {
			if n != 1 {
				t.Errorf("%s: %d findings about %s, want 1", name, n, what)
			}
		}
	}
	if got := kexec.Worst(kexec.Diagnose(machines["x86-secureboot"])); got != kexec.Blocked {
		t.Errorf("Worst of a locked-down machine = %s, want %s", got, kexec.Blocked)
	}
}

func TestStatusOf(t *testing.T) {
	m := machinetest.Machine(t, "x86-bios")
	s := kexec.StatusOf(m)
	if s.Loaded.Value || !s.Loaded.Known() || s.CrashSize.Value != 128<<20 || len(s.CrashRanges.Value) != 1 {
		t.Errorf("StatusOf = %+v, want nothing loaded and 128 MiB set aside", s)
	}
}
