// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// SoftwareTPM starts swtpm, a new and started TPM 2.0, and returns the socket of its data channel: what measure/tpm.Open
// takes. The TPM takes one connection after another. Debian's own programs reach it by TCTI(socket).
func SoftwareTPM(t testing.TB) string {
	t.Helper()
	// The names of Unix sockets are short.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	cmd := exec.Command(Tool(t, "swtpm"), "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+data,
		"--ctrl", "type=unixio,path="+data+".ctrl", "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		_, err1 := os.Stat(data)
		_, err2 := os.Stat(data + ".ctrl")
		if err1 == nil && err2 == nil {
			return data
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("swtpm did not make its sockets")
	return ""
}

// TCTI names the TPM behind a socket of SoftwareTPM as the programs of tpm2-tools and the tpm2 provider of OpenSSL want it,
// in TPM2TOOLS_TCTI and TPM2OPENSSL_TCTI.
func TCTI(socket string) string { return "swtpm:path=" + socket }
