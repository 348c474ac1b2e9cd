// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// SoftwareTPM starts swtpm, a new and started TPM 2.0, and returns the socket of its data channel: what measure/tpm.Open
// takes. The TPM takes one connection after another. Debian's own programs reach it by TCTI(socket).
func SoftwareTPM(t testing.TB) string { return dataTPM(t, "not-need-init,startup-clear") }

// ColdTPM is SoftwareTPM of a TPM that no firmware has started.
func ColdTPM(t testing.TB) string { return dataTPM(t, "not-need-init") }

func dataTPM(t testing.TB, flags string) string {
	t.Helper()
	dir := tpmDir(t)
	data, ctrl := filepath.Join(dir, "data"), filepath.Join(dir, "data.ctrl")
	startTPM(t, dir, []string{data, ctrl}, "--server", "type=unixio,path="+data, "--ctrl", "type=unixio,path="+ctrl, "--flags", flags)
	return data
}

// MachineTPM starts swtpm for a virtual machine and returns its control socket, for vm.Config.TPM. It has the banks named, by
// default those that swtpm has, and ends with the machine.
func MachineTPM(t testing.TB, banks ...string) string {
	t.Helper()
	dir := tpmDir(t)
	if len(banks) > 0 {
		Run(t, "", "swtpm_setup", "--tpm2", "--tpmstate", dir, "--pcr-banks", strings.Join(banks, ","))
	}
	ctrl := filepath.Join(dir, "ctrl")
	startTPM(t, dir, []string{ctrl}, "--ctrl", "type=unixio,path="+ctrl, "--terminate")
	return ctrl
}

// tpmDir is a directory for sockets: the names of Unix sockets are short.
func tpmDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startTPM starts swtpm and waits for its sockets.
func startTPM(t testing.TB, dir string, sockets []string, args ...string) {
	t.Helper()
	cmd := exec.Command(Tool(t, "swtpm"), append([]string{"socket", "--tpm2", "--tpmstate", "dir=" + dir}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 400 {
		if !slices.ContainsFunc(sockets, func(s string) bool { return !listening(t, s) }) {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("swtpm did not make its sockets %q", sockets)
}

// listening reports whether somebody waits for connections at a Unix socket, without making one: swtpm would count it. The file
// is there a moment earlier. (/proc/net/unix; the flag is SO_ACCEPTON of include/uapi/linux/net.h.)
func listening(t testing.TB, socket string) bool {
	t.Helper()
	for line := range strings.Lines(string(ReadFile(t, "/proc/net/unix"))) {
		f := strings.Fields(line)
		if len(f) == 8 && f[3] == "00010000" && f[7] == socket {
			return true
		}
	}
	return false
}

// TCTI names the TPM behind a socket of SoftwareTPM as the programs of tpm2-tools and the tpm2 provider of OpenSSL want it,
// in TPM2TOOLS_TCTI and TPM2OPENSSL_TCTI.
func TCTI(socket string) string { return "swtpm:path=" + socket }
