// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strconv"
	"strings"
)

// Lockdown is the mode of the lockdown LSM.
type Lockdown string

// The modes, weakest first. Absent means that the kernel has no lockdown.
const (
	LockdownAbsent          Lockdown = "absent"
	LockdownNone            Lockdown = "none"
	LockdownIntegrity       Lockdown = "integrity"
	LockdownConfidentiality Lockdown = "confidentiality"
)

// Locked reports whether the mode forbids loading what is not signed.
func (l Lockdown) Locked() bool {
	return l == LockdownIntegrity || l == LockdownConfidentiality
}

// Security is what decides over rights.
type Security struct {
	// Lockdown is the mode of the lockdown LSM.
	Lockdown Fact[Lockdown] `json:"lockdown"`
	// LSM lists the active security modules in order.
	LSM Fact[[]string] `json:"lsm"`
	// IMAPolicy holds the rules of IMA, where the kernel shows them.
	IMAPolicy Fact[[]string] `json:"ima_policy"`
	// Securityfs tells whether securityfs is mounted.
	Securityfs Fact[bool] `json:"securityfs"`
	// CapSysBoot tells whether this process has CAP_SYS_BOOT in the first
	// user namespace, which loading and starting a kernel take.
	CapSysBoot Fact[bool] `json:"cap_sys_boot"`
	// Seccomp tells whether a filter over system calls is on this process.
	Seccomp Fact[bool] `json:"seccomp"`
}

// Capabilities (uapi/linux/capability.h).
const (
	capDACOverride = 1
	capSysBoot     = 22
)

func readSecurity(s *snapshot, k *Kernel) Security {
	const dir = "sys/kernel/security"
	var c Security
	names, f := s.list(dir)
	switch {
	case f.state != Known:
		c.Securityfs = lost[bool](f)
	default:
		c.Securityfs = KnownFact(len(names) > 0, f.path)
	}
	for _, n := range names {
		s.mark(dir+"/"+n, n == "ima" || n == "integrity" || strings.HasPrefix(n, "tpm"))
	}
	c.LSM = parsed(s.read(dir+"/lsm", 4096), func(b []byte) ([]string, error) {
		return strings.Split(strings.TrimSpace(string(b)), ","), nil
	})
	c.Lockdown = parsed(s.read(dir+"/lockdown", 4096), ParseLockdown)
	if !c.Lockdown.Known() && c.Lockdown.State == Unknown {
		switch lockdown := k.option("SECURITY_LOCKDOWN_LSM"); {
		case lockdown.Known() && !lockdown.Value:
			c.Lockdown = KnownFact(LockdownAbsent, lockdown.Source)
		case c.Securityfs.Or(false):
			// A kernel with the module active always makes the file.
			c.Lockdown = KnownFact(LockdownAbsent, c.Securityfs.Source)
		default:
			c.Lockdown.Why = "securityfs is not mounted on /" + dir
			if v, ok := k.Option("lockdown"); ok {
				c.Lockdown.Why += "; the command line asks for lockdown=" + v
			}
		}
	}
	c.IMAPolicy = parsed(s.read(dir+"/ima/policy", limitFile), func(b []byte) ([]string, error) {
		var rules []string
		for _, line := range strings.Split(string(b), "\n") {
			if line = strings.TrimSpace(line); line != "" {
				rules = append(rules, line)
			}
		}
		return rules, nil
	})

	status := s.readFiltered("proc/self/status", limitFile, keepLines(func(line []byte) bool {
		l := string(line)
		return strings.HasPrefix(l, "CapEff:") || strings.HasPrefix(l, "Seccomp:")
	}))
	uidMap := s.read("proc/self/uid_map", limitFile)
	c.CapSysBoot = parsed(status, func(b []byte) (bool, error) {
		v, err := statusField(b, "CapEff", 16)
		return v&(1<<capSysBoot) != 0 && (uidMap.state != Known || initialNamespace(uidMap.data)), err
	})
	if c.IMAPolicy.State == NotPermitted {
		// The kernel refuses even root when it was built so.
		caps := parsed(status, func(b []byte) (uint64, error) { return statusField(b, "CapEff", 16) })
		if caps.Value&(1<<capDACOverride) != 0 {
			c.IMAPolicy.State = Unknown
			c.IMAPolicy.Why = "the kernel shows its policy to nobody (CONFIG_IMA_READ_POLICY is not set)"
		}
	}
	c.Seccomp = parsed(status, func(b []byte) (bool, error) {
		v, err := statusField(b, "Seccomp", 10)
		return v != 0, err
	})
	return c
}

// initialNamespace tells whether a uid_map is that of the first user
// namespace, which maps all users to themselves.
func initialNamespace(b []byte) bool {
	f := strings.Fields(string(b))
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

func statusField(b []byte, name string, base int) (uint64, error) {
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			v, err := strconv.ParseUint(strings.TrimSpace(rest), base, 64)
			if err != nil {
				return 0, fmt.Errorf("%w: %s: %.40q", ErrMalformed, name, rest)
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: no line %s", ErrMalformed, name)
}

// ParseLockdown reads /sys/kernel/security/lockdown, where the active mode
// stands in brackets: "none [integrity] confidentiality".
func ParseLockdown(b []byte) (Lockdown, error) {
	for _, word := range strings.Fields(string(b)) {
		if in, ok := strings.CutPrefix(word, "["); ok {
			switch l := Lockdown(strings.TrimSuffix(in, "]")); l {
			case LockdownNone, LockdownIntegrity, LockdownConfidentiality:
				return l, nil
			}
		}
	}
	return "", fmt.Errorf("%w: lockdown %.80q", ErrMalformed, b)
}

// IMAAppraisesKexec tells whether IMA demands a signature on the kernel that
// kexec_file_load reads, and therefore refuses kexec_load. It follows from
// the policy where that is readable, and else from the rules that a kernel
// with CONFIG_IMA_ARCH_POLICY adds under Secure Boot, or that ima_policy=
// names.
func (m *Machine) IMAAppraisesKexec() Fact[bool] {
	if rules, ok := m.Security.IMAPolicy.Get(); ok {
		for _, r := range rules {
			if strings.HasPrefix(r, "appraise ") && strings.Contains(r, "func=KEXEC_KERNEL_CHECK") {
				return KnownFact(true, m.Security.IMAPolicy.Source)
			}
		}
		return KnownFact(false, m.Security.IMAPolicy.Source)
	}
	if v, ok := m.Kernel.Option("ima_policy"); ok && strings.Contains(v, "secure_boot") {
		return KnownFact(true, m.Kernel.Cmdline.Source)
	}
	ima := m.Kernel.option("IMA_APPRAISE")
	if ima.Known() && !ima.Value {
		return KnownFact(false, ima.Source)
	}
	arch, sb := m.Kernel.IMAArchPolicy, m.EFI.SecureBoot
	switch {
	case arch.Known() && sb.Known() && arch.Value && sb.Value:
		// x86 and arm64: with CONFIG_KEXEC_SIG the rule is left out and
		// kexec's own check is enforced instead.
		if sig := m.Kernel.KexecSig; sig.Known() {
			return KnownFact(!sig.Value, arch.Source)
		}
	case m.EFI.Present.Known() && !m.EFI.Present.Value, sb.Known() && !sb.Value:
		// Left: a policy that user space loaded and the kernel hides.
		return Fact[bool]{State: m.Security.IMAPolicy.State, Source: m.Security.IMAPolicy.Source,
			Why: "only a policy loaded by user space could demand it, and none is readable"}
	}
	return Fact[bool]{State: m.Security.IMAPolicy.State, Source: m.Security.IMAPolicy.Source, Why: m.Security.IMAPolicy.Why}
}

// IMARefusesKexecLoad tells whether IMA refuses kexec_load altogether, with
// EACCES: it does so when a rule appraises kernels, which takes a file, and
// under Secure Boot on a kernel with CONFIG_IMA_ARCH_POLICY and
// CONFIG_KEXEC_SIG (security/integrity/ima: ima_load_data).
func (m *Machine) IMARefusesKexecLoad() Fact[bool] {
	arch, sb, sig := m.Kernel.IMAArchPolicy, m.EFI.SecureBoot, m.Kernel.KexecSig
	if arch.Known() && sb.Known() && sig.Known() && arch.Value && sb.Value && sig.Value {
		return KnownFact(true, arch.Source)
	}
	return m.IMAAppraisesKexec()
}

// KexecSigEnforced tells whether kexec_file_load demands a signature that the
// kernel's keyrings know: by configuration, by lockdown, or because the IMA
// architecture policy switched it on under Secure Boot.
func (m *Machine) KexecSigEnforced() Fact[bool] {
	if f := m.Kernel.KexecSigForce; f.Known() && f.Value {
		return f
	}
	if l := m.Security.Lockdown; l.Known() && l.Value.Locked() {
		return KnownFact(true, l.Source)
	}
	sig, arch, sb := m.Kernel.KexecSig, m.Kernel.IMAArchPolicy, m.EFI.SecureBoot
	if sig.Known() && sig.Value && arch.Known() && arch.Value && sb.Known() && sb.Value {
		return KnownFact(true, arch.Source)
	}
	if !m.Security.Lockdown.Known() {
		return Fact[bool]{State: m.Security.Lockdown.State, Source: m.Security.Lockdown.Source, Why: m.Security.Lockdown.Why}
	}
	if sb.Known() && !sb.Value {
		if f := m.Kernel.KexecSigForce; f.Known() {
			return KnownFact(false, f.Source)
		}
	}
	if f := m.Kernel.KexecSigForce; !f.Known() {
		return f
	}
	if !arch.Known() || !sb.Known() {
		return unknownFact[bool](arch.Source, "whether the IMA architecture policy is on cannot be seen")
	}
	return KnownFact(false, m.Kernel.KexecSigForce.Source)
}
