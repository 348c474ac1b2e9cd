// SPDX-License-Identifier: Apache-2.0

package efi_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/efi/process"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/machine/machinetest"
)

// options are for a machine that was recorded, so that no test depends on
// the one it runs on. PEEL_TRACE shows what the images call.
func options(t *testing.T, recording string) efi.Options {
	o := efi.Options{Machine: machinetest.Machine(t, recording), Verify: verified}
	if os.Getenv("PEEL_TRACE") != "" {
		o.Trace = func(c efi.Call) { t.Logf("%s%q = %v %s", c.Name, c.Args, c.Status, c.Note) }
	}
	return o
}

// handedOver returns what a kernel is given, through a plan for the machine.
func handedOver(t *testing.T, img []byte, o efi.Options) (cmdline string, initrd []byte, plan *boot.Plan) {
	t.Helper()
	st, err := efi.Run(context.Background(), img, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	plan, err = boot.Captured(st.State, boot.HostOf(o.Machine), boot.Options{})
	if err != nil {
		t.Fatalf("Captured() = %v of\n%s", err, st.State)
	}
	if r := plan.HandOver.Initrd; r != nil {
		initrd = bytes.Clone(st.Read(r.Start, r.Size()))
	}
	return plan.HandOver.Cmdline, initrd, plan
}

func TestKernels(t *testing.T) {
	parts := [][]byte{bytes.Repeat([]byte("initrd!\n"), 1<<16), []byte("second"), []byte("third")}
	joined := append(bytes.Clone(parts[0]), "second\x00\x00third"...)
	const cmdline = "console=ttyS0 peel=\u00e4"
	for _, series := range []string{"6.1", "6.12", "new"} {
		for _, machine := range []string{"x86-bios", "x86-ovmf"} {
			if machine == "x86-ovmf" && series != "6.12" {
				continue
			}
			t.Run(series+" "+machine, func(t *testing.T) {
				o := options(t, machine)
				o.LoadOptions, o.Initrds = cmdline, parts
				line, initrd, plan := handedOver(t, testkit.ReadFile(t, testkit.Kernel(t, "amd64", series)), o)
				if line != cmdline {
					t.Errorf("command line = %q, want %q", line, cmdline)
				}
				if !bytes.Equal(initrd, joined) {
					t.Errorf("initrd of %d bytes, want %d that were given", len(initrd), len(joined))
				}
				info := plan.HandOver.BootParams
				if efi := machine == "x86-ovmf"; (info.EFI != nil) != efi || (info.FirmwareEFI != nil) != efi {
					t.Errorf("efi_info = %v, setup_data of EFI = %v on %s", info.EFI, info.FirmwareEFI, machine)
				}
				if n := len(plan.Segments); n > 9 {
					t.Errorf("%d segments", n)
				}
			})
		}
	}
}

// uki makes a UKI; the stub of Debian 12 is older than ukify's idea of it.
func uki(t *testing.T, suite string, o testkit.UKIOptions) []byte {
	t.Helper()
	o.Stub, o.Objcopy = testkit.Stub(t, "amd64", suite), suite == "bookworm"
	return testkit.ReadFile(t, testkit.UKI(t, o))
}

func TestUKI(t *testing.T) {
	want := bytes.Repeat([]byte("initrd!\n"), 1<<10)
	for _, suite := range []string{"bookworm", "trixie", "forky"} {
		for _, series := range []string{"6.12", "6.1"} {
			if series == "6.1" && suite != "bookworm" {
				continue
			}
			t.Run(suite+" "+series, func(t *testing.T) {
				img := uki(t, suite, testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", series), Initrd: want, Cmdline: "from=uki"})
				line, initrd, _ := handedOver(t, img, options(t, "x86-bios"))
				if line != "from=uki" {
					t.Errorf("command line = %q, want %q", line, "from=uki")
				}
				// The stub adds archives of its own behind.
				if !bytes.HasPrefix(initrd, want) {
					t.Errorf("initrd of %d bytes does not begin with the %d bytes of the UKI", len(initrd), len(want))
				}
			})
		}
	}
}

// addon makes an addon with a command line.
func addon(t *testing.T, cmdline string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "a.addon.efi")
	testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--cmdline="+cmdline, "--output="+out)
	return testkit.ReadFile(t, out)
}

func TestBeside(t *testing.T) {
	good, bad := addon(t, "addon=good"), addon(t, "addon=bad")
	img := uki(t, "trixie", testkit.UKIOptions{Cmdline: "from=uki"})
	o := options(t, "x86-bios")
	o.Dir = fstest.MapFS{
		"EFI/Linux/Test.efi":                        {Data: img},
		"EFI/Linux/Test.efi.extra.d/b.addon.efi":    {Data: good},
		"EFI/Linux/Test.efi.extra.d/c.addon.efi":    {Data: bad},
		"EFI/Linux/Test.efi.extra.d/secret.cred":    {Data: []byte("credential")},
		"EFI/Linux/Test.efi.extra.d/forbidden.cred": {Data: []byte("forbidden")},
		"loader/addons/a.addon.efi":                 {Data: good},
	}
	o.Path = "EFI/Linux/Test.efi"
	asked := 0
	o.Verify = func(b []byte) error {
		asked++
		if bytes.Equal(b, bad) {
			return errors.New("not this one")
		}
		return nil
	}
	o.VerifyFile = func(name string, b []byte) error {
		if strings.Contains(name, "forbidden") {
			return errors.New("not that one")
		}
		return nil
	}
	line, initrd, _ := handedOver(t, img, o)
	if line != "from=uki addon=good addon=good" {
		t.Errorf("command line = %q", line)
	}
	if !bytes.Contains(initrd, []byte("secret.cred")) || !bytes.Contains(initrd, []byte("credential")) || bytes.Contains(initrd, []byte("forbidden")) {
		t.Errorf("initrd of %d bytes %q, want the one credential that may be read", len(initrd), initrd[:min(len(initrd), 600)])
	}
	if asked < 4 {
		t.Errorf("Verify was asked %d times, want at least 4", asked)
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	profile := func(name, line string) string {
		out := filepath.Join(dir, name)
		testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", "trixie"),
			"--profile=ID="+name, "--cmdline="+line, "--output="+out)
		return out
	}
	img := uki(t, "trixie", testkit.UKIOptions{Cmdline: "profile=none", Extra: []string{
		"--profile=ID=main", "--join-profile=" + profile("one", "profile=one"), "--join-profile=" + profile("two", "profile=two")}})
	for options_, want := range map[string]string{"": "profile=none", "@0": "profile=none", "@1": "profile=one", "@2": "profile=two", "@1 own=line": "own=line"} {
		o := options(t, "x86-bios")
		o.LoadOptions = options_
		if line, _, _ := handedOver(t, img, o); line != want {
			t.Errorf("load options %q: command line = %q, want %q", options_, line, want)
		}
	}
}

func TestRefused(t *testing.T) {
	img := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.1"))
	o := options(t, "x86-bios")
	run := func(img []byte, o efi.Options) error {
		st, err := efi.Run(context.Background(), img, o)
		if err == nil {
			st.Close()
		}
		return err
	}
	no := o
	no.Verify = nil
	if err := run(img, no); !errors.Is(err, efi.ErrNotVerified) {
		t.Errorf("Run(no Verify) = %v, want %v", err, efi.ErrNotVerified)
	}
	reason := errors.New("a reason")
	no.Verify = func([]byte) error { return reason }
	no.Trace = func(c efi.Call) { t.Errorf("%s was called", c.Name) }
	if err := run(img, no); !errors.Is(err, efi.ErrNotVerified) || !errors.Is(err, reason) {
		t.Errorf("Run(refused) = %v, want %v because of %v", err, efi.ErrNotVerified, reason)
	}
	if err := run([]byte("MZ"), o); !errors.Is(err, efi.ErrImage) {
		t.Errorf("Run(no PE) = %v, want %v", err, efi.ErrImage)
	}
	if err := run(testkit.ReadFile(t, testkit.Kernel(t, "arm64", "6.12")), o); !errors.Is(err, firmware.ErrImage) {
		t.Errorf("Run(arm64) = %v, want %v", err, firmware.ErrImage)
	}
	no = o
	no.Machine = nil
	if err := run(img, no); !errors.Is(err, efi.ErrMachine) {
		t.Errorf("Run(no machine) = %v, want %v", err, efi.ErrMachine)
	}
	for _, name := range []string{"arm64-dtb", "x86-bios-user"} {
		if err := run(img, options(t, name)); !errors.Is(err, efi.ErrMachine) {
			t.Errorf("Run(on %s) = %v, want %v", name, err, efi.ErrMachine)
		}
	}
	no = o
	no.Limits.Memory = 8 << 20
	if err := run(img, no); !errors.Is(err, process.ErrMemory) {
		t.Errorf("Run(8 MiB) = %v, want %v", err, process.ErrMemory)
	}
	// systemd-boot looks for something to boot and finds nothing.
	if err := run(testkit.ReadFile(t, testkit.SystemdBoot(t, "amd64", "trixie")), o); err == nil {
		t.Error("Run(systemd-boot alone) gave no error")
	} else {
		t.Log(err)
	}
}

func BenchmarkRun(b *testing.B) {
	img := testkit.ReadFile(b, testkit.Kernel(b, "amd64", "6.12"))
	m := machinetest.Machine(b, "x86-bios")
	b.SetBytes(int64(len(img)))
	for b.Loop() {
		st, err := efi.Run(context.Background(), img, efi.Options{Machine: m, Verify: verified})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(st.Stats.Stops), "stops")
		st.Close()
	}
}
