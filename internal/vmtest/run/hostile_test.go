// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// testBinary builds the tests of a package of this module for arm64.
func testBinary(t *testing.T, pkg string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "test")
	cmd := exec.Command("go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir = testkit.ModuleDir(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOFLAGS=")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("go test -c %s: %v\n%s", pkg, err, said.Bytes())
	}
	return testkit.ReadFile(t, out)
}

// TestHostileARM64 runs the tests of the sandbox where its code is arm64's:
// what no guest may do, the firmware's machine code, notification functions.
func TestHostileARM64(t *testing.T) {
	a := image.ArchARM64
	recording := "machine/testdata/arm64-dtb.tar.gz"
	root := testkit.ModuleDir(t)
	files := []testkit.File{
		// The tests look for recordings below the module's root directory.
		testkit.Plain("go.mod", testkit.ReadFile(t, filepath.Join(root, "go.mod"))),
		testkit.Plain(recording, testkit.ReadFile(t, filepath.Join(root, recording))),
	}
	var steps []guest.Step
	for name, run := range map[string]string{"process": ".", "efi": "Hostile|Native|Notification"} {
		pkg := map[string]string{"process": "./efi/process", "efi": "./efi"}[name]
		b := testkit.WriteFile(t, name, testBinary(t, pkg))
		files = append(files, testkit.Exec(t, "bin/"+name, b))
		steps = append(steps, guest.Step{Name: name, Argv: []string{"/bin/" + name, "-test.v", "-test.run=" + run, "-test.timeout=4m"}},
			// Ordinary users have fewer rights and the same walls.
			guest.Step{Name: name + " as nobody", UID: 65534, Argv: []string{"/bin/" + name, "-test.run=" + run, "-test.timeout=4m"}})
	}
	tests := steps
	// What forbids sandboxes: without executable memfds a file does, without tracing nothing.
	call := []string{"/bin/process", "-test.v", "-test.run=TestCall$"}
	steps = append(steps,
		guest.Step{Name: "noexec", Argv: []string{"@write", "/proc/sys/vm/memfd_noexec", "2"}},
		guest.Step{Name: "without memfd", Argv: call},
		guest.Step{Name: "yama", Argv: []string{"@write", "/proc/sys/kernel/yama/ptrace_scope", "3"}},
		guest.Step{Name: "without tracing", Argv: call})
	files = append(files, testkit.Plain("tmp/keep", nil))
	c := vmkit.Config(t, a)
	c.MemoryMiB = 1024
	c.Kernel, c.Cmdline = testkit.Kernel(t, "arm64", "6.12"), vmkit.Cmdline(t, a)
	c.Initrd = file(t, "initrd", vmkit.Initramfs(t, a, guest.Script{Name: "hostile", Steps: steps}, files...))
	r := vmkit.Boot(t, c, "hostile")
	for _, name := range []string{"noexec", "yama"} {
		if res := r.Result(name); res.Status != 0 {
			t.Errorf("%s: %s", name, res.Stderr)
		}
	}
	if res := r.Result("without memfd"); res.Status != 0 {
		t.Errorf("where memfds must not be executed: %s%s", res.Stdout, res.Stderr)
	}
	if res := r.Result("without tracing"); res.Status == 0 || !strings.Contains(res.Stdout, "kernel.yama.ptrace_scope=3") {
		t.Errorf("where nothing may be traced: status %d, %s%s", res.Status, res.Stdout, res.Stderr)
	}
	for _, s := range tests {
		res := r.Result(s.Name)
		if res.Status != 0 || !strings.Contains(res.Stdout, "PASS") {
			t.Errorf("%s: status %d\n%s%s", s.Name, res.Status, res.Stdout, res.Stderr)
		}
		if n := strings.Count(res.Stdout, "--- PASS"); len(s.Argv) == 4 && n < 10 {
			t.Errorf("%s: %d tests passed, want 10 or more", s.Name, n)
		}
	}
}
