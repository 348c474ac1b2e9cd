// SPDX-License-Identifier: Apache-2.0

// Package vmkit runs scripted virtual machines in tests: package vm with the tools of the cache and the init of
// internal/cmd/guestinit. It stands apart from testkit, which the packages that vm needs use in their own tests.
package vmkit

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/artefact"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/vm"
)

// Timeout bounds a whole machine. It only ends what hangs: a boot takes seconds, on a loaded machine a minute.
const Timeout = 6 * time.Minute

// goArch translates architectures for the Go tool.
func goArch(t testing.TB, a image.Arch) string {
	t.Helper()
	g := map[image.Arch]string{image.ArchX86_64: "amd64", image.ArchARM64: "arm64", image.ArchRISCV64: "riscv64",
		image.ArchLoongArch64: "loong64"}[a]
	if g == "" {
		t.Fatalf("no GOARCH for %q", a)
	}
	return g
}

// GuestInit returns the files of an initramfs that runs a script.
func GuestInit(t testing.TB, a image.Arch, s guest.Script) []testkit.File {
	t.Helper()
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return []testkit.File{
		testkit.Exec(t, "init", testkit.BuildBinary(t, "./internal/cmd/guestinit", goArch(t, a))),
		testkit.Plain(strings.TrimPrefix(guest.ScriptPath, "/"), b),
	}
}

// Initramfs returns a compressed archive that runs a script, with further files.
func Initramfs(t testing.TB, a image.Arch, s guest.Script, files ...testkit.File) []byte {
	t.Helper()
	return testkit.Gzip(t, testkit.Initramfs(t, append(GuestInit(t, a, s), files...)...))
}

// Peel is the static peel binary as a file of an initramfs, /bin/peel.
func Peel(t testing.TB, a image.Arch) testkit.File {
	t.Helper()
	return testkit.Exec(t, "bin/peel", testkit.BuildBinary(t, "./cmd/peel", goArch(t, a)))
}

// Config is a machine of an architecture with QEMU of the cache.
func Config(t testing.TB, a image.Arch) vm.Config {
	t.Helper()
	name := string(a)
	if a == image.ArchARM64 {
		name = "aarch64"
	}
	return vm.Config{Arch: a, QEMU: testkit.Tool(t, "qemu-system-"+name)}
}

// Firmware is UEFI firmware of the cache for a machine.
func Firmware(t testing.TB, a image.Arch, secureBoot bool) *vm.Firmware {
	t.Helper()
	f := testkit.Firmware(t, goArch(t, a), secureBoot)
	return &vm.Firmware{Code: f.Code, Vars: f.Vars, Secure: secureBoot}
}

// Cmdline is a kernel command line with the console of the architecture, quiet, a panic ending the machine, and more.
func Cmdline(t testing.TB, a image.Arch, more ...string) string {
	t.Helper()
	con, err := vm.ConsoleName(a)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append([]string{"console=" + con, "quiet", "panic=-1"}, more...), " ")
}

// Run is what a machine said from start to end.
type Run struct {
	t        testing.TB
	Console  string
	Messages []guest.Message
}

// Start starts a machine that ends with the test, alone on this computer: machines of other tests wait.
func Start(t testing.TB, c vm.Config) *vm.Machine {
	t.Helper()
	release := Alone(t)
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	m, err := vm.Start(ctx, c)
	if err != nil {
		cancel()
		release()
		t.Fatal(err)
	}
	go func() {
		<-m.Done()
		release()
	}()
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	})
	return m
}

// Boot runs a machine until the script named last has come to its end, and returns what it said.
func Boot(t testing.TB, c vm.Config, last string) *Run {
	t.Helper()
	m := Start(t, c)
	end := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(guest.Message{Done: last}.Format()) + `$`)
	_, err := m.Expect(context.Background(), end, Timeout)
	if err == nil {
		// The guest powers itself off; wait so that the next machine has the computer to itself.
		err = m.Wait()
	}
	r := &Run{t: t, Console: m.Console(), Messages: guest.Parse(m.Console())}
	for _, msg := range r.Messages {
		if msg.Error != "" {
			t.Errorf("guest init: %s", msg.Error)
		}
	}
	if err != nil {
		t.Fatalf("%v\nthe whole console:\n%s", err, m.Console())
	}
	return r
}

// Boot returns the report of the boot with a name.
func (r *Run) Boot(name string) *guest.Boot {
	r.t.Helper()
	for _, m := range r.Messages {
		if m.Boot != nil && m.Boot.Name == name {
			return m.Boot
		}
	}
	r.t.Fatalf("no boot %q reported; the console:\n%s", name, r.Console)
	return nil
}

// Result returns how a step ended.
func (r *Run) Result(step string) *guest.Result {
	r.t.Helper()
	for _, m := range r.Messages {
		if m.Result != nil && m.Result.Step == step {
			return m.Result
		}
	}
	r.t.Fatalf("no result of step %q; the console:\n%s", step, r.Console)
	return nil
}

// Alone takes a lock that all machines of all tests on this computer share: emulators that compete for processors only
// make each other's guests time out.
func Alone(t testing.TB) (release func()) {
	t.Helper()
	c, err := artefact.Open()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(c.Dir, "vm.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	// flock(1) locks the open file it inherits; the lock lasts until this process closes it.
	cmd := exec.Command("flock", "-x", "3")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Run(); err != nil {
		t.Fatalf("flock: %v", err)
	}
	return func() { f.Close() }
}
