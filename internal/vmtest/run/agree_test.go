// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/internal/vmtest/run/survey/given"
)

// difference is one between the device trees of the two routes that is known; what is a regular expression for
// "path/property".
type difference struct {
	what, why string
	chance    bool // it need not be there
}

var placed = difference{what: "/chosen/linux,initrd-(start|end)", why: "each route places the initial RAM disk by its own rules; its contents are compared as files"}

// agreement starts an image by both routes, each with kexec on a machine of its own, and compares what the second kernels
// were given.
type agreement struct {
	scene
	known []difference
}

func (a agreement) run(t *testing.T) {
	t.Helper()
	var got [2]*given.Given
	for i, route := range []string{"parse", "run"} {
		s := a.scene
		s.route = route
		r := play(t, s).Result("survey")
		if err := json.Unmarshal([]byte(r.Stdout), &got[i]); err != nil || r.Status != 0 {
			t.Fatalf("survey after %s: status %d, %v: %s%s", route, r.Status, err, r.Stdout, r.Stderr)
		}
	}
	parse, run := got[0], got[1]
	if parse.Cmdline != run.Cmdline || parse.Cmdline == "" {
		t.Errorf("/proc/cmdline by parse = %q, by run = %q", parse.Cmdline, run.Cmdline)
	}
	if d := cmp.Diff(parse.Files, run.Files); d != "" || len(run.Files) < 3 {
		t.Errorf("%d files of the initial RAM disk, -parse +run:\n%s", len(run.Files), d)
	}
	if a.arch == image.ArchARM64 {
		a.compareTrees(t, flat(t, parse.DeviceTree), flat(t, run.DeviceTree))
	}
	t.Logf("%d files, command line %q", len(run.Files), run.Cmdline)
}

func (a agreement) compareTrees(t *testing.T, parse, run map[string]string) {
	t.Helper()
	if len(parse) < 5 {
		t.Errorf("device tree of %d properties", len(parse))
	}
	names := map[string]bool{}
	for name := range parse {
		names[name] = true
	}
	for name := range run {
		names[name] = true
	}
	met := map[string]bool{}
	for name := range names {
		if parse[name] == run[name] {
			continue
		}
		known := false
		for _, d := range a.known {
			if regexp.MustCompile("^(" + d.what + ")$").MatchString(name) {
				known, met[d.what] = true, true
				t.Logf("%s: parse %s, run %s (%s)", name, parse[name], run[name], d.why)
				break
			}
		}
		if !known {
			t.Errorf("%s: by parse %q, by run %q", name, parse[name], run[name])
		}
	}
	for _, d := range a.known {
		if !met[d.what] && !d.chance {
			t.Errorf("difference %q is no more: %s", d.what, d.why)
		}
	}
}

// flat lists the properties of a tree by path, those that a plan cannot help changing normalised.
func flat(t *testing.T, zipped []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatalf("device tree: %v", err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fdt.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range tree.Reserve {
		out[fmt.Sprintf("reserved %#x", r.Address)] = fmt.Sprintf("%#x", r.Size)
	}
	var walk func(n *fdt.Node, path string)
	walk = func(n *fdt.Node, path string) {
		out[path+"/"] = "node"
		for _, p := range n.Props {
			out[path+"/"+p.Name] = fmt.Sprintf("%x", p.Value)
			if strings.HasSuffix(p.Name, "-seed") {
				// The kernel wipes it after use.
				out[path+"/"+p.Name] = fmt.Sprintf("%d bytes", len(p.Value))
			}
			if p.Name == "bootargs" {
				out[path+"/"+p.Name] = fmt.Sprintf("%q", p.Value)
			}
		}
		for _, c := range n.Children {
			walk(c, path+"/"+c.Name)
		}
	}
	walk(tree.Root, "")
	return out
}

// surveyor is an initial RAM disk that tells what the kernel was given.
func surveyor(t *testing.T, a image.Arch) []byte {
	t.Helper()
	return vmkit.Initramfs(t, a, guest.Script{Name: "second", Steps: []guest.Step{{Name: "survey", Argv: []string{"/bin/survey"}}}},
		testkit.Exec(t, "bin/survey", testkit.BuildBinary(t, "./internal/vmtest/run/survey", goArch(a))))
}

// The second kernel finds the same command line and the same files, whichever route an image took.
func TestAgreeX86(t *testing.T) {
	const a = image.ArchX86_64
	initrd := surveyor(t, a)
	t.Run("bzImage", func(t *testing.T) {
		agreement{scene: scene{arch: a, img: testkit.Kernel(t, "amd64", "6.12"), args: []string{"--cmdline", cmdline(t, a, "one  two"), "--initrd", "/initrd"},
			beside: []testkit.File{testkit.Plain("initrd", initrd)}}}.run(t)
	})
	t.Run("UKI", func(t *testing.T) {
		dir := t.TempDir()
		part := func(name string, args ...string) string {
			out := filepath.Join(dir, name)
			testkit.Run(t, "", "ukify", append([]string{"build", "--stub=" + testkit.AddonStub(t, "amd64", "trixie"), "--output=" + out}, args...)...)
			return out
		}
		ucode := testkit.WriteFile(t, "ucode", testkit.Initramfs(t, testkit.Plain("kernel/x86/microcode/GenuineIntel.bin", []byte("microcode"))))
		img := testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: cmdline(t, a, "profile=main"), Extra: []string{
			"--microcode=" + ucode, "--profile=ID=main", "--join-profile=" + part("one", "--profile=ID=one", "--cmdline="+cmdline(t, a, "profile=one"))}})
		agreement{scene: scene{arch: a, img: img, args: []string{"--profile", "one"}, beside: []testkit.File{
			testkit.Plain("img/image.efi.extra.d/x.addon.efi", testkit.ReadFile(t, part("x", "--cmdline=addon=x"))),
			testkit.Plain("img/image.efi.extra.d/a.cred", []byte("credential")),
		}}}.run(t)
	})
}

// On arm64 the device trees are compared as well, node by node.
func TestAgreeARM64(t *testing.T) {
	const a = image.ArchARM64
	agreement{scene{arch: a, img: testkit.Kernel(t, "arm64", "6.12"), noACPI: true, args: []string{"--cmdline", cmdline(t, a, "one  two"), "--initrd", "/initrd"},
		beside: []testkit.File{testkit.Plain("initrd", surveyor(t, a))}}, []difference{placed}}.run(t)
}
