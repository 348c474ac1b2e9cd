// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command survey tells what a kernel was given: the files of its initial RAM disk with their digests, its command line, and
// the device tree that it was started with. It is for tests in virtual machines.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/internal/vmtest/run/survey/given"
)

func main() {
	g, err := survey()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(g)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "survey:", err)
		os.Exit(1)
	}
}

// mounted are file systems that the init of the machine has mounted.
var mounted = map[string]bool{"/proc": true, "/sys": true, "/dev": true, "/tmp": true, "/run": true}

func survey() (*given.Given, error) {
	g := &given.Given{Files: map[string]string{}}
	err := filepath.WalkDir("/", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case mounted[p]:
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(p)
		g.Files[p] = fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))
		return err
	})
	if err != nil {
		return nil, err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	g.Cmdline = string(bytes.TrimSuffix(line, []byte("\n")))
	if tree, err := os.ReadFile("/sys/firmware/fdt"); err == nil {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(tree); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		g.DeviceTree = z.Bytes()
	}
	return g, nil
}
