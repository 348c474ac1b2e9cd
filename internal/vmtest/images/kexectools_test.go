// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/internal/vmtest/boot/segtrace/trace"
)

// handed is what a call of kexec_load hands over, as far as it must not depend on who makes the call.
type handed struct {
	Kernel, Initrd []byte // digests
	Cmdline        string
}

// handedBy reads the call that a program made; none if it made none.
func handedBy(t *testing.T, r *guest.Result) *handed {
	t.Helper()
	var call trace.Call
	if json.Unmarshal([]byte(r.Stdout), &call) != nil || len(call.Segments) == 0 {
		return nil
	}
	h := &handed{}
	for _, s := range call.Segments {
		switch {
		case len(s.Head) >= 64 && string(s.Head[56:60]) == "ARM\x64":
			h.Kernel = s.SHA256
		case bytes.HasPrefix(s.Head, []byte("070701")):
			h.Initrd = s.SHA256
		case bytes.HasPrefix(s.Head, []byte{0xd0, 0x0d, 0xfe, 0xed}):
			tree, err := fdt.Parse(s.Head[:min(uint64(len(s.Head)), uint64(binary.BigEndian.Uint32(s.Head[4:])))])
			if err != nil {
				t.Fatal(err)
			}
			if chosen, ok := tree.Root.Child("chosen"); ok {
				// kexec-tools leaves more than one zero behind the text.
				text, _ := chosen.Get("bootargs")
				text, _, _ = bytes.Cut(text, []byte{0})
				h.Cmdline = string(text)
			}
		}
	}
	return h
}

// TestKexecTools: kexec-tools (2.0.29), which opens zboot images of gzip by itself, hands the same kernel over as peel;
// zboot images of zstd and UKIs it does not know.
func TestKexecTools(t *testing.T) {
	zfile, err := filepath.Abs("../../../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	if err != nil {
		t.Fatal(err)
	}
	z, err := zboot.Parse(testkit.ReadFile(t, zfile))
	if err != nil {
		t.Fatal(err)
	}
	// The same kernel by another method.
	plain := testkit.Run(t, "", "gzip", "-dc", testkit.WriteFile(t, "payload.gz", z.Payload()))
	kernel := testkit.WriteFile(t, "Image", plain)
	zstd := zbootWith(t, testkit.Run(t, "", "zstd", "-19", "-c", kernel))
	initrd := testkit.Initramfs(t, testkit.Plain("init", bytes.Repeat([]byte("initrd "), 3000)))
	const line = "console=ttyAMA0 peel.inside=1"
	uki := func(linux string) string {
		return testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: linux, Initrd: initrd, Cmdline: line})
	}
	cases := []struct {
		name, image string
		whole       bool // brings its own initrd and command line
		// theirs is what becomes of it in kexec-tools: "same", or a word of the refusal.
		theirs string
	}{
		{"zboot-gzip", zfile, false, "same"},
		{"zboot-zstd", zstd, false, "file type"},
		{"uki-image", uki(kernel), true, "file type"},
		{"uki-zboot", uki(zfile), true, "file type"},
	}
	files := append(vmkit.Program(t, arm64, "kexec-tools", "usr/sbin/kexec"), vmkit.Peel(t, arm64),
		testkit.Exec(t, "bin/segtrace", testkit.BuildBinary(t, "./internal/vmtest/boot/segtrace", "arm64")),
		testkit.Plain("initrd", initrd))
	var steps []guest.Step
	for _, c := range cases {
		files = append(files, testkit.Plain(c.name, testkit.ReadFile(t, c.image)))
		theirs := []string{"/bin/segtrace", "/usr/sbin/kexec", "-d", "-c", "-l", "/" + c.name}
		ours := []string{"/bin/segtrace", "/bin/peel", "load", "/" + c.name, "--policy", "warn", "--syscall", "segments"}
		if !c.whole {
			theirs = append(theirs, "--initrd=/initrd", "--command-line="+line)
			ours = append(ours, "--initrd", "/initrd", "--cmdline", line)
		}
		steps = append(steps, guest.Step{Name: "theirs " + c.name, Argv: theirs}, guest.Step{Name: "ours " + c.name, Argv: ours})
	}
	m := vmkit.Config(t, arm64)
	m.MemoryMiB = 1024
	m.Kernel = testkit.Kernel(t, "arm64", "6.12")
	m.Cmdline = vmkit.Cmdline(t, arm64)
	m.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arm64, guest.Script{Name: "tools", Steps: steps}, files...))
	run := vmkit.Boot(t, m, "tools")
	for _, c := range cases {
		theirs, ours := handedBy(t, run.Result("theirs "+c.name)), handedBy(t, run.Result("ours "+c.name))
		if ours == nil || ours.Cmdline != line || ours.Initrd == nil {
			r := run.Result("ours " + c.name)
			t.Errorf("%s: peel hands over %+v, want the initrd and %q; status %d: %s", c.name, ours, line, r.Status, r.Stderr)
			continue
		}
		said := run.Result("theirs " + c.name)
		switch c.theirs {
		case "same":
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("%s (-kexec-tools +peel):\n%s\n%s", c.name, diff, said.Stderr)
			}
		default:
			if theirs != nil || !strings.Contains(said.Stdout+said.Stderr, c.theirs) {
				t.Errorf("%s: kexec-tools hands over %+v, want a word of %q; it said:\n%s%s", c.name, theirs, c.theirs, said.Stdout, said.Stderr)
			}
		}
	}
}
