// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kexec

import (
	"fmt"
	"strings"

	"github.com/peelboot/peel/internal/unix"
	"github.com/peelboot/peel/machine"
)

// System calls, as they are told.
const (
	callFileLoad = "kexec_file_load"
	callLoad     = "kexec_load"
	callReboot   = "reboot"
)

// attempt is what failed.
type attempt struct {
	call    string
	crash   bool
	unload  bool
	cmdline int // bytes of the command line
}

// explanation is what explain finds.
type explanation struct {
	cause, remedy string
	kind          error
}

// Explain returns what an errno of kexec_file_load, kexec_load or reboot most
// likely means on this machine. It is what the methods of Client return.
func Explain(call string, crash bool, errno unix.Errno, m *machine.Machine) *Error {
	return explain(attempt{call: call, crash: crash}, errno, m)
}

func explain(a attempt, errno unix.Errno, m *machine.Machine) *Error {
	var x explanation
	if a.call == callReboot {
		x = explainReboot(errno, m)
	} else {
		x = explainLoad(a, errno, m)
	}
	if x.cause == "" {
		x = explanation{cause: "the running kernel gives no reason that is known here", remedy: "see what it logged: dmesg"}
	}
	return &Error{Call: a.call, Errno: errno, Cause: x.cause, Remedy: x.remedy, Kind: x.kind}
}

func explainReboot(errno unix.Errno, m *machine.Machine) explanation {
	switch errno {
	case unix.EPERM:
		return permission(attempt{call: callReboot}, m)
	case unix.EINVAL:
		return explanation{"no kernel is loaded, or this process lives in a PID namespace of its own",
			"load a kernel first; in a container, run it on the host", ErrNotLoaded}
	case unix.EBUSY:
		return busy()
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return explanation{"the running kernel was built without kexec", "boot a kernel with CONFIG_KEXEC or CONFIG_KEXEC_FILE", ErrUnsupported}
	}
	return explanation{}
}

func busy() explanation {
	return explanation{"another kexec operation is under way, or a processor could not be stopped",
		"try again when it is over", ErrBusy}
}

const (
	remedyKeys = "sign the inner kernel with a key the running kernel trusts (.builtin_trusted_keys, .secondary_trusted_keys, " +
		".machine or .platform; keys of db and, through shim, MOK get there)"
	remedyFile = "use kexec_file_load with a kernel signed by a key that the running kernel trusts"
)

func explainLoad(a attempt, errno unix.Errno, m *machine.Machine) explanation {
	switch errno {
	case unix.EPERM:
		return permission(a, m)
	case unix.EACCES:
		return access(a, m)
	case unix.ENOSYS:
		return missing(a, m)
	case unix.ENOEXEC:
		return explanation{"the running kernel knows no loader for this kind of image, or the kernel is for another architecture or boot protocol",
			"a UKI or a zboot image has to be taken apart first; give it to peel load rather than to the kernel", ErrFormat}
	case unix.ENODATA:
		return explanation{"the running kernel demands a signature and this kernel carries none", remedyKeys, ErrRejected}
	case unix.ENOKEY:
		return explanation{"the kernel is signed, but by a key that none of the running kernel's keyrings holds",
			remedyKeys + "; a distribution's own key arrives only when shim was part of this boot", ErrRejected}
	case unix.EKEYREJECTED:
		return explanation{"the signature does not fit the kernel, its key or hash is on the blacklist (dbx), or this kind of image cannot carry one",
			"sign the unchanged kernel anew, as PE image where the architecture has that", ErrRejected}
	case unix.EKEYEXPIRED, unix.EKEYREVOKED:
		return explanation{"the key that signed the kernel is expired or revoked in the running kernel's keyring", remedyKeys, ErrRejected}
	case unix.ENOPKG:
		return explanation{"the running kernel was built without the hash or public key algorithm of the signature",
			"sign with SHA-256 and RSA", ErrRejected}
	case unix.EBADMSG, unix.ELIBBAD:
		return explanation{"the signature or the PE header around it is malformed", "sign the kernel anew", ErrRejected}
	case unix.EBUSY:
		return busy()
	case unix.EADDRNOTAVAIL:
		return noRoom(a, m)
	case unix.ENOMEM:
		return explanation{"the running kernel has no memory left to hold the new one and its initrd",
			"free memory, or use a smaller initrd" + memoryTotal(m), ErrNoMemory}
	case unix.EINVAL:
		return invalid(a, m)
	case unix.E2BIG:
		return explanation{fmt.Sprintf("the command line of %d bytes is too long", a.cmdline), "shorten it", ErrInvalid}
	case unix.EFBIG:
		return explanation{"kernel or initrd is larger than the running kernel reads", "use a smaller initrd", ErrInvalid}
	case unix.ETXTBSY:
		return explanation{"kernel or initrd is open for writing elsewhere", "give a file that nobody writes to", ErrBusy}
	case unix.EBADF:
		return explanation{"kernel or initrd is not open for reading", "", ErrInvalid}
	case unix.EFAULT:
		return explanation{"a segment's memory could not be read: a file shrank while it was mapped", "", ErrInvalid}
	case unix.EOPNOTSUPP:
		return explanation{"the running kernel refuses kexec on this platform, as TDX hosts with a known erratum and some confidential guests do",
			"see what it logged: dmesg", ErrUnsupported}
	case unix.ENOENT:
		return explanation{"the running kernel misses a part of its own, such as a symbol of its purgatory or a node of its device tree",
			"see what it logged: dmesg; kexec_load may do", ErrUnsupported}
	case unix.EIO:
		return explanation{"kernel or initrd could not be read to its end", "", nil}
	}
	return explanation{}
}

// permission explains EPERM, surest cause first.
func permission(a attempt, m *machine.Machine) explanation {
	if v, ok := m.Security.CapSysBoot.Get(); ok && !v {
		return explanation{"this process lacks CAP_SYS_BOOT in the first user namespace",
			"run it as root, outside of containers and user namespaces", ErrNotPermitted}
	}
	if a.call == callReboot {
		return explanation{"a seccomp filter or a security module forbids it", "run it outside of the container or sandbox", ErrNotPermitted}
	}
	if v, ok := m.Kexec.LoadDisabled.Get(); ok && v {
		return explanation{"kernel.kexec_load_disabled is 1, which lasts until the next boot",
			"find who sets it (sysctl.d, a hardening service), take it out and reboot", ErrNotPermitted}
	}
	limit, name := m.Kexec.LimitReboot, "kernel.kexec_load_limit_reboot"
	if a.crash {
		limit, name = m.Kexec.LimitPanic, "kernel.kexec_load_limit_panic"
	}
	if v, ok := limit.Get(); ok && v == 0 {
		return explanation{name + " is 0: no load is left until the next boot", "reboot, or raise the limit where it is set at boot", ErrNotPermitted}
	}
	lock := m.Security.Lockdown
	switch {
	case lock.Known() && lock.Value.Locked() && a.call == callLoad:
		return explanation{fmt.Sprintf("the kernel is locked down (%s) and refuses kexec_load in all cases", lock.Value), remedyFile, ErrNotPermitted}
	case lock.Known() && lock.Value.Locked() && a.unload:
		return explanation{fmt.Sprintf("the kernel is locked down (%s)", lock.Value), "reboot", ErrNotPermitted}
	case lock.Known() && lock.Value.Locked():
		return explanation{fmt.Sprintf("the kernel is locked down (%s) and does not accept the signature of this kernel, or finds none", lock.Value),
			remedyKeys, ErrRejected}
	case !lock.Known():
		return explanation{"the kernel may be locked down, which could not be seen: " + lock.Why,
			"mount securityfs and look at /sys/kernel/security/lockdown; under lockdown only signed kernels load", ErrNotPermitted}
	}
	return module(m)
}

// module explains what remains: a security module or filter.
func module(m *machine.Machine) explanation {
	cause := "a security module or a seccomp filter forbids it"
	if v, ok := m.Security.LSM.Get(); ok {
		cause += " (active: " + strings.Join(v, ", ") + ")"
	}
	return explanation{cause, "look into the audit log: ausearch -m avc, or dmesg", ErrNotPermitted}
}

// access explains EACCES, which IMA and the mandatory access control modules
// return.
func access(a attempt, m *machine.Machine) explanation {
	ima := m.IMAAppraisesKexec()
	if a.call == callLoad && (ima.Or(true) || m.IMARefusesKexecLoad().Or(false)) {
		return explanation{"IMA demands a signature on the kernel and cannot check one in kexec_load", remedyFile, ErrNotPermitted}
	}
	if ima.Or(false) {
		return explanation{"IMA demands a signature on the kernel file (func=KEXEC_KERNEL_CHECK) and does not accept it",
			"sign it with a key of .ima: evmctl ima_sign, or as an appended signature", ErrRejected}
	}
	x := module(m)
	x.cause += ", or an IMA policy that is not readable does"
	return x
}

func missing(a attempt, m *machine.Machine) explanation {
	other, option, has := callLoad, "CONFIG_KEXEC_FILE", m.Kernel.KexecLoad
	if a.call == callLoad {
		other, option, has = callFileLoad, "CONFIG_KEXEC", m.Kernel.KexecFileLoad
	}
	if has.Or(true) {
		return explanation{fmt.Sprintf("the running kernel was built without %s (%s)", a.call, option),
			"use " + other + " (--syscall)", ErrUnsupported}
	}
	return explanation{"the running kernel was built without kexec", "boot a kernel with CONFIG_KEXEC or CONFIG_KEXEC_FILE", ErrUnsupported}
}

func noRoom(a attempt, m *machine.Machine) explanation {
	size := m.Kexec.CrashSize
	switch {
	case a.crash && size.Known() && size.Value == 0:
		return explanation{"no memory is set aside for a crash kernel",
			"boot with crashkernel=256M or more on the command line", ErrNoMemory}
	case a.crash && size.Known():
		return explanation{fmt.Sprintf("kernel and initrd do not fit into the %d MiB set aside for a crash kernel", size.Value>>20),
			"use a smaller initrd, or boot with a larger crashkernel=", ErrNoMemory}
	case a.crash:
		return explanation{"the memory set aside for a crash kernel is missing or too small", "boot with a larger crashkernel=", ErrNoMemory}
	case a.call == callLoad:
		return explanation{"a segment lies outside of RAM, is not aligned to pages, or ends above what the processor addresses",
			"the plan does not fit this machine: see peel plan", ErrInvalid}
	}
	return explanation{"the running kernel found no gap in memory that is large enough",
		"use a smaller initrd" + memoryTotal(m), ErrNoMemory}
}

// limitCmdline is what x86 kernels take without saying otherwise.
const limitCmdline = 2047

func invalid(a attempt, m *machine.Machine) explanation {
	switch {
	case a.call == callLoad:
		return explanation{"segments overlap, exceed half of the memory, or carry an architecture or flag unknown to the running kernel",
			"see peel plan" + memoryTotal(m), ErrInvalid}
	case a.cmdline > limitCmdline:
		return explanation{fmt.Sprintf("the command line of %d bytes is likely longer than the kernel takes (%d on x86)", a.cmdline, limitCmdline),
			"shorten it", ErrInvalid}
	case a.crash && m.Kexec.CrashSize.Known() && m.Kexec.CrashSize.Value == 0:
		return noRoom(a, m)
	}
	return explanation{"the running kernel finds the kernel image malformed, a file empty, or a flag unknown",
		"see what it logged: dmesg", ErrInvalid}
}

func memoryTotal(m *machine.Machine) string {
	n := m.Memory.Total()
	if !n.Known() {
		return ""
	}
	return fmt.Sprintf("; this machine has %d MiB", n.Value>>20)
}
