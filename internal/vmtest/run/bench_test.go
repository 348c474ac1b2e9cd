// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package run

import (
	"context"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

// BenchmarkRoutes takes images to a plan by both routes, and starts the same images with OVMF in QEMU up to the kernel's first
// output. Ratios are to the run route: above 1, the other takes longer. The kernel has unpacked itself in the run route where its
// stub does that (6.6 and later), and under OVMF; in the parse route it has not. QEMU emulates its processor, which makes OVMF
// an order of magnitude slower than on hardware; its time counts from where it starts the image, without its own start, and is
// taken for UKIs alone, which need no boot loader for their command line.
func BenchmarkRoutes(b *testing.B) {
	initrd := make([]byte, 32<<20) // size matters, not contents
	line := cmdline(b, image.ArchX86_64, "earlyprintk=serial")
	for _, bm := range []struct {
		name string
		path func() string
		uki  bool
	}{
		{"bzImage-6.1", func() string { return testkit.Kernel(b, "amd64", "6.1") }, false},
		{"bzImage-6.12", func() string { return testkit.Kernel(b, "amd64", "6.12") }, false},
		{"UKI-257", func() string {
			return testkit.UKI(b, testkit.UKIOptions{Initrd: initrd, Cmdline: line})
		}, true},
		{"UKI-newest", func() string {
			return testkit.UKI(b, testkit.UKIOptions{Stub: testkit.Stub(b, "amd64", "forky"), Initrd: initrd, Cmdline: line})
		}, true},
	} {
		b.Run(bm.name, func(b *testing.B) {
			path := bm.path()
			add := peel.Additions{}
			if !bm.uki {
				add.Cmdline = &peel.File{Data: []byte(line)}
				add.Initrds = []peel.File{{Data: initrd}}
			}
			var parse, run, ovmf time.Duration
			var stops, calls, memory float64
			for b.Loop() {
				parse += byParse(b, path, add)
				d, c := byRun(b, path, add)
				run += d
				stops, calls, memory = float64(c.State.Stats.Stops), float64(c.State.Stats.Total()), float64(c.State.Stats.Memory)
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				if ovmf == 0 && bm.uki {
					ovmf = byOVMF(b, path)
				}
			}
			n := float64(b.N)
			b.ReportMetric(stops, "stops")
			b.ReportMetric(calls, "calls")
			b.ReportMetric(memory/(1<<20), "MiB")
			b.ReportMetric(run.Seconds()*1000/n, "run-ms")
			b.ReportMetric(parse.Seconds()/run.Seconds(), "parse/run")
			if bm.uki {
				b.ReportMetric(ovmf.Seconds()*n/run.Seconds(), "ovmf/run")
			}
			b.ReportMetric(0, "ns/op") // of the three together: no measure
		})
	}
}

func open(b *testing.B, path string) *peel.Image {
	b.Helper()
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Policy.SetMode(trust.Warn, "benchmark")
	im, err := peel.Open(path, peel.Options{Verifier: v})
	if err != nil {
		b.Fatal(err)
	}
	return im
}

func byParse(b *testing.B, path string, add peel.Additions) time.Duration {
	b.Helper()
	start := time.Now()
	im := open(b, path)
	defer im.Close()
	p, err := im.Prepare(context.Background(), add)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Plan(machinetest.Machine(b, "x86-bios"), boot.Options{}); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func byRun(b *testing.B, path string, add peel.Additions) (time.Duration, *peel.Captured) {
	b.Helper()
	start := time.Now()
	im := open(b, path)
	defer im.Close()
	m := machinetest.Machine(b, "x86-bios")
	c, err := im.Run(context.Background(), m, add, peel.RunOptions{NoBeside: true})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.Plan(m, boot.Options{}); err != nil {
		b.Fatal(err)
	}
	return time.Since(start), c
}

// byOVMF measures from the start of the image to the first line of the kernel.
func byOVMF(b *testing.B, path string) time.Duration {
	b.Helper()
	esp := testkit.WriteFile(b, "esp", nil)
	if err := os.Truncate(esp, 128<<20); err != nil {
		b.Fatal(err)
	}
	testkit.Run(b, "", "mformat", "-i", esp, "-F", "::")
	testkit.Run(b, "", "mmd", "-i", esp, "::EFI", "::EFI/BOOT")
	testkit.Run(b, "", "mcopy", "-i", esp, path, "::EFI/BOOT/BOOTX64.EFI")
	c := vmkit.Config(b, image.ArchX86_64)
	c.MemoryMiB = 1024
	c.Firmware = vmkit.Firmware(b, image.ArchX86_64, false)
	c.Disks = []string{esp}
	m := vmkit.Start(b, c)
	defer m.Close()
	if _, err := m.Expect(context.Background(), regexp.MustCompile(`BdsDxe: starting`), vmkit.Timeout); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if _, err := m.Expect(context.Background(), regexp.MustCompile(`KASLR using|Linux version`), vmkit.Timeout); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
