// SPDX-License-Identifier: Apache-2.0

//go:build long

package parser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/parser/stock"
)

// TestVerifier loads the stock parsers into the kernels of Debian, both as on a
// host of the series (by copies) and as on peel's (by references). No kernel
// has the anchor and the functions of the ABI, so the sources are built with
// PEEL_VERIFY: docs/parser-abi.md, "Would the stock programs load in a
// kernel?", says what stands in for what.
func TestVerifier(t *testing.T) {
	src := filepath.Join(testkit.ModuleDir(t), "parser", "stock", "src")
	for _, series := range []string{"6.12", "new"} {
		t.Run(series, func(t *testing.T) {
			files := []testkit.File{testkit.Exec(t, "bin/verify", testkit.BuildBinary(t, "./internal/vmtest/parser/verify", "amd64"))}
			argv := []string{"/bin/verify"}
			for _, name := range stock.Names() {
				for refs, how := range []string{"copies", "references"} {
					object := filepath.Join(t.TempDir(), "program.o")
					testkit.Run(t, "", "clang", "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-std=gnu11", "-I"+src, fmt.Sprint("-DPEEL_VERIFY=", refs),
						"-DPEEL_RECORD=(60u << 20)", "-DPEEL_RING=(64u << 20)", "-c", filepath.Join(src, name+".c"), "-o", object)
					path := "/" + name + "-by-" + how
					files = append(files, testkit.Plain(path[1:], testkit.ReadFile(t, object)))
					argv = append(argv, path)
				}
			}
			c := vmkit.Config(t, image.ArchX86_64)
			c.Kernel = testkit.Kernel(t, "amd64", series)
			c.MemoryMiB = 1024
			c.Cmdline = vmkit.Cmdline(t, image.ArchX86_64)
			c.Initrd = filepath.Join(t.TempDir(), "initrd")
			script := guest.Script{Name: "verifier", Steps: []guest.Step{{Name: "verify", Argv: argv}}}
			if err := os.WriteFile(c.Initrd, vmkit.Initramfs(t, image.ArchX86_64, script, files...), 0o600); err != nil {
				t.Fatal(err)
			}
			r := vmkit.Boot(t, c, "verifier").Result("verify")
			t.Logf("%s", r.Stdout)
			for _, path := range argv[1:] {
				if !strings.Contains(r.Stdout, path+" accepted ") {
					t.Errorf("%s: not accepted", path[1:])
				}
			}
			if r.Status != 0 {
				t.Errorf("exit status %d: %s", r.Status, r.Stderr)
			}
		})
	}
}
