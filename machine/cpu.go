// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/peelboot/peel/image"
)

// CPU is what decides which code can run and how it must be placed.
type CPU struct {
	// Arch is the architecture of the running kernel, as far as a process
	// sees it.
	Arch Fact[image.Arch] `json:"arch"`
	// PageSize is the page size of the running kernel in bytes.
	PageSize Fact[uint64] `json:"page_size"`
	// Features are the flags of the first processor, in the kernel's words
	// and order: "flags" on x86, "Features" on arm64, "isa" and "mmu" on
	// riscv64.
	Features Fact[[]string] `json:"features"`
}

// Has reports whether the first processor is known to have a feature.
func (c *CPU) Has(feature string) bool { return slices.Contains(c.Features.Value, feature) }

// Keys of /proc/cpuinfo, by what they tell.
var cpuKeys = []string{"vendor_id", "flags", "Features", "CPU implementer", "isa", "mmu", "CPU Family", "Model Name"}

// readCPU finds out the architecture from files alone: a recording may come
// from another machine than the one that reads it.
func readCPU(s *snapshot) CPU {
	var c CPU
	info := s.readFiltered("proc/cpuinfo", limitFile, func(r io.Reader) ([]byte, error) {
		var out []byte
		err := eachLine(r, func(line []byte) bool {
			if len(line) == 0 {
				// One processor is enough. On riscv64 and loongarch64 a
				// block without keys may come first.
				return len(out) == 0
			}
			key, _, ok := strings.Cut(string(line), ":")
			if ok && slices.Contains(cpuKeys, strings.TrimRight(key, "\t ")) {
				out = append(append(out, line...), '\n')
			}
			return true
		})
		return out, err
	})
	values := map[string]string{}
	for _, line := range strings.Split(string(info.data), "\n") {
		if key, v, ok := strings.Cut(line, ":"); ok {
			values[strings.TrimRight(key, "\t ")] = strings.TrimSpace(v)
		}
	}
	c.Features = parsed(info, func([]byte) ([]string, error) {
		for _, key := range []string{"flags", "Features", "isa"} {
			if v, ok := values[key]; ok {
				words := strings.Fields(v)
				if mmu, ok := values["mmu"]; ok {
					words = append(words, mmu)
				}
				return words, nil
			}
		}
		return nil, fmt.Errorf("%w: no features", ErrMalformed)
	})
	c.Arch = parsed(s.read("proc/sys/kernel/arch", 4096), parseArch)
	if !c.Arch.Known() {
		// Linux before 6.1 has no such file.
		c.Arch = parsed(info, func([]byte) (image.Arch, error) { return guessArch(values, c.Features.Value) })
	}
	c.PageSize = parsed(s.readFiltered("proc/self/auxv", limitFile, filterAuxv), ParseAuxv)
	return c
}

func parseArch(b []byte) (image.Arch, error) {
	switch name := strings.TrimSpace(string(b)); name {
	case "x86_64":
		return image.ArchX86_64, nil
	case "i386", "i486", "i586", "i686":
		return image.ArchX86, nil
	case "aarch64":
		return image.ArchARM64, nil
	case "riscv64":
		return image.ArchRISCV64, nil
	case "loongarch64":
		return image.ArchLoongArch64, nil
	case "ppc64le":
		return image.ArchPPC64LE, nil
	default:
		if strings.HasPrefix(name, "armv") {
			return image.ArchARM, nil
		}
		return image.ArchUnknown, fmt.Errorf("%w: machine %.40q", ErrMalformed, name)
	}
}

func guessArch(values map[string]string, features []string) (image.Arch, error) {
	switch {
	case values["flags"] != "" && slices.Contains(features, "lm"):
		return image.ArchX86_64, nil
	case values["flags"] != "":
		return image.ArchX86, nil
	case values["CPU implementer"] != "" && slices.Contains(features, "fp"):
		return image.ArchARM64, nil
	case values["CPU implementer"] != "":
		return image.ArchARM, nil
	case strings.HasPrefix(values["isa"], "rv64"):
		return image.ArchRISCV64, nil
	case strings.HasPrefix(values["CPU Family"], "Loongson-64"):
		return image.ArchLoongArch64, nil
	}
	return image.ArchUnknown, fmt.Errorf("%w: no architecture to be told", ErrMalformed)
}

// Tags of the auxiliary vector (uapi/linux/auxvec.h).
const (
	atNull     = 0
	atPageSize = 6
)

// filterAuxv keeps the page size only: the rest is registers and pointers of
// this process.
func filterAuxv(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	n, err := ParseAuxv(b)
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint64(nil, atPageSize)
	out = binary.LittleEndian.AppendUint64(out, n)
	return append(out, make([]byte, 16)...), nil
}

// ParseAuxv returns the page size, in bytes, out of /proc/self/auxv of a
// 64-bit little-endian process.
func ParseAuxv(b []byte) (uint64, error) {
	for ; len(b) >= 16; b = b[16:] {
		switch binary.LittleEndian.Uint64(b) {
		case atPageSize:
			n := binary.LittleEndian.Uint64(b[8:])
			if n < 4096 || n > 1<<20 || n&(n-1) != 0 {
				return 0, fmt.Errorf("%w: page size %#x", ErrMalformed, n)
			}
			return n, nil
		case atNull:
			b = b[:16]
		}
	}
	return 0, fmt.Errorf("%w: auxiliary vector tells no page size", ErrMalformed)
}
