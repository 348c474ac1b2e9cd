// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/internal/testkit/artefact"
	"github.com/peelboot/peel/parser"
)

// initrdBytes is the initrd of the UKI that is parsed.
const initrdBytes = 64 << 20

// parse times parser.Run on a whole UKI: opening the stock programs, linking
// them, running them on the UKI and on the kernel in it.
func parse(ctx context.Context, cache *artefact.Cache, dir string, seconds int) error {
	kernel, err := cache.Kernel("amd64", "6.12")
	if err != nil {
		return err
	}
	stub, err := cache.Stub("amd64", "trixie")
	if err != nil {
		return err
	}
	ukify, err := cache.Tool("ukify")
	if err != nil {
		return err
	}
	initrd, uki := filepath.Join(dir, "initrd"), filepath.Join(dir, "uki.efi")
	noise := make([]byte, initrdBytes)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	if err := os.WriteFile(initrd, noise, 0o600); err != nil {
		return err
	}
	if _, err := output(exec.CommandContext(ctx, ukify, "build", "--linux="+kernel.Path, "--stub="+stub, "--initrd="+initrd,
		"--cmdline=quiet", "--uname=bench", "--output="+uki)); err != nil {
		return err
	}
	m, err := sealed.Open(uki, 1<<30)
	if err != nil {
		return err
	}
	defer m.Close()
	layers := 0
	d, err := fastest(seconds, func() error {
		r, err := parser.Run(ctx, m.Bytes(), parser.Options{})
		if err == nil {
			layers = len(r.Layers)
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("parse of a UKI of %.1f MiB, %d layers: %.2f ms\n", float64(m.Size())/(1<<20), layers, d.Seconds()*1e3)
	return nil
}
