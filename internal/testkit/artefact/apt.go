// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// apt is one suite of one architecture with a state of its own and an empty dpkg status, so that a resolution never
// depends on what this machine has installed.
type apt struct {
	dir     string
	arch    string
	updated bool
	log     *slog.Logger
}

// keyringUnit holds the machine's newest debian-archive-keyring, fetched when the installed one does not know a suite yet.
const keyringUnit = "keyring"

func (in *installer) apt(suite, arch string) *apt {
	key := suite + "-" + arch
	a, ok := in.apts[key]
	if !ok {
		a = &apt{dir: filepath.Join(in.cache.Dir, "apt", key), arch: arch, log: in.log}
		in.apts[key] = a
	}
	return a
}

// ready updates the package lists of a suite once a run.
func (in *installer) ready(ctx context.Context, suite, arch string) (*apt, error) {
	a := in.apt(suite, arch)
	if a.updated {
		return a, nil
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644); err != nil {
		return nil, err
	}
	in.log.Info("package lists", "suite", suite, "arch", arch)
	base, _, _ := strings.Cut(suite, "-")
	var errs []error
	for _, try := range []struct{ security, keyring bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
		if try.security && (in.mirror.Security == "" || base == "forky" || base == "sid") {
			continue
		}
		keys := in.mirror.Keyrings
		if try.keyring {
			k, err := in.newKeyring(ctx, suite)
			if err != nil {
				errs = append(errs, err)
				break
			}
			keys = k
		}
		text := stanza(in.mirror.Main, suite, keys)
		if suite != base {
			text += stanza(in.mirror.Main, base, keys)
		}
		if try.security {
			text += stanza(in.mirror.Security, base+"-security", keys)
		}
		if err := os.WriteFile(filepath.Join(a.dir, "deb.sources"), []byte(text), 0o644); err != nil {
			return nil, err
		}
		_, err := a.run(ctx, "", "apt-get", "-q", "update")
		if err == nil {
			a.updated = true
			return a, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("package lists of %s/%s: %w", suite, arch, errors.Join(errs...))
}

func stanza(uri, suite string, keys []string) string {
	s := "Types: deb\nURIs: " + uri + "\nSuites: " + suite + "\nComponents: main\n"
	if len(keys) > 0 {
		s += "Signed-By: " + strings.Join(keys, " ") + "\n"
	}
	return s + "\n"
}

// newKeyring gets debian-archive-keyring from the machine's own suite, whose signature the machine can check.
func (in *installer) newKeyring(ctx context.Context, suite string) ([]string, error) {
	own := in.mirror.Codename
	if own == "" || own == suite {
		return nil, errors.New("no newer archive keyring to be had")
	}
	u := Unit{Name: keyringUnit, Suite: own, Arch: hostArch(), Packages: []string{"debian-archive-keyring"}}
	if err := in.install(ctx, u); err != nil {
		return nil, err
	}
	for _, k := range fullKeyrings() {
		k = filepath.Join(in.cache.unit(keyringUnit), k)
		if _, err := os.Stat(k); err == nil {
			return []string{k}, nil
		}
	}
	return nil, errors.New("debian-archive-keyring holds no keyring")
}

// run runs an apt program on this state; the error holds what it said.
func (a *apt) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	opts := []string{
		"-o", "Dir::Etc::SourceList=" + filepath.Join(a.dir, "deb.sources"),
		"-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::Etc::Preferences=/dev/null",
		"-o", "Dir::Etc::PreferencesParts=/dev/null",
		"-o", "Dir::State=" + filepath.Join(a.dir, "state"),
		"-o", "Dir::State::status=" + filepath.Join(a.dir, "status"),
		"-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "APT::Architecture=" + a.arch,
		"-o", "APT::Architectures=" + a.arch,
		"-o", "APT::Sandbox::User=root",
		"-o", "APT::Default-Release=",
		"-o", "APT::Install-Recommends=false",
		"-o", "APT::Update::Error-Mode=any",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false",
		"-o", "Acquire::Retries=5",
		"-o", "Acquire::Queue-Mode=access",
	}
	cmd := exec.CommandContext(ctx, args[0], append(opts, args[1:]...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// walk follows the dependencies of the packages whose names match the expression, and returns all names seen.
func (a *apt) walk(ctx context.Context, packages []string, follow string) ([]string, error) {
	if follow == "" {
		return packages, nil
	}
	re, err := regexp.Compile(follow)
	if err != nil {
		return nil, err
	}
	seen := slices.Clone(packages)
	for i := 0; i < len(seen); i++ {
		out, err := a.run(ctx, "", "apt-cache", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
			"--no-replaces", "--no-enhances", "depends", seen[i])
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			_, name, ok := strings.Cut(line, "Depends: ")
			name = strings.TrimSpace(name)
			if ok && re.MatchString(name) && !slices.Contains(seen, name) {
				seen = append(seen, name)
			}
		}
	}
	return seen, nil
}

// fetch downloads packages, with all they depend on when closure is set, and returns the files.
func (a *apt) fetch(ctx context.Context, names []string, closure bool, dir string) ([]string, error) {
	verb := []string{"download"}
	if closure {
		verb = []string{"install", "-y", "--download-only", "--no-install-recommends"}
	}
	// What is there already is not listed: the list is made as if nothing were, so that an interrupted run goes on.
	nothing := filepath.Join(dir, "nothing")
	for _, d := range []string{dir, nothing} {
		if err := os.MkdirAll(filepath.Join(d, "partial"), 0o755); err != nil {
			return nil, err
		}
	}
	args := func(dir string, more ...string) []string {
		return slices.Concat([]string{"apt-get", "-q", "-o", "Dir::Cache::archives=" + dir}, verb, more, names)
	}
	list, err := a.run(ctx, nothing, args(nothing, "--print-uris")...)
	if err != nil {
		return nil, err
	}
	var files []string
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		// apt names files by the escaped version, the URI by the pool's name; either is used depending on the verb.
		name, err := url.PathUnescape(f[1])
		if err != nil || name != filepath.Base(name) {
			return nil, fmt.Errorf("package file %q: not a plain name", f[1])
		}
		files = append(files, f[1])
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("packages %s: none found", strings.Join(names, " "))
	}
	if _, err := a.run(ctx, dir, args(dir)...); err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = filepath.Join(dir, f)
		if _, err := os.Stat(files[i]); err != nil {
			return nil, fmt.Errorf("package not downloaded: %w", err)
		}
	}
	return files, nil
}
