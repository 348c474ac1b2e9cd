// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// TestExtract: what ukify and objcopy put into a UKI comes out byte for byte, of kernels signed and unsigned, with each
// generation of stubs.
func TestExtract(t *testing.T) {
	peel := testkit.BuildBinary(t, "./cmd/peel", runtime.GOARCH)
	key := testkit.NewKey(t, "peel test")
	initrd := testkit.Initramfs(t, testkit.Plain("x", bytes.Repeat([]byte("odd length "), 1003)))
	const cmdline = `root=LABEL=x peel.quote="a b" ü`
	tests := []struct{ arch, series, suite, tool string }{
		{"amd64", "6.12", "trixie", "ukify"},
		{"amd64", "6.12", "trixie", "objcopy"},
		{"amd64", "6.12-unsigned", "forky", "ukify"},
		{"amd64", "6.12-unsigned", "forky", "objcopy"},
		{"arm64", "6.12", "trixie", "ukify"},
		{"arm64", "6.12", "trixie", "objcopy"},
		// systemd 252 came without ukify; that of 257 makes sections of its stub overlap.
		{"amd64", "6.1", "bookworm", "objcopy"},
		{"arm64", "6.12", "bookworm", "objcopy"},
	}
	for _, tt := range tests {
		t.Run(strings.Join([]string{tt.arch, tt.series, tt.suite, tt.tool}, "-"), func(t *testing.T) {
			kernel := testkit.Kernel(t, tt.arch, tt.series)
			uki := testkit.UKI(t, testkit.UKIOptions{
				Arch: tt.arch, Stub: testkit.Stub(t, tt.arch, tt.suite), Kernel: kernel, Initrd: initrd, Cmdline: cmdline,
				Objcopy: tt.tool == "objcopy", Key: key,
			})
			dir := filepath.Join(t.TempDir(), "parts")
			cmd := exec.Command(peel, "extract", uki, "-o", dir, "--cert", key.CertPEM, "--policy", "enforce")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("peel extract: %v\n%s", err, out)
			}
			for name, want := range map[string][]byte{
				"kernel": testkit.ReadFile(t, kernel), "initrd": initrd, "cmdline": []byte(cmdline),
			} {
				if got := testkit.ReadFile(t, filepath.Join(dir, name)); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, want the %d that went in", name, len(got), len(want))
				}
			}
		})
	}
}
