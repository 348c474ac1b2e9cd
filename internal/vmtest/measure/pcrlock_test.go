// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/artefact"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/measure/tpm"
)

// pcrlock compares PCR 4 and 11 with what systemd-pcrlock foretells of the UKI, of the kernel inside, which the stub has
// firmware load and which lock-uki leaves out, and of the components that systemd ships. It predicts only registers that are what the log says, so it gets the firmware's log and a TPM that was extended with it.
func pcrlock(t *testing.T, uki, kernel string, c *measure.Case, log []byte) {
	t.Helper()
	l, err := eventlog.Read(log)
	if err != nil {
		t.Fatal(err)
	}
	port := tpmServer(t)
	d, err := tpm.Open("127.0.0.1:" + strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Extend(l.Events); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	cache, err := artefact.Open()
	if err != nil {
		t.Fatal(err)
	}
	root, err := cache.Root("tools")
	if err != nil {
		t.Fatal(err)
	}
	components := t.TempDir()
	// What boot phases extend comes later: the log ends where the kernel begins.
	for _, name := range []string{"350-action-efi-application.pcrlock", "400-secureboot-separator.pcrlock.d/300-0x00000000.pcrlock",
		"500-separator.pcrlock.d/300-0x00000000.pcrlock"} {
		put(t, filepath.Join(components, name), testkit.ReadFile(t, filepath.Join(root, "usr/lib/pcrlock.d", name)))
	}
	env := append(os.Environ(), "SYSTEMD_MEASURE_LOG_FIRMWARE="+testkit.WriteFile(t, "log", log),
		"SYSTEMD_MEASURE_LOG_USERSPACE=/nonexistent",
		fmt.Sprintf("SYSTEMD_TPM2_DEVICE=swtpm:host=127.0.0.1,port=%d", port))
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(testkit.Tool(t, "systemd-pcrlock"), args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			text := ""
			if e, ok := err.(*exec.ExitError); ok {
				text = string(e.Stderr)
			}
			t.Fatalf("systemd-pcrlock %q: %v: %s%s", args, err, out, text)
		}
		return out
	}
	run("lock-uki", uki, "--pcrlock="+filepath.Join(components, "650-uki.pcrlock"))
	run("lock-pe", kernel, "--pcrlock="+filepath.Join(components, "655-kernel.pcrlock"))
	out := run("predict", "--json=short", "--pcr=4", "--pcr=11", "--components="+components, "--location=660-")
	var want map[string][]struct {
		PCR    uint32   `json:"pcr"`
		Values []string `json:"values"`
	}
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, h := range eventlog.Banks() {
		if len(want[h.String()]) != 2 {
			t.Errorf("systemd-pcrlock foretells %v for bank %s, want PCR 4 and 11", want[h.String()], h)
		}
		for _, w := range want[h.String()] {
			if got := c.Values[h][w.PCR].String(); !slices.Equal(w.Values, []string{got}) {
				t.Errorf("PCR %d of %s is foretold as %s, by systemd-pcrlock as %q", w.PCR, h, got, w.Values)
			}
		}
	}
}

// tpmServer starts a fresh TPM and returns the port of its data channel; the control channel is the next one, where tpm2-tss
// looks for it.
func tpmServer(t *testing.T) int {
	t.Helper()
	dir := t.TempDir()
	for range 20 {
		a, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := a.Addr().(*net.TCPAddr).Port
		a.Close()
		cmd := exec.Command(testkit.Tool(t, "swtpm"), "socket", "--tpm2", "--tpmstate", "dir="+dir,
			"--server", fmt.Sprintf("type=tcp,port=%d,bindaddr=127.0.0.1", port),
			"--ctrl", fmt.Sprintf("type=tcp,port=%d,bindaddr=127.0.0.1", port+1), "--flags", "not-need-init,startup-clear")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() { gone <- cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		for range 100 {
			if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port+1)); err == nil {
				c.Close()
				return port
			}
			time.Sleep(50 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		<-gone
	}
	t.Fatal("swtpm found no two ports")
	return 0
}
