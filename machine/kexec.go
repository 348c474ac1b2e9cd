// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strconv"
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
	// CrashNotes holds, for each processor, where it leaves its registers in
	// a panic; physical addresses, in bytes.
	CrashNotes Fact[[]Range] `json:"crash_notes"`
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
	k.CrashNotes = readCrashNotes(s)
	return k
}

// cpuDir has a directory for each processor (Documentation/ABI/testing/
// sysfs-devices-system-cpu, crash_notes and crash_notes_size).
const cpuDir = "sys/devices/system/cpu"

// readCrashNotes is known only when every processor that is present tells: a
// core that lacks one of them would be taken for a whole one.
func readCrashNotes(s *snapshot) Fact[[]Range] {
	present := s.read(cpuDir+"/present", 4096)
	cpus := parsed(present, parseCPUList)
	if !cpus.Known() {
		return Fact[[]Range]{State: cpus.State, Source: cpus.Source, Why: cpus.Why}
	}
	var out []Range
	for _, n := range cpus.Value {
		name := fmt.Sprintf("%s/cpu%d/crash_notes", cpuDir, n)
		at, size := s.read(name, 4096), s.read(name+"_size", 4096)
		for _, f := range []file{at, size} {
			if f.state != Known {
				return lost[[]Range](f)
			}
		}
		// An address in hexadecimal without prefix, a size in decimal.
		r, err := parseCrashNotes(at.data, size.data)
		if err != nil {
			return unknownFact[[]Range](at.path, "%v", err)
		}
		out = append(out, r)
	}
	return KnownFact(out, present.path)
}

// maxCPUs bounds the numbers of processors; kernels are built for 8192.
const maxCPUs = 1 << 14

// parseCPUList reads a list such as "0-3,8" (Documentation/admin-guide/
// cputopology.rst).
func parseCPUList(b []byte) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		lo, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%w: list of processors %.40q", ErrMalformed, b)
		}
		hi, err := strconv.ParseUint(to, 10, 16)
		if err != nil || hi < lo || hi >= maxCPUs || len(out) > maxCPUs {
			return nil, fmt.Errorf("%w: list of processors %.40q", ErrMalformed, b)
		}
		for n := lo; n <= hi; n++ {
			out = append(out, int(n))
		}
	}
	return out, nil
}

func parseCrashNotes(at, size []byte) (Range, error) {
	start, err := parseHex([]byte("0x" + strings.TrimPrefix(strings.TrimSpace(string(at)), "0x")))
	if err != nil {
		return Range{}, err
	}
	n, err := parseNumber(size)
	if err != nil {
		return Range{}, err
	}
	if n <= 0 || start+uint64(n-1) < start {
		return Range{}, fmt.Errorf("%w: crash notes %#x+%d", ErrMalformed, start, n)
	}
	return Range{start, start + uint64(n-1)}, nil
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
