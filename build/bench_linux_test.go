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

// BenchmarkBuild makes a signed UKI of 100 and of 500 MiB with peel, ukify and
// objcopy with sbsign. peak-MiB is the most memory of any process, pages of
// mapped files included; heap-MiB is peel's own.
func BenchmarkBuild(b *testing.B) {
	k := testkit.NewKey(b, "bench")
	stub, kernel := testkit.Stub(b, "amd64", "trixie"), testkit.Kernel(b, "amd64", "6.12")
	for _, mib := range []int{100, 500} {
		initrd := filepath.Join(b.TempDir(), "initrd")
		data := make([]byte, mib<<20)
		x := uint32(1)
		for i := range data {
			x = x*1664525 + 1013904223
			data[i] = byte(x >> 24)
		}
		if err := os.WriteFile(initrd, data, 0o644); err != nil {
			b.Fatal(err)
		}
		data = nil
		out := filepath.Join(b.TempDir(), "uki.efi")
		unsigned := out + ".unsigned"
		ourselves, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		type command struct {
			env, argv []string
		}
		add := []string{testkit.Tool(b, "objcopy")}
		at := uint64(0x14e000000)
		for _, s := range []struct{ name, path string }{{".linux", kernel}, {".initrd", initrd}} {
			add = append(add, "--add-section", s.name+"="+s.path, "--change-section-vma", fmt.Sprintf("%s=%#x", s.name, at))
			at += 0x2000000
		}
		sbsign := []string{testkit.Tool(b, "sbsign"), "--key", k.KeyPEM, "--cert", k.CertPEM, "--output", out, unsigned}
		for _, c := range []struct {
			name string
			run  []command
		}{
			{"peel", []command{{[]string{benchEnv + "=" + strings.Join([]string{stub, kernel, initrd, k.KeyPEM, k.CertPEM, out}, "\n")}, []string{ourselves}}}},
			{"ukify", []command{{nil, []string{testkit.Tool(b, "ukify"), "build", "--efi-arch=x64", "--stub=" + stub, "--linux=" + kernel, "--initrd=" + initrd, "--cmdline=quiet",
				"--os-release=ID=x", "--uname=1.2.3", "--secureboot-private-key=" + k.KeyPEM, "--secureboot-certificate=" + k.CertPEM, "--output=" + out}}}},
			{"objcopy+sbsign", []command{{nil, append(add, stub, unsigned)}, {nil, sbsign}}},
		} {
			b.Run(strconv.Itoa(mib)+"MiB/"+c.name, func(b *testing.B) {
				b.SetBytes(int64(mib) << 20)
				var peak, heap int64
				for range b.N {
					for _, p := range c.run {
						cmd := exec.Command(p.argv[0], p.argv[1:]...)
						cmd.Env = append(os.Environ(), p.env...)
						text, err := cmd.Output()
						if err != nil {
							b.Fatalf("%q: %v", p.argv, err)
						}
						if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
							peak = max(peak, u.Maxrss)
						}
						if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
							heap = max(heap, n)
						}
					}
				}
				b.ReportMetric(float64(peak)/1024, "peak-MiB")
				if heap > 0 {
					b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
				}
			})
		}
	}
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
