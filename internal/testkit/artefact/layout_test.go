// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	root := machine(t, map[string]string{"usr/bin/real": "", "etc/alternatives/x": ""})
	for link, target := range map[string]string{
		"bin": "usr/bin", "usr/bin/rel": "real", "usr/bin/abs": "/usr/bin/rel", "usr/bin/up": "../../bin/abs",
		"usr/bin/loop": "loop", "usr/bin/out": "../../../../../usr/bin/real",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	want := filepath.Join(root, "usr/bin/real")
	for _, p := range []string{"usr/bin/real", "bin/real", "bin/rel", "bin/abs", "usr/bin/up", "usr/bin/out"} {
		if got, err := Resolve(root, p); err != nil || got != want {
			t.Errorf("Resolve(%s) = %q, %v, want %q", p, got, err, want)
		}
	}
	if got, err := Resolve(root, "usr/bin/loop"); err == nil {
		t.Errorf("Resolve(loop) = %q, want an error", got)
	}
	if got, err := Resolve(root, "usr/bin/none"); !errors.Is(err, ErrMissing) {
		t.Errorf("Resolve(none) = %q, %v, want %v", got, err, ErrMissing)
	}
}

// TestUnits holds the table of units to its own rules.
func TestUnits(t *testing.T) {
	seen := map[string]bool{}
	for _, u := range Units() {
		if seen[u.Name] {
			t.Errorf("unit %s twice", u.Name)
		}
		seen[u.Name] = true
		if u.Set != Core && u.Set != Long {
			t.Errorf("unit %s: set %q", u.Name, u.Set)
		}
		if (u.Follow == "") != (u.Keep == "") {
			t.Errorf("unit %s: Follow %q and Keep %q go together", u.Name, u.Follow, u.Keep)
		}
	}
	for _, p := range programs() {
		if !seen[p.unit] {
			t.Errorf("program %s: no unit %s", p.name, p.unit)
		}
	}
}

func TestKeepKernel(t *testing.T) {
	u := kernel(Core, "k", "trixie", "amd64", "linux-image-cloud-amd64")
	got, err := u.wanted([]string{"linux-image-cloud-amd64", "linux-image-6.12.1+deb13-cloud-amd64", "linux-binary-7.2.1+deb14-cloud-amd64", "linux-base"})
	if want := []string{"linux-image-6.12.1+deb13-cloud-amd64", "linux-binary-7.2.1+deb14-cloud-amd64"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("wanted() = %q, %v, want %q", got, err, want)
	}
}

// TestEmptyCache: what is not there is an error that says so, and an interrupted unit is not there.
func TestEmptyCache(t *testing.T) {
	c := &Cache{Dir: t.TempDir()}
	if err := os.MkdirAll(c.unit(unitTools), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, stamp := range []string{"", "made from another list\n"} {
		if stamp != "" {
			if err := os.WriteFile(c.stamp(unitTools), []byte(stamp), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if c.Have(unitTools) {
			t.Errorf("Have(tools) with stamp %q = true, want false", stamp)
		}
	}
	if _, err := c.Tool("sbsign"); !errors.Is(err, ErrMissing) {
		t.Errorf("Tool(sbsign) = %v, want %v", err, ErrMissing)
	}
	if _, err := c.Tool("../sbsign"); err == nil {
		t.Error("Tool(../sbsign) = nil, want an error")
	}
	if _, err := c.Kernel("amd64", "6.12"); !errors.Is(err, ErrMissing) {
		t.Errorf("Kernel = %v, want %v", err, ErrMissing)
	}
	if _, err := c.Firmware("s390x", false); !errors.Is(err, ErrMissing) {
		t.Errorf("Firmware(s390x) = %v, want %v", err, ErrMissing)
	}
}

// TestComplete: on a complete cache, Install has nothing to do; each wrapper is there and each lookup finds one file.
func TestComplete(t *testing.T) {
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	n, err := Install(context.Background(), c, nil, Core)
	if err != nil || n != 0 {
		t.Fatalf("Install(core) = %d, %v, want 0 units to make: run `go run ./internal/cmd/deps core`", n, err)
	}
	for _, p := range programs() {
		if u, _ := unitByName(p.unit); u.Set != Core {
			continue
		}
		if _, err := c.Tool(p.name); err != nil {
			t.Error(err)
		}
	}
	for _, u := range Units() {
		arch, series, ok := strings.Cut(strings.TrimPrefix(u.Name, "kernel-"), "-")
		if !ok || u.Set != Core || !strings.HasPrefix(u.Name, "kernel-") {
			continue
		}
		k, err := c.Kernel(arch, series)
		if err != nil {
			t.Error(err)
			continue
		}
		if want, _, _ := strings.Cut(series, "-"); want != "new" && !strings.HasPrefix(k.Release, want+".") {
			t.Errorf("Kernel(%s, %s).Release = %s", arch, series, k.Release)
		}
	}
	for _, suite := range []string{"bookworm", "trixie", "forky"} {
		for _, arch := range []string{"amd64", "arm64"} {
			if _, err := c.Stub(arch, suite); err != nil {
				t.Error(err)
			}
			if _, err := c.SystemdBoot(arch, suite); err != nil {
				t.Error(err)
			}
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, sb := range []bool{false, true} {
			if _, err := c.Firmware(arch, sb); err != nil {
				t.Error(err)
			}
		}
	}
	for _, f := range []func() (string, error){c.Shim, c.DebianCA} {
		if _, err := f(); err != nil {
			t.Error(err)
		}
	}
}
