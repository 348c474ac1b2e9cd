// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/peelboot/peel/internal/testkit/artefact"
)

//go:embed testdata/dpdk.c
var source []byte

// dpdk is the program of testdata/dpdk.c and the library that it opens. It
// needs no privilege and no huge pages: rte_bpf_load and rte_bpf_exec work
// without DPDK's environment layer being started.
type dpdk struct {
	program, library string
	env              []string
}

// newDPDK unpacks DPDK's libraries into the tool cache, where they stay, and
// builds the program into dir.
func newDPDK(ctx context.Context, cache *artefact.Cache, dir string) (*dpdk, error) {
	cc, err := cache.Tool("cc")
	if err != nil {
		return nil, err
	}
	root := filepath.Join(cache.Dir, "bench-dpdk")
	library, err := find(root)
	if err != nil {
		if err := fetch(ctx, root); err != nil {
			return nil, err
		}
		if library, err = find(root); err != nil {
			return nil, err
		}
	}
	d := &dpdk{program: filepath.Join(dir, "dpdk"), library: library}
	c := d.program + ".c"
	if err := os.WriteFile(c, source, 0o600); err != nil {
		return nil, err
	}
	if _, err := output(exec.CommandContext(ctx, cc, "-O2", "-o", d.program, c)); err != nil {
		return nil, err
	}
	paths := []string{filepath.Dir(library)}
	if libs, err := filepath.Glob(filepath.Join(root, "lib", "*-linux-gnu")); err == nil {
		paths = append(paths, libs...)
	}
	d.env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(paths, ":"))
	return d, nil
}

func find(root string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "usr", "lib", "*-linux-gnu", "librte_bpf.so.*"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("no librte_bpf")
	}
	return found[0], nil
}

// fetch downloads the package of librte_bpf and what it depends on beyond the
// C library, and unpacks them below root.
func fetch(ctx context.Context, root string) error {
	listing, err := output(exec.CommandContext(ctx, "apt-cache", "search", "--names-only", "^librte-bpf[0-9]"))
	if err != nil {
		return err
	}
	name, _, ok := strings.Cut(string(listing), " ")
	if !ok {
		return errors.New("no package librte-bpf in the archive")
	}
	listing, err = output(exec.CommandContext(ctx, "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests",
		"--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", name))
	if err != nil {
		return err
	}
	// The program runs with the C library of the tool cache.
	ours := regexp.MustCompile(`^(libc6|libgcc-s1|gcc-[0-9]+-base|libelogind0)$`)
	names := []string{"download"}
	for _, line := range strings.Split(string(listing), "\n") {
		if line != "" && !strings.ContainsAny(line[:1], " <|") && !ours.MatchString(line) {
			names = append(names, line)
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(root), "bench-dpdk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	get := exec.CommandContext(ctx, "apt-get", names...)
	get.Dir = tmp
	if _, err := output(get); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	for _, p := range packages {
		if _, err := output(exec.CommandContext(ctx, "dpkg", "-x", p, filepath.Join(tmp, "root"))); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(tmp, "root"), root)
}

// measure is what the function measure does for package bpf.
func (d *dpdk) measure(ctx context.Context, code []byte, seconds int) (uint64, time.Duration, error) {
	cmd := exec.CommandContext(ctx, d.program, d.library, fmt.Sprint(memoryBytes), fmt.Sprint(seconds))
	cmd.Env = d.env
	cmd.Stdin = bytes.NewReader(code)
	out, err := output(cmd)
	if err != nil {
		return 0, 0, err
	}
	var r0 uint64
	var ns int64
	if _, err := fmt.Sscanf(string(out), "%x %d", &r0, &ns); err != nil {
		return 0, 0, fmt.Errorf("output %q: %w", out, err)
	}
	return r0, time.Duration(ns), nil
}

// output runs a command and puts what it says to standard error into its
// error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}
