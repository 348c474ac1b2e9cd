// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Kernel is what the running kernel tells of itself and of how it was built.
type Kernel struct {
	// Release is uname -r.
	Release Fact[string] `json:"release"`
	// Cmdline is the command line the kernel was started with.
	Cmdline Fact[string] `json:"cmdline"`
	// Config holds the options of interest: "y", "m", a value, or "n" for
	// one that the file says is not set or does not name. From
	// /proc/config.gz or /boot/config-RELEASE.
	Config Fact[map[string]string] `json:"config"`
	// Symbols maps kernel functions of interest to their letter in
	// /proc/kallsyms: 't' or 'T' where the code is there, 'w' or 'W' where
	// only the placeholder of a missing system call is. Read only when
	// Config is not known, for it is a long file.
	Symbols Fact[map[string]string] `json:"symbols"`

	// KexecLoad and KexecFileLoad tell whether the kernel has these system
	// calls.
	KexecLoad     Fact[bool] `json:"kexec_load"`
	KexecFileLoad Fact[bool] `json:"kexec_file_load"`
	// KexecSig tells whether kexec_file_load looks at signatures
	// (CONFIG_KEXEC_SIG), KexecSigForce whether it demands one in all cases.
	KexecSig      Fact[bool] `json:"kexec_sig"`
	KexecSigForce Fact[bool] `json:"kexec_sig_force"`
	// IMAArchPolicy tells whether the kernel turns on an IMA policy of its
	// own when Secure Boot is on (CONFIG_IMA_ARCH_POLICY).
	IMAArchPolicy Fact[bool] `json:"ima_arch_policy"`
}

// configOptions are kept of a kernel configuration.
var configOptions = []string{
	"BPF_SYSCALL", "CRASH_DUMP", "EFI", "EFI_RUNTIME_MAP", "EFI_STUB", "EFI_ZBOOT", "IMA",
	"IMA_APPRAISE", "IMA_ARCH_POLICY", "IMA_KEXEC", "IMA_READ_POLICY", "IMA_SECURE_AND_OR_TRUSTED_BOOT",
	"INTEGRITY_MACHINE_KEYRING", "INTEGRITY_PLATFORM_KEYRING", "KEXEC", "KEXEC_BZIMAGE_VERIFY_SIG",
	"KEXEC_CORE", "KEXEC_FILE", "KEXEC_HANDOVER", "KEXEC_IMAGE_VERIFY_SIG", "KEXEC_SIG",
	"KEXEC_SIG_FORCE", "LOCK_DOWN_IN_EFI_SECURE_BOOT", "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
	"LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "PROC_KCORE", "RANDOMIZE_BASE", "RELOCATABLE",
	"SECONDARY_TRUSTED_KEYRING", "SECURITY_LOCKDOWN_LSM", "X86_5LEVEL",
}

// keepSymbol tells which names of /proc/kallsyms are of interest.
func keepSymbol(name string) bool {
	switch name {
	case "kernel_kexec", "set_kexec_sig_enforced", "is_kexec_sig_enforced", "kexec_kernel_verify_pe_sig",
		"kexec_add_buffer", "arch_get_ima_policy", "security_locked_down", "ima_appraise_measurement":
		return true
	}
	// __x64_sys_kexec_load, __arm64_sys_kexec_load, sys_kexec_load …
	prefix, call, ok := strings.Cut(name, "sys_kexec_")
	if !ok || (call != "load" && call != "file_load") {
		return false
	}
	switch prefix {
	case "", "__x64_", "__arm64_", "__riscv_", "__se_", "__do_", "__loongarch_", "__powerpc_", "__s390x_":
		return true
	}
	return false
}

func readKernel(s *snapshot) Kernel {
	var k Kernel
	k.Release = parsed(s.read("proc/sys/kernel/osrelease", 4096), func(b []byte) (string, error) {
		r := strings.TrimSpace(string(b))
		if r == "" || strings.ContainsAny(r, "/\x00 ") {
			return "", fmt.Errorf("%w: kernel release %.80q", ErrMalformed, r)
		}
		return r, nil
	})
	k.Cmdline = parsed(s.read("proc/cmdline", limitFile), func(b []byte) (string, error) {
		return strings.TrimRight(string(b), "\n\x00"), nil
	})
	k.Config = readConfig(s, k.Release)
	if !k.Config.Known() {
		k.Symbols = readSymbols(s)
	} else {
		k.Symbols = unknownFact[map[string]string]("/proc/kallsyms", "not read: the configuration is known")
	}

	k.KexecLoad = k.has("KEXEC", "kexec_load")
	k.KexecFileLoad = k.has("KEXEC_FILE", "kexec_file_load")
	k.KexecSig = k.option("KEXEC_SIG")
	k.KexecSigForce = k.option("KEXEC_SIG_FORCE")
	k.IMAArchPolicy = k.option("IMA_ARCH_POLICY")
	if syms, ok := k.Symbols.Get(); ok {
		// The symbol is there exactly when the option is.
		if k.KexecFileLoad.Known() {
			_, sig := syms["set_kexec_sig_enforced"]
			k.KexecSig = KnownFact(sig, k.Symbols.Source)
			if !sig {
				k.KexecSigForce = KnownFact(false, k.Symbols.Source)
			}
		}
		if _, ok := syms["arch_get_ima_policy"]; ok {
			// With the option off this is an inline function and has none.
			k.IMAArchPolicy = KnownFact(true, k.Symbols.Source)
		}
	}
	return k
}

// option returns whether a configuration option is set.
func (k *Kernel) option(name string) Fact[bool] {
	c := k.Config
	if !c.Known() {
		return Fact[bool]{State: c.State, Source: c.Source, Why: c.Why}
	}
	return KnownFact(c.Value[name] == "y" || c.Value[name] == "m", c.Source)
}

// has tells whether a system call is there, by option or by symbol.
func (k *Kernel) has(option, call string) Fact[bool] {
	if k.Config.Known() {
		return k.option(option)
	}
	syms, ok := k.Symbols.Get()
	if !ok {
		return Fact[bool]{State: k.Symbols.State, Source: k.Symbols.Source, Why: k.Symbols.Why}
	}
	weak := false
	for name, letter := range syms {
		if strings.HasSuffix(name, "sys_"+call) {
			if letter == "T" || letter == "t" {
				return KnownFact(true, k.Symbols.Source)
			}
			weak = true
		}
	}
	if weak {
		return KnownFact(false, k.Symbols.Source)
	}
	return unknownFact[bool](k.Symbols.Source, "no symbol of %s, not even a placeholder", call)
}

func readConfig(s *snapshot, release Fact[string]) Fact[map[string]string] {
	f := s.readFiltered("proc/config.gz", limitConfig, filterConfigGz)
	if f.state == Known {
		return parsed(f, func(b []byte) (map[string]string, error) {
			text, err := gunzip(b)
			if err != nil {
				return nil, err
			}
			return ParseConfig(text)
		})
	}
	r, ok := release.Get()
	if !ok {
		return lost[map[string]string](f)
	}
	for _, path := range []string{"boot/config-" + r, "usr/lib/modules/" + r + "/config", "lib/modules/" + r + "/config"} {
		g := s.readFiltered(path, limitConfig, keepLines(keepConfigLine))
		if g.state == Known {
			return parsed(g, ParseConfig)
		}
		if f.state == Unknown && g.why != whyAbsent {
			f = g
		}
	}
	if f.state == Unknown && f.why == whyAbsent {
		f.why = "no such file, and no /boot/config-" + r + " either"
	}
	return lost[map[string]string](f)
}

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	text, err := io.ReadAll(io.LimitReader(z, limitConfig+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if len(text) > limitConfig {
		return nil, fmt.Errorf("%w: configuration exceeds %d bytes", ErrLimit, limitConfig)
	}
	return text, nil
}

// filterConfigGz keeps the options of interest, compressed again: a file of
// that name has to stay a gzip file. The output is a fixed point.
func filterConfigGz(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text, err := gunzip(b)
	if err != nil {
		return nil, err
	}
	kept, err := keepLines(keepConfigLine)(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err = z.Write(kept)
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// configLine splits "CONFIG_X=y" and "# CONFIG_X is not set".
func configLine(line string) (name, value string, ok bool) {
	if rest, found := strings.CutPrefix(line, "# CONFIG_"); found {
		name, found = strings.CutSuffix(rest, " is not set")
		return name, "n", found
	}
	rest, found := strings.CutPrefix(line, "CONFIG_")
	if !found {
		return "", "", false
	}
	return strings.Cut(rest, "=")
}

func keepConfigLine(line []byte) bool {
	name, _, ok := configLine(string(line))
	_, want := slices.BinarySearch(configOptions, name)
	return ok && want
}

// ParseConfig reads the options of interest out of a kernel configuration. A
// text that names none of them is malformed.
func ParseConfig(b []byte) (map[string]string, error) {
	out := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		if name, value, ok := configLine(line); ok {
			if _, want := slices.BinarySearch(configOptions, name); want {
				out[name] = value
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no kernel configuration", ErrMalformed)
	}
	for _, name := range configOptions {
		if _, ok := out[name]; !ok {
			out[name] = "n"
		}
	}
	return out, nil
}

func readSymbols(s *snapshot) Fact[map[string]string] {
	f := s.readFiltered("proc/kallsyms", limitSymbols, func(r io.Reader) ([]byte, error) {
		var out bytes.Buffer
		err := eachLine(r, func(line []byte) bool {
			// Address, letter, name, and "[module]" for modules.
			fields := bytes.Fields(line)
			if len(fields) == 3 && keepSymbol(string(fields[2])) {
				// The address is a secret of the kernel; nobody needs it.
				fmt.Fprintf(&out, "0 %s %s\n", fields[1], fields[2])
			}
			return true
		})
		return out.Bytes(), err
	})
	return parsed(f, func(b []byte) (map[string]string, error) {
		out := map[string]string{}
		for _, line := range strings.Split(string(b), "\n") {
			if fields := strings.Fields(line); len(fields) == 3 {
				// A strong definition beats a weak one of the same name.
				if old := out[fields[2]]; old != "T" && old != "t" {
					out[fields[2]] = fields[1]
				}
			}
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%w: none of the symbols looked for", ErrMalformed)
		}
		return out, nil
	})
}

// Option returns the value of a parameter of the running kernel's command
// line: the last "name=value", or "" for a bare "name". Quotes are taken off.
func (k *Kernel) Option(name string) (value string, ok bool) {
	for _, word := range cmdlineWords(k.Cmdline.Value) {
		if word == "--" {
			break // the rest is for init
		}
		n, v, _ := strings.Cut(word, "=")
		if n == name {
			value, ok = v, true
		}
	}
	return value, ok
}

// cmdlineWords splits a command line as the kernel does: at white space
// outside double quotes, which are dropped.
func cmdlineWords(s string) []string {
	var words []string
	var word strings.Builder
	quoted, some := false, false
	flush := func() {
		if some {
			words = append(words, word.String())
		}
		word.Reset()
		some = false
	}
	for _, r := range s {
		switch {
		case r == '"':
			quoted, some = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			flush()
		default:
			word.WriteRune(r)
			some = true
		}
	}
	flush()
	return words
}
