// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// hostArch is Debian's name for the architecture of this machine.
func hostArch() string {
	switch runtime.GOARCH {
	case "loong64", "riscv64", "amd64", "arm64":
		return runtime.GOARCH
	}
	return "amd64"
}

type installer struct {
	cache  *Cache
	mirror Mirror
	apts   map[string]*apt
	log    *slog.Logger
}

// Install brings the sets into the cache and returns how many units it had to make. A cache that is complete costs a
// few file reads. Progress goes to the log.
func Install(ctx context.Context, c *Cache, log *slog.Logger, sets ...string) (int, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if len(missing(c, sets)) == 0 && wrappersCurrent(c) {
		return 0, nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return 0, err
	}
	unlock, err := lock(ctx, filepath.Join(c.Dir, "lock"), log)
	if err != nil {
		return 0, err
	}
	defer unlock()
	todo := missing(c, sets)
	if len(todo) > 0 {
		m, err := MachineMirror("/")
		if err != nil {
			return 0, err
		}
		in := &installer{cache: c, mirror: m, apts: map[string]*apt{}, log: log}
		for _, u := range todo {
			run := in.install
			if u.Build != "" {
				run = in.compile
			}
			if err := run(ctx, u); err != nil {
				return 0, fmt.Errorf("unit %s: %w", u.Name, err)
			}
		}
	}
	return len(todo), writeWrappers(c)
}

// missing lists the units of the sets that the cache does not hold.
func missing(c *Cache, sets []string) []Unit {
	var out []Unit
	for _, u := range Units() {
		if slices.Contains(sets, u.Set) && !c.Have(u.Name) {
			out = append(out, u)
		}
	}
	return out
}

// lock takes the lock file with flock(1), which locks the open file that it inherits; this process then holds the lock
// until the file is closed.
func lock(ctx context.Context, path string, log *slog.Logger) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	take := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "flock", append(args, "3")...)
		cmd.ExtraFiles = []*os.File{f}
		return cmd.Run()
	}
	if err := take("-n", "-x"); err != nil {
		log.Info("waiting for another run", "lock", path)
		if err := take("-x"); err != nil {
			f.Close()
			return nil, fmt.Errorf("flock %s: %w", path, err)
		}
	}
	return func() { f.Close() }, nil
}

// install makes one unit: download, unpack beside its place, rename.
func (in *installer) install(ctx context.Context, u Unit) error {
	arch := u.Arch
	if arch == "" {
		arch = hostArch()
	}
	a, err := in.ready(ctx, u.Suite, arch)
	if err != nil {
		return err
	}
	names, err := a.walk(ctx, u.Packages, u.Follow)
	if err != nil {
		return err
	}
	if names, err = u.wanted(names); err != nil {
		return err
	}
	for i := range names {
		names[i] += u.Suffix
	}
	if len(names) == 0 {
		return fmt.Errorf("no package of %s matches %s", strings.Join(u.Packages, " "), u.Keep)
	}
	debs := filepath.Join(in.cache.Dir, "debs", u.Name)
	in.log.Info("download", "unit", u.Name, "packages", strings.Join(names, " "))
	files, err := a.fetch(ctx, names, u.Closure, debs)
	if err != nil {
		return err
	}
	tmp := in.cache.unit(u.Name) + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return err
	}
	in.log.Info("unpack", "unit", u.Name, "packages", len(files))
	if err := unpackAll(ctx, tmp, files, u.Only); err != nil {
		return err
	}
	return errors.Join(in.finish(u, tmp), os.RemoveAll(debs))
}

// finish stamps the directory of a unit and puts it in its place.
func (in *installer) finish(u Unit, tmp string) error {
	dst := in.cache.unit(u.Name)
	if err := os.WriteFile(filepath.Join(tmp, ".peel-unit"), []byte(u.fingerprint()), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(dst); err != nil {
		return err
	}
	return os.Rename(tmp, dst)
}

// unpackAll unpacks packages into root, as many at a time as there are processors.
func unpackAll(ctx context.Context, root string, files, only []string) error {
	// The links of a merged /usr come first: an older package's /lib must land in usr/lib.
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", d), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(files))
	slots := make(chan struct{}, runtime.NumCPU())
	for i, f := range files {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = unpack(ctx, root, f, only)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// unpack unpacks the files of one package that match a pattern; without patterns, all.
func unpack(ctx context.Context, root, deb string, only []string) error {
	var fromSaid, said bytes.Buffer
	from := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	// Directory symlinks are kept for the merged /usr; ownership and set-id bits mean nothing here.
	args := []string{"-x", "-C", root, "-f", "-", "--keep-directory-symlink", "--no-same-owner", "--no-same-permissions",
		"--delay-directory-restore", "--exclude=./usr/share/doc", "--exclude=./usr/share/man", "--exclude=./usr/share/locale"}
	if len(only) > 0 {
		args = append(append(args, "--wildcards", "--no-anchored"), only...)
	}
	to := exec.CommandContext(ctx, "tar", args...)
	pipe, err := from.StdoutPipe()
	if err != nil {
		return err
	}
	to.Stdin, to.Stderr, from.Stderr = pipe, &said, &fromSaid
	if err := from.Start(); err != nil {
		return err
	}
	terr := to.Run()
	if len(only) > 0 && bytes.Contains(said.Bytes(), []byte("Not found in archive")) {
		// Not every package has a file for every pattern; the lookups tell when one that matters is missing.
		terr = nil
	}
	pipe.Close()
	ferr := from.Wait()
	if terr != nil {
		return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), terr, bytes.TrimSpace(said.Bytes()))
	}
	if ferr != nil {
		return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), ferr, bytes.TrimSpace(fromSaid.Bytes()))
	}
	return nil
}
