// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/internal/testkit"
)

// benchEnv makes the test binary a program that builds one signed UKI of the
// parts in it, so that its memory can be measured like that of other programs.
const benchEnv = "PEEL_BENCH_BUILD"

func TestMain(m *testing.M) {
	if v := os.Getenv(benchEnv); v != "" {
		if err := benchBuild(strings.Split(v, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func benchBuild(a []string) error {
	kb, err := os.ReadFile(a[3])
	if err != nil {
		return err
	}
	cb, err := os.ReadFile(a[4])
	if err != nil {
		return err
	}
	k, err := sign.ParsePair(kb, cb)
	if err != nil {
		return err
	}
	u := &UKI{Stub: File(a[0]), Linux: File(a[1]), Initrds: []Content{File(a[2])}, Cmdline: Text("quiet"), OSRelease: Text("ID=x"), Uname: Text("1.2.3")}
	im, err := u.Build(context.Background())
	if err != nil {
		return err
	}
	defer im.Close()
	if err := im.WriteFile(context.Background(), a[5], FileOptions{Replace: true, Sign: []Signature{{Key: k}}}); err != nil {
		return err
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	fmt.Println(s.HeapSys)
	return nil
}

// benchRun is what one run of some programs took.
type benchRun struct {
	time time.Duration
	// peak is the most memory of any of them in KiB, pages of mapped files
	// included; heap is what they said of their heap in bytes.
	peak, heap int64
}

type benchCommand struct {
	env, argv []string
}

func (r *benchRun) add(b *testing.B, list []benchCommand) {
	b.Helper()
	start := time.Now()
	for _, p := range list {
		cmd := exec.Command(p.argv[0], p.argv[1:]...)
		cmd.Env = append(os.Environ(), p.env...)
		text, err := cmd.Output()
		if err != nil {
			b.Fatalf("%q: %v", p.argv, err)
		}
		if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			r.peak = max(r.peak, u.Maxrss)
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			r.heap = max(r.heap, n)
		}
	}
	r.time += time.Since(start)
}

// BenchmarkBuild makes a signed UKI of 100 and of 500 MiB with peel, with ukify
// and sbsign, and with objcopy and sbsign, in turns. Of the others it reports
// how many times peel's time and peak memory they take.
func BenchmarkBuild(b *testing.B) {
	k := testkit.NewKey(b, "bench")
	stub, kernel := testkit.Stub(b, "amd64", "trixie"), testkit.Kernel(b, "amd64", "6.12")
	ourselves, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, mib := range []int{100, 500} {
		b.Run(strconv.Itoa(mib)+"MiB", func(b *testing.B) {
			initrd := noise(b, mib)
			out := filepath.Join(b.TempDir(), "uki.efi")
			unsigned := out + ".unsigned"
			add := []string{testkit.Tool(b, "objcopy")}
			at := uint64(0x14e000000)
			for _, s := range []struct{ name, path string }{{".linux", kernel}, {".initrd", initrd}} {
				add = append(add, "--add-section", s.name+"="+s.path, "--change-section-vma", fmt.Sprintf("%s=%#x", s.name, at))
				at += 0x2000000
			}
			runs := []struct {
				name string
				list []benchCommand
				benchRun
			}{
				{name: "peel", list: []benchCommand{{[]string{benchEnv + "=" + strings.Join([]string{stub, kernel, initrd, k.KeyPEM, k.CertPEM, out}, "\n")}, []string{ourselves}}}},
				{name: "ukify", list: []benchCommand{{nil, []string{testkit.Tool(b, "ukify-new"), "build", "--efi-arch=x64", "--stub=" + stub, "--linux=" + kernel, "--initrd=" + initrd,
					"--cmdline=quiet", "--os-release=ID=x", "--uname=1.2.3", "--secureboot-private-key=" + k.KeyPEM, "--secureboot-certificate=" + k.CertPEM, "--output=" + out}}}},
				{name: "objcopy", list: []benchCommand{{nil, append(add, stub, unsigned)}, {nil, []string{testkit.Tool(b, "sbsign"), "--key", k.KeyPEM, "--cert", k.CertPEM, "--output", out, unsigned}}}},
			}
			b.SetBytes(int64(mib) << 20)
			for b.Loop() {
				for i := range runs {
					runs[i].add(b, runs[i].list)
				}
			}
			peel := &runs[0]
			b.ReportMetric(peel.time.Seconds()/float64(b.N), "peel-s")
			b.ReportMetric(float64(peel.peak)/1024, "peel-peak-MiB")
			b.ReportMetric(float64(peel.heap)/(1<<20), "peel-heap-MiB")
			for _, r := range runs[1:] {
				b.ReportMetric(r.time.Seconds()/peel.time.Seconds(), r.name+"-time-x")
				b.ReportMetric(float64(r.peak)/float64(peel.peak), r.name+"-peak-x")
			}
		})
	}
}

// noise makes a file that nothing compresses, piece by piece: a child's peak
// memory counts from its parent's.
func noise(b *testing.B, mib int) string {
	b.Helper()
	p := filepath.Join(b.TempDir(), "initrd")
	f, err := os.Create(p)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, 1<<20)
	x := uint32(1)
	for range mib {
		for i := range piece {
			x = x*1664525 + 1013904223
			piece[i] = byte(x >> 24)
		}
		if _, err := f.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

// BenchmarkSign signs a kernel.
func BenchmarkSign(b *testing.B) {
	k := testkit.NewKey(b, "bench")
	im, err := (&Resign{Image: File(testkit.Kernel(b, "amd64", "6.12-unsigned")), Drop: true}).Build(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer im.Close()
	b.SetBytes(im.Size())
	dir := b.TempDir()
	for i := range b.N {
		o := FileOptions{Sign: []Signature{{Key: sign.Key{Signer: k.Signer, Certificate: k.Cert}}}}
		if err := im.WriteFile(context.Background(), filepath.Join(dir, strconv.Itoa(i)), o); err != nil {
			b.Fatal(err)
		}
	}
}
