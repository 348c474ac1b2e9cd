// SPDX-License-Identifier: Apache-2.0

package kexec

import (
	"fmt"
	"strings"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/machine"
)

// State grades a Finding.
type State string

// The grades.
const (
	OK      State = "ok"      // nothing in the way
	Warn    State = "warn"    // works, or works in part, and deserves a look
	Blocked State = "blocked" // kexec, or this way of it, cannot work
	Unknown State = "unknown" // could not be seen
)

// Finding is one line of "peel doctor".
type Finding struct {
	// What names the subject in a few words.
	What  string `json:"what"`
	State State  `json:"state"`
	// Why is what was found and what follows, a sentence without a stop.
	Why string `json:"why"`
	// Remedy says what to do; empty where nothing needs doing.
	Remedy string `json:"remedy,omitempty"`
}

// Subjects of findings, in the order Diagnose returns them.
const (
	SubjectFileLoad   = "kexec_file_load"
	SubjectLoad       = "kexec_load"
	SubjectPrivilege  = "privilege"
	SubjectDisabled   = "kexec_load_disabled"
	SubjectLimit      = "kexec load limits"
	SubjectLockdown   = "lockdown"
	SubjectSecureBoot = "Secure Boot"
	SubjectSignature  = "kernel signature"
	SubjectIMA        = "IMA policy"
	SubjectLoaded     = "loaded kernel"
	SubjectCrash      = "crash kernel"
	SubjectMemory     = "memory map"
	SubjectEFI        = "EFI hand-over"
	SubjectVariables  = "EFI variables"
	SubjectHardware   = "hardware description"
	SubjectGuest      = "confidential guest"
	SubjectManager    = "service manager"
	SubjectTPM        = "TPM"
)

// Diagnose tells why kexec would or would not work on a machine, and what to
// do. It is a pure function of the snapshot. Each subject has one finding.
func Diagnose(m *machine.Machine) []Finding {
	d := diagnosis{m: m}
	d.calls()
	d.privilege()
	d.sysctls()
	d.lockdown()
	d.secureBoot()
	d.signature()
	d.ima()
	d.loaded()
	d.crash()
	d.memory()
	d.efi()
	d.hardware()
	d.guest()
	d.manager()
	d.tpm()
	return d.out
}

type diagnosis struct {
	m   *machine.Machine
	out []Finding
}

func (d *diagnosis) add(what string, s State, why, remedy string) {
	d.out = append(d.out, Finding{What: what, State: s, Why: why, Remedy: remedy})
}

// unseen adds a finding for a fact that is not known.
func (d *diagnosis) unseen(what string, s machine.State, source, why string) {
	if why == "" {
		why = "the machine does not tell"
	}
	text, remedy := source+": "+why, ""
	if s == machine.NotPermitted {
		remedy = "run peel doctor as root"
	}
	d.add(what, Unknown, strings.TrimPrefix(text, ": "), remedy)
}

func (d *diagnosis) calls() {
	m := d.m
	file, segments := m.Kernel.KexecFileLoad, m.Kernel.KexecLoad
	const rebuild = "boot a kernel with CONFIG_KEXEC_FILE or CONFIG_KEXEC"
	switch {
	case !file.Known():
		d.unseen(SubjectFileLoad, file.State, file.Source, file.Why)
	case file.Value:
		d.add(SubjectFileLoad, OK, "the running kernel has it ("+file.Source+")", "")
	case segments.Or(true):
		d.add(SubjectFileLoad, Warn, "the running kernel was built without it ("+file.Source+"); kexec_load remains, which no lockdown allows", "")
	default:
		d.add(SubjectFileLoad, Blocked, "the running kernel was built without kexec ("+file.Source+")", rebuild)
	}

	blocked := segmentsObstacle(m, Wish{})
	switch {
	case segments.Known() && !segments.Value && !file.Or(true):
		d.add(SubjectLoad, Blocked, "the running kernel was built without kexec ("+segments.Source+")", rebuild)
	case segments.Known() && !segments.Value:
		d.add(SubjectLoad, Warn, blocked.why+"; kexec_file_load remains", "")
	case blocked != nil:
		d.add(SubjectLoad, Blocked, blocked.why+"; the run route and plans of one's own end here",
			"use images whose inner kernel is signed by a key that the running kernel trusts: kexec_file_load takes those")
	case !segments.Known():
		d.unseen(SubjectLoad, segments.State, segments.Source, segments.Why)
	default:
		d.add(SubjectLoad, OK, "the running kernel has it ("+segments.Source+")", "")
	}
}

func (d *diagnosis) privilege() {
	c := d.m.Security.CapSysBoot
	switch {
	case !c.Known():
		d.unseen(SubjectPrivilege, c.State, c.Source, c.Why)
	case !c.Value:
		d.add(SubjectPrivilege, Blocked, "this process lacks CAP_SYS_BOOT in the first user namespace",
			"run peel as root, outside of containers and user namespaces")
	case d.m.Security.Seccomp.Or(false):
		d.add(SubjectPrivilege, Warn, "this process has CAP_SYS_BOOT, but a seccomp filter may forbid kexec", "run peel outside of the container or sandbox")
	default:
		d.add(SubjectPrivilege, OK, "this process has CAP_SYS_BOOT", "")
	}
}

func (d *diagnosis) sysctls() {
	k := d.m.Kexec
	switch v := k.LoadDisabled; {
	case !v.Known():
		d.unseen(SubjectDisabled, v.State, v.Source, v.Why)
	case v.Value:
		d.add(SubjectDisabled, Blocked, "kernel.kexec_load_disabled is 1, which lasts until the next boot",
			"find who sets it (sysctl.d, a hardening service), take it out and reboot; a kernel loaded before still starts")
	default:
		d.add(SubjectDisabled, OK, "kernel.kexec_load_disabled is 0", "")
	}

	reboot, crash := k.LimitReboot.Or(-1), k.LimitPanic.Or(-1)
	switch {
	case !k.LimitReboot.Known() && !k.LimitPanic.Known():
		if k.LimitReboot.State == machine.NotPermitted {
			d.unseen(SubjectLimit, k.LimitReboot.State, k.LimitReboot.Source, k.LimitReboot.Why)
			return
		}
		d.add(SubjectLimit, OK, "the running kernel has none", "")
	case reboot == 0:
		d.add(SubjectLimit, Blocked, "kernel.kexec_load_limit_reboot is 0: no load is left until the next boot", "reboot, or raise the limit where it is set at boot")
	case crash == 0:
		d.add(SubjectLimit, Warn, "kernel.kexec_load_limit_panic is 0: no crash kernel can be loaded until the next boot", "")
	case reboot > 0 || crash > 0:
		d.add(SubjectLimit, Warn, fmt.Sprintf("loads left until the next boot: %s for a reboot, %s for a panic", left(reboot), left(crash)), "")
	default:
		d.add(SubjectLimit, OK, "none is set", "")
	}
}

func left(n int64) string {
	if n < 0 {
		return "any number"
	}
	return fmt.Sprint(n)
}

func (d *diagnosis) lockdown() {
	l := d.m.Security.Lockdown
	switch {
	case !l.Known():
		d.unseen(SubjectLockdown, l.State, l.Source, l.Why)
		if mounted := d.m.Security.Securityfs; mounted.Known() && !mounted.Value {
			d.out[len(d.out)-1].Remedy = "mount -t securityfs securityfs /sys/kernel/security"
		}
	case l.Value.Locked():
		d.add(SubjectLockdown, Warn, fmt.Sprintf("the mode is %s: kexec_load is refused, kexec_file_load takes only kernels whose signature the running kernel accepts, "+
			"and nobody but peel checks initrd and command line", l.Value),
			"sign inner kernels (ukify --sign-kernel, peel sign) with a key that the running kernel trusts")
	case l.Value == machine.LockdownAbsent:
		d.add(SubjectLockdown, OK, "the running kernel has no lockdown", "")
	default:
		d.add(SubjectLockdown, OK, "the mode is none", "")
	}
}

func (d *diagnosis) secureBoot() {
	e := &d.m.EFI
	switch sb := e.SecureBoot; {
	case e.Present.Known() && !e.Present.Value:
		d.add(SubjectSecureBoot, OK, "the machine did not boot through EFI, or its kernel runs without EFI services", "")
	case !sb.Known():
		d.unseen(SubjectSecureBoot, sb.State, sb.Source, sb.Why)
		if mounted := e.Mounted; mounted.Known() && !mounted.Value {
			d.out[len(d.out)-1].Remedy = "mount -t efivarfs efivarfs /sys/firmware/efi/efivars"
		}
	case e.SetupMode.Or(false):
		d.add(SubjectSecureBoot, Warn, "it is off: the firmware is in setup mode, without a platform key", "enrol keys, if Secure Boot is wanted")
	case !sb.Value:
		d.add(SubjectSecureBoot, OK, "it is off", "")
	case e.ShimInsecure.Or(false):
		d.add(SubjectSecureBoot, Warn, "it is on, but validation is switched off in shim (MokSBStateRT), so kernels treat it as off", "mokutil --enable-validation")
	default:
		d.add(SubjectSecureBoot, OK, "it is on: peel enforces signatures unless told otherwise", "")
	}
}

func (d *diagnosis) signature() {
	m := d.m
	if has := m.Kernel.KexecFileLoad; has.Known() && !has.Value {
		d.add(SubjectSignature, OK, "the running kernel checks none: it has no kexec_file_load", "")
		return
	}
	const keys = "sign inner kernels with a key of .builtin_trusted_keys, .secondary_trusted_keys, .machine or .platform; " +
		"a distribution's own key arrives there only when shim was part of this boot"
	switch forced := m.KexecSigEnforced(); {
	case !forced.Known() && forced.State == machine.NotPermitted:
		d.unseen(SubjectSignature, forced.State, forced.Source, forced.Why)
	case !forced.Known():
		d.add(SubjectSignature, Unknown, "whether the running kernel demands one is not told ("+forced.Source+": "+forced.Why+")", "")
	case forced.Value && m.Kernel.KexecSig.Known() && !m.Kernel.KexecSig.Value && !m.IMAAppraisesKexec().Or(false):
		d.add(SubjectSignature, Blocked, "the running kernel demands a signature, but was built without CONFIG_KEXEC_SIG and can check none",
			"boot a kernel with CONFIG_KEXEC_SIG, or without lockdown")
	case forced.Value:
		d.add(SubjectSignature, Warn, "kexec_file_load takes only kernels whose signature the running kernel accepts ("+forced.Source+")", keys)
	case m.EFI.SecureBoot.Or(false) && !m.Security.Lockdown.Value.Locked():
		d.add(SubjectSignature, Warn, "Secure Boot is on, yet the running kernel would start an unsigned kernel: neither lockdown nor CONFIG_KEXEC_SIG_FORCE nor an IMA policy forbids it",
			"boot with lockdown=integrity, or set kernel.kexec_load_disabled=1 when all is loaded")
	default:
		d.add(SubjectSignature, OK, "the running kernel demands none", "")
	}
}

func (d *diagnosis) ima() {
	m := d.m
	const remedy = "sign the kernel file with a key of .ima (evmctl ima_sign, or an appended signature); kexec_load is refused"
	switch ima := m.IMAAppraisesKexec(); {
	case ima.Known() && ima.Value:
		d.add(SubjectIMA, Warn, "it demands a signature on the kernel (func=KEXEC_KERNEL_CHECK; "+ima.Source+")", remedy)
	case ima.Known():
		d.add(SubjectIMA, OK, "it has no rule on kernels ("+ima.Source+")", "")
	default:
		d.unseen(SubjectIMA, ima.State, ima.Source, ima.Why)
	}
}

func (d *diagnosis) loaded() {
	switch l := d.m.Kexec.Loaded; {
	case !l.Known():
		d.unseen(SubjectLoaded, l.State, l.Source, l.Why)
	case l.Value:
		d.add(SubjectLoaded, OK, "a kernel is loaded: peel exec starts it, peel unload drops it", "")
	default:
		d.add(SubjectLoaded, OK, "none", "")
	}
}

func (d *diagnosis) crash() {
	k := d.m.Kexec
	const reserve = "boot with crashkernel=256M or more on the command line, if crash dumps are wanted"
	switch {
	case !k.CrashSize.Known():
		d.unseen(SubjectCrash, k.CrashSize.State, k.CrashSize.Source, k.CrashSize.Why)
	case k.CrashSize.Value == 0:
		d.add(SubjectCrash, OK, "no memory is set aside, so load --crash cannot work", reserve)
	case k.CrashLoaded.Or(false):
		d.add(SubjectCrash, OK, fmt.Sprintf("%d MiB are set aside, and a kernel is loaded", k.CrashSize.Value>>20), "")
	default:
		d.add(SubjectCrash, OK, fmt.Sprintf("%d MiB are set aside, and no kernel is loaded", k.CrashSize.Value>>20), "")
	}
}

func (d *diagnosis) memory() {
	mem := &d.m.Memory
	switch {
	case !mem.Usable.Known():
		d.unseen(SubjectMemory, mem.Usable.State, mem.Usable.Source, mem.Usable.Why)
	case len(mem.Usable.Value) == 0:
		d.add(SubjectMemory, Blocked, mem.Usable.Source+" names no usable RAM", "")
	default:
		var n uint64
		for _, r := range mem.Usable.Value {
			n += r.Size()
		}
		why := fmt.Sprintf("%d MiB of RAM in %d ranges are usable", n>>20, len(mem.Usable.Value))
		if n < 1<<30 {
			// A kernel, its initrd and the copy that kexec makes must fit
			// beside all that runs.
			d.add(SubjectMemory, Warn, why+"; kernel and initrd are held twice while they are loaded", "use a small initrd")
			return
		}
		d.add(SubjectMemory, OK, why, "")
	}
}

func (d *diagnosis) efi() {
	e := &d.m.EFI
	if v, ok := e.Present.Get(); ok && !v {
		d.add(SubjectEFI, OK, "the running kernel has no EFI services, so there is nothing to hand over", "")
		d.add(SubjectVariables, OK, "there are none", "")
		return
	}
	x86 := d.m.CPU.Arch.Value == image.ArchX86_64 || d.m.CPU.Arch.Value == image.ArchX86
	switch {
	case !e.Present.Known():
		d.unseen(SubjectEFI, e.Present.State, e.Present.Source, e.Present.Why)
	case !e.SystemTable.Known() || e.SystemTable.Value == 0:
		d.add(SubjectEFI, Warn, "the address of the EFI system table is not told: by kexec_load, the next kernel starts without EFI runtime services", "use kexec_file_load")
	case x86 && !e.RuntimeMap.Known():
		d.add(SubjectEFI, Warn, fmt.Sprintf("%s: %s: by kexec_load, the next kernel starts without EFI runtime services", e.RuntimeMap.Source, e.RuntimeMap.Why),
			"run as root, on a kernel with CONFIG_EFI_RUNTIME_MAP, or use kexec_file_load")
	default:
		d.add(SubjectEFI, OK, fmt.Sprintf("system table at %#x: the next kernel keeps EFI runtime services", e.SystemTable.Value), "")
	}
	switch {
	case e.Mounted.Known() && !e.Mounted.Value:
		d.add(SubjectVariables, Unknown, "efivarfs is not mounted: keys and Secure Boot state cannot be read",
			"mount -t efivarfs efivarfs /sys/firmware/efi/efivars")
	case !e.VariableNames.Known():
		d.unseen(SubjectVariables, e.VariableNames.State, e.VariableNames.Source, e.VariableNames.Why)
	default:
		d.add(SubjectVariables, OK, fmt.Sprintf("%d are there", len(e.VariableNames.Value)), "")
	}
}

func (d *diagnosis) hardware() {
	m := d.m
	acpi := m.ACPI.Present.Or(false)
	switch arch, ok := m.CPU.Arch.Get(); {
	case !ok:
		d.unseen(SubjectHardware, m.CPU.Arch.State, m.CPU.Arch.Source, m.CPU.Arch.Why)
	case arch == image.ArchX86_64 || arch == image.ArchX86:
		switch {
		case !m.BootParams.Data.Known():
			d.add(SubjectHardware, Warn, "boot_params of the running kernel are not readable ("+m.BootParams.Data.Why+"): plans of one's own lack screen and EFI facts", "")
		case acpi && m.EFI.Present.Or(false) && !m.ACPI.RSDP.Known():
			d.add(SubjectHardware, Warn, "the address of the ACPI tables is not told: by kexec_load, the next kernel may find no ACPI", "run as root, or use kexec_file_load")
		default:
			d.add(SubjectHardware, OK, "boot_params are there", "")
		}
	case m.FDT.Known() && acpi:
		d.add(SubjectHardware, OK, "ACPI, with a device tree that only carries the hand-over", "")
	case m.FDT.Known():
		d.add(SubjectHardware, OK, fmt.Sprintf("device tree of %d bytes", len(m.FDT.Value)), "")
	default:
		d.add(SubjectHardware, Warn, "the device tree is not readable ("+m.FDT.Why+"), which kexec_load needs on "+string(arch), "run as root, or give one by --dtb")
	}
}

func (d *diagnosis) guest() {
	switch c := d.m.Confidential; {
	case !c.Known():
		d.unseen(SubjectGuest, c.State, c.Source, c.Why)
	case c.Value == machine.ConfidentialNone:
		d.add(SubjectGuest, OK, "this machine shows no sign of being one", "")
	default:
		d.add(SubjectGuest, Warn, fmt.Sprintf("this machine is one (%s): memory must be accepted and encrypted as before, which only recent kernels manage across kexec; the run route does not work", c.Value),
			"use kexec_file_load on a recent kernel")
	}
}

func (d *diagnosis) manager() {
	switch s := d.m.Systemd; {
	case !s.Known():
		d.unseen(SubjectManager, s.State, s.Source, s.Why)
	case s.Value:
		d.add(SubjectManager, OK, "systemd runs: peel exec goes through kexec.target", "")
	default:
		d.add(SubjectManager, OK, "systemd does not run: peel exec starts the kernel at once, without unmounting anything", "stop services and unmount before peel exec")
	}
}

func (d *diagnosis) tpm() {
	switch t := d.m.TPM.Present; {
	case !t.Known():
		d.unseen(SubjectTPM, t.State, t.Source, t.Why)
	case t.Value:
		d.add(SubjectTPM, Warn, "there is one: PCRs keep their values across kexec, so secrets sealed to the values of a boot through firmware may not open",
			"see peel measure")
	default:
		d.add(SubjectTPM, OK, "there is none", "")
	}
}

// Worst returns the gravest state among findings.
func Worst(findings []Finding) State {
	rank := map[State]int{OK: 0, Unknown: 1, Warn: 2, Blocked: 3}
	worst := OK
	for _, f := range findings {
		if rank[f.State] > rank[worst] {
			worst = f.State
		}
	}
	return worst
}
