// SPDX-License-Identifier: Apache-2.0

//go:build linux && long

package kexec

import (
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
)

// TestVMFileLoadTiny: a kernel compiled from Debian's source that has kexec_file_load and nothing else loads itself, out of
// each of its own forms: peel chooses the call. Its zboot images are those of its own build. The last kernel is locked down:
// it takes what is signed by the key that is built into it, also when peel found it inside a signed UKI, and nothing else.
func TestVMFileLoadTiny(t *testing.T) {
	k := testkit.TinyKernel(t)
	owner, other := testkit.Snakeoil(t), testkit.NewKey(t, "stranger")
	links := forms(t, owner, k.Image, k.Zboot)
	last := &links[len(links)-1]
	last.words = []string{"lockdown=integrity"}
	uki := func(name, linux string) testkit.File {
		return testkit.Plain(name, testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: linux, Cmdline: "x", Key: owner})))
	}
	load := func(name string) guest.Step {
		return guest.Step{Name: name, Argv: []string{"/bin/peel", "load", "/" + name, "--cert", "/cert.pem", "--policy", "enforce"}}
	}
	run := loadByFile(t, k.Image, owner, links, []guest.Step{load("signed"), load("unsigned"), load("strange")}, []testkit.File{
		uki("signed", testkit.Sign(t, owner, k.Image)), uki("unsigned", k.Image), uki("strange", testkit.Sign(t, other, k.Image))})
	for _, l := range links {
		if got := run.Boot(l.name).Release; !strings.HasSuffix(got, "-peel-tiny") {
			t.Errorf("%s: the kernel is %q, want one of name -peel-tiny", l.name, got)
		}
	}
	if got := run.Boot(last.name).Lockdown; got != "integrity" {
		t.Fatalf("lockdown = %q, want integrity", got)
	}
	if r := run.Result("signed"); r.Status != 0 {
		t.Errorf("signed by the built-in key: status %d, want 0; peel said:\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	for _, name := range []string{"unsigned", "strange"} {
		if r := run.Result(name); r.Status == 0 || !strings.Contains(r.Stderr, "locked down") {
			t.Errorf("%s: status %d, want a refusal that names the lockdown; peel said:\n%s%s", name, r.Status, r.Stdout, r.Stderr)
		}
	}
}
