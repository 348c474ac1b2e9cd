// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// core is what /proc/vmcore says.
type core struct {
	loads []load
	info  map[string]string // VMCOREINFO
	head  []byte            // its bytes up to the first memory
}

type load struct{ Virt, Phys, Size uint64 }

func parseCore(t *testing.T, text string) *core {
	t.Helper()
	c := &core{info: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		var l load
		if n, _ := fmt.Sscanf(line, "PT_LOAD %v %v %v", &l.Virt, &l.Phys, &l.Size); n == 3 {
			c.loads = append(c.loads, l)
		} else if b64, ok := strings.CutPrefix(line, "HEAD "); ok {
			b, err := base64.StdEncoding.DecodeString(b64)
			if err != nil {
				t.Fatal(err)
			}
			c.head = b
		} else if k, v, ok := strings.Cut(line, "="); ok {
			c.info[k] = v
		}
	}
	return c
}

// number reads a number of VMCOREINFO.
func (c *core) number(t *testing.T, key string, base int) uint64 {
	t.Helper()
	s := strings.TrimPrefix(c.info[key], "0x")
	if n, err := strconv.ParseInt(s, base, 64); err == nil {
		return uint64(n)
	}
	n, err := strconv.ParseUint(s, base, 64)
	if err != nil {
		t.Errorf("VMCOREINFO: %s is %q", key, c.info[key])
	}
	return n
}

// crashRun panics a kernel and returns what the crash kernel says of it, with
// makedumpfile if dump is set.
func (c kexecCase) crashRun(t *testing.T, dump bool) *core {
	t.Helper()
	arch := c.config.Arch
	c.crash = true
	c.files = append(program(t, arch, "makedumpfile", "usr/bin/makedumpfile"),
		testkit.Exec(t, "bin/showcore", testkit.BuildBinary(t, "./internal/vmtest/boot/showcore", goarch[arch])))
	c.last.Steps = []guest.Step{
		{Name: "core", Argv: []string{"/bin/showcore", "/proc/vmcore"}},
	}
	if dump {
		c.last.Steps = append(c.last.Steps, []guest.Step{
			{Name: "dmesg", Argv: []string{"/usr/bin/makedumpfile", "--dump-dmesg", "/proc/vmcore", "/tmp/dmesg"}},
			{Name: "text", Argv: []string{"@cat", "/tmp/dmesg"}},
			{Name: "dump", Argv: []string{"/usr/bin/makedumpfile", "-d", "31", "-l", "--message-level", "22", "/proc/vmcore", "/tmp/dump"}},
		}...)
	}
	run := c.run(t)
	one, two := run.Boot("first"), run.Boot("last")
	if two.MemTotalKB > 300<<10 {
		t.Errorf("crash kernel has %d kB, want no more than its region and the first megabyte", two.MemTotalKB)
	}
	if r := run.Result("core"); r.Status != 0 {
		t.Errorf("core: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if dump {
		checkDump(t, run)
	}

	v := parseCore(t, run.Result("core").Stdout)
	if got := v.info["OSRELEASE"]; got != one.Release {
		t.Errorf("VMCOREINFO tells release %q, want %q", got, one.Release)
	}
	headers := string(testkit.Run(t, "", "readelf", "-h", "-l", "-n", "-W", testkit.WriteFile(t, "vmcore", v.head)))
	for _, want := range []string{`Type: +CORE`, `Machine: +(Advanced Micro Devices X86-64|AArch64)`, `NOTE +0x`, `LOAD +0x`, `NT_PRSTATUS`, `VMCOREINFO`} {
		if !regexp.MustCompile(want).MatchString(headers) {
			t.Errorf("readelf does not say %q:\n%s", want, headers)
		}
	}
	v.checkAddresses(t, arch)
	return v
}

// checkDump looks at what makedumpfile made of the core.
func checkDump(t *testing.T, run *vmkit.Run) {
	t.Helper()
	for _, step := range []string{"dmesg", "dump"} {
		if r := run.Result(step); r.Status != 0 {
			t.Errorf("%s: status %d: %s%s", step, r.Status, r.Stdout, r.Stderr)
		}
	}
	release := run.Boot("first").Release
	if dmesg := run.Result("text").Stdout; !strings.Contains(dmesg, "Linux version "+release) || !strings.Contains(dmesg, "sysrq: Trigger a crash") {
		t.Errorf("log of the crashed kernel in the core:\n%s", dmesg)
	}
	if out := run.Result("dump"); !strings.Contains(out.Stdout+out.Stderr, "Original pages") {
		t.Errorf("makedumpfile says %s%s", out.Stdout, out.Stderr)
	}
}

// checkAddresses holds the virtual addresses of the core against what the
// crashed kernel itself says of them in VMCOREINFO.
func (c *core) checkAddresses(t *testing.T, arch image.Arch) {
	t.Helper()
	if len(c.loads) < 2 {
		t.Fatalf("core with PT_LOADs %#x, want the kernel's mapping and RAM", c.loads)
	}
	text := c.loads[0]
	if stext := c.number(t, "SYMBOL(_stext)", 16); stext < text.Virt || stext-text.Virt >= text.Size {
		t.Errorf("first PT_LOAD %#x does not hold _stext at %#x", text, stext)
	}
	switch arch {
	case image.ArchX86_64:
		// Kernel code at 0xffffffff80000000 + its physical address - phys_base.
		if got, want := text.Virt-text.Phys, 0xffffffff80000000-c.number(t, "NUMBER(phys_base)", 10); got != want {
			t.Errorf("kernel code is mapped at a distance of %#x, want %#x", got, want)
		}
	case image.ArchARM64:
		if got, want := text.Virt-text.Phys, c.number(t, "NUMBER(kimage_voffset)", 16); got != want {
			t.Errorf("kernel code is mapped at a distance of %#x, want %#x", got, want)
		}
		if got, want := c.loads[1].Virt-c.loads[1].Phys, -(uint64(1)<<c.number(t, "NUMBER(VA_BITS)", 10))-c.number(t, "NUMBER(PHYS_OFFSET)", 16); got != want {
			t.Errorf("RAM is mapped at a distance of %#x, want %#x", got, want)
		}
	}
	for _, l := range c.loads[1:] {
		if d := l.Virt - l.Phys; d != c.loads[1].Virt-c.loads[1].Phys || l.Virt>>63 == 0 {
			t.Errorf("RAM %#x is mapped at a distance of %#x, other RAM at %#x", l, d, c.loads[1].Virt-c.loads[1].Phys)
		}
	}
}

// A panic lands in the crash kernel, which shows the memory of the first, in
// the way tools expect.
func TestVMCrash(t *testing.T) {
	// makedumpfile knows no arm64 kernel that is built for virtual addresses
	// of 52 bits and pages of 4 KiB, as Debian's 6.12 is.
	arm64 := vmkit.Config(t, image.ArchARM64)
	arm64.Kernel = testkit.Kernel(t, "arm64", "6.1")
	for _, c := range []struct {
		kexecCase
		dump bool
	}{
		{kexecCase{name: "bzImage", config: vmkit.Config(t, image.ArchX86_64)}, true},
		{kexecCase{name: "UKI on UEFI", config: withFirmware(t, image.ArchX86_64), wrap: ukiOf("amd64")}, true},
		{kexecCase{name: "Image", config: arm64}, true},
		{kexecCase{name: "zboot on UEFI", config: withFirmware(t, image.ArchARM64), wrap: justZboot}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.kernel = kernel(t, goarch[c.config.Arch], "6.12")
			c.crashRun(t, c.dump)
		})
	}
}

// The kernel makes its own ELF core header for kexec_file_load: that of peel
// describes the same memory at the same addresses.
func TestVMCrashCoreHeader(t *testing.T) {
	var got [2]*core
	for i, file := range []bool{false, true} {
		c := kexecCase{config: vmkit.Config(t, image.ArchX86_64), kernel: kernel(t, "amd64", "6.12"), wrap: ukiOf("amd64"),
			file: file, cmdline: []string{"nokaslr"}}
		got[i] = c.crashRun(t, false)
	}
	if diff := cmp.Diff(got[1].loads, got[0].loads); diff != "" {
		t.Errorf("PT_LOADs, -kernel's +peel's:\n%s", diff)
	}
}
