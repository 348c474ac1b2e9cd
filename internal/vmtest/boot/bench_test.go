// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/internal/vmtest/boot/segtrace/trace"
)

// BenchmarkLoadBesideKexecTools loads a kernel with a large initrd by
// kexec_load, with peel and with kexec-tools, in one virtual machine. Time and
// peak memory are ratios to kexec-tools: below 1, peel needs less. Time is the
// best of three, memory the largest of three.
func BenchmarkLoadBesideKexecTools(b *testing.B) {
	const arch = image.ArchX86_64
	for _, mib := range []int{32, 500} {
		b.Run(fmt.Sprintf("%dMiB", mib), func(b *testing.B) {
			for b.Loop() {
				besideKexecTools(b, arch, mib)
			}
		})
	}
}

func besideKexecTools(b *testing.B, arch image.Arch, mib int) {
	b.Helper()
	const cmdline = "console=ttyS0"
	commands := map[string][]string{
		"theirs": {"/usr/sbin/kexec", "-c", "-l", "/kernel", "--initrd=/tmp/initrd", "--command-line=" + cmdline},
		"ours": {"/bin/peel", "load", "/kernel", "--policy", "warn", "--syscall", "segments", "--initrd", "/tmp/initrd",
			"--cmdline", cmdline},
	}
	steps := []guest.Step{{Name: "initrd", Argv: []string{"/bin/segtrace", "-fill", "/tmp/initrd", fmt.Sprint(mib << 20)}}}
	const runs = 3
	for i := range runs {
		for _, who := range []string{"theirs", "ours"} {
			steps = append(steps,
				guest.Step{Name: fmt.Sprint(who, i), Argv: append([]string{"/bin/segtrace", "-plain"}, commands[who]...)},
				// So that each load finds the same memory free.
				guest.Step{Name: "unload", Argv: []string{"/usr/sbin/kexec", "-c", "-u"}})
		}
	}
	files := append(program(b, arch, "kexec-tools", "usr/sbin/kexec"), vmkit.Peel(b, arch),
		testkit.Exec(b, "bin/segtrace", testkit.BuildBinary(b, "./internal/vmtest/boot/segtrace", goarch[arch])),
		testkit.Plain("kernel", testkit.ReadFile(b, testkit.Kernel(b, goarch[arch], "6.12"))))
	c := vmkit.Config(b, arch)
	c.Kernel = testkit.Kernel(b, goarch[arch], "6.12")
	c.MemoryMiB = 3072
	c.Cmdline = vmkit.Cmdline(b, arch)
	c.Initrd = testkit.WriteFile(b, "initrd", vmkit.Initramfs(b, arch, guest.Script{Name: "bench", Steps: steps}, files...))
	run := vmkit.Boot(b, c, "bench")

	best, most := map[string]float64{}, map[string]float64{}
	for i := range runs {
		for who := range commands {
			r := run.Result(fmt.Sprint(who, i))
			var call trace.Call
			if err := json.Unmarshal([]byte(r.Stdout), &call); err != nil || call.Status != 0 {
				b.Fatalf("%s: %v, status %d: %s", who, err, call.Status, r.Stderr)
			}
			if t := float64(call.Microseconds); i == 0 || t < best[who] {
				best[who] = t
			}
			most[who] = max(most[who], float64(call.MaxResidentKB))
		}
	}
	b.ReportMetric(best["ours"]/best["theirs"], "time-ratio")
	b.ReportMetric(most["ours"]/most["theirs"], "memory-ratio")
	b.ReportMetric(most["ours"]/1024, "peel-MiB")
	b.ReportMetric(most["theirs"]/1024, "kexec-MiB")
	b.ReportMetric(best["ours"]/1000, "peel-ms")
	b.ReportMetric(best["theirs"]/1000, "kexec-ms")
	b.ReportMetric(0, "ns/op") // the machine's boot is no measure
}
