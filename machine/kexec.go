// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
)

// Kexec is the state of kexec in the running kernel.
type Kexec struct {
	// Loaded and CrashLoaded tell whether a kernel is loaded for a reboot,
	// and one for a panic.
	Loaded      Fact[bool] `json:"loaded"`
	CrashLoaded Fact[bool] `json:"crash_loaded"`
	// CrashSize is the memory set aside for a crash kernel, in bytes.
	CrashSize Fact[uint64] `json:"crash_size"`
	// LoadDisabled tells whether kernel.kexec_load_disabled is set, which
	// stays until the next boot.
	LoadDisabled Fact[bool] `json:"load_disabled"`
	// LimitReboot and LimitPanic are how many loads are still allowed, -1
	// for no limit (kernel.kexec_load_limit_*, Linux 6.3).
	LimitReboot Fact[int64] `json:"limit_reboot"`
	LimitPanic  Fact[int64] `json:"limit_panic"`
	// VMCoreInfo holds physical address and size, both in bytes, of the note
	// that a crash kernel's core needs.
	VMCoreInfo Fact[Range] `json:"vmcoreinfo"`
}

func readKexec(s *snapshot) Kexec {
	var k Kexec
	// Newer kernels keep the files in a directory of their own; the old
	// names are links to it.
	read := func(name, old string) file {
		f := s.read("sys/kernel/"+old, 4096)
		if f.state == Unknown && f.why == whyAbsent {
			if g := s.read("sys/kernel/kexec/"+name, 4096); g.why != whyAbsent {
				return g
			}
		}
		return f
	}
	k.Loaded = parsed(read("loaded", "kexec_loaded"), parseBool)
	k.CrashLoaded = parsed(read("crash_loaded", "kexec_crash_loaded"), parseBool)
	k.CrashSize = parsed(read("crash_size", "kexec_crash_size"), func(b []byte) (uint64, error) {
		n, err := parseNumber(b)
		if err == nil && n < 0 {
			err = fmt.Errorf("%w: crash kernel of %d bytes", ErrMalformed, n)
		}
		return uint64(n), err
	})
	k.LoadDisabled = parsed(s.read("proc/sys/kernel/kexec_load_disabled", 4096), parseBool)
	k.LimitReboot = parsed(s.read("proc/sys/kernel/kexec_load_limit_reboot", 4096), parseNumber)
	k.LimitPanic = parsed(s.read("proc/sys/kernel/kexec_load_limit_panic", 4096), parseNumber)
	k.VMCoreInfo = parsed(s.read("sys/kernel/vmcoreinfo", 4096), parseVMCoreInfo)
	return k
}

func parseBool(b []byte) (bool, error) {
	switch strings.TrimSpace(string(b)) {
	case "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, fmt.Errorf("%w: %.40q is neither 0 nor 1", ErrMalformed, b)
}

// parseVMCoreInfo reads address and size, hexadecimal without prefix.
func parseVMCoreInfo(b []byte) (Range, error) {
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return Range{}, fmt.Errorf("%w: vmcoreinfo %.80q", ErrMalformed, b)
	}
	start, err := parseHex([]byte("0x" + strings.TrimPrefix(f[0], "0x")))
	if err != nil {
		return Range{}, err
	}
	size, err := parseHex([]byte("0x" + strings.TrimPrefix(f[1], "0x")))
	if err != nil {
		return Range{}, err
	}
	if size == 0 || start+(size-1) < start {
		return Range{}, fmt.Errorf("%w: vmcoreinfo %#x+%#x", ErrMalformed, start, size)
	}
	return Range{start, start + (size - 1)}, nil
}
