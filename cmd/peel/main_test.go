// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/inspect"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
)

// outcome is what one call of the command did.
type outcome struct {
	code        int
	stdout, err string
}

func call(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, errw bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(""), &out, &errw)
	return outcome{code, out.String(), errw.String()}
}

// want fails unless the outcome has the status and each text somewhere.
func (o outcome) want(t *testing.T, what string, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("%s: status %d, want %d; it said:\n%s%s", what, o.code, code, o.stdout, o.err)
	}
	for _, text := range texts {
		if !strings.Contains(o.stdout+o.err, text) {
			t.Errorf("%s: said %q, want %q in it", what, o.stdout+o.err, text)
		}
	}
}

// images are made once per test: a signed UKI and who signed it.
type images struct {
	uki, cert, other string
	initrd           []byte
}

func makeImages(t *testing.T) images {
	key, other := testkit.NewKey(t, "site"), testkit.NewKey(t, "other")
	initrd := bytes.Repeat([]byte("an initrd\n"), 1000)
	return images{
		uki:    testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: "quiet root=LABEL=x", Key: key}),
		cert:   key.CertPEM,
		other:  other.CertPEM,
		initrd: initrd,
	}
}

func TestUsage(t *testing.T) {
	call(t).want(t, "no verb", 0, "A first session")
	call(t, "--help").want(t, "--help", 0, "Look at images:", "Exit status")
	for _, args := range [][]string{
		{"frobnicate"}, {"inspect"}, {"inspect", "a", "b"}, {"verify"}, {"verify", "--frob", "x"},
		{"extract", "x"}, {"load", "x", "--policy", "maybe"}, {"status", "x"}, {"parser", "exec", "--hex", "zz"},
		{"load", "x", "--cmdline", "a", "--reuse-cmdline"},
	} {
		o := call(t, args...)
		o.want(t, strings.Join(args, " "), exitUsage, "Try 'peel --help'.")
		if o.stdout != "" {
			t.Errorf("%v: %q on standard output, want nothing", args, o.stdout)
		}
	}
	call(t, "version").want(t, "version", 0, "peel devel")
	call(t, "inspect", filepath.Join(t.TempDir(), "none")).want(t, "no file", exitFailed, "no such file")
}

func TestInspect(t *testing.T) {
	im := makeImages(t)
	call(t, "inspect", im.uki).want(t, "inspect", 0, "unified kernel image for x86_64", "signed by     CN=site",
		"bzImage for x86_64", "payload zstd", "quiet root=LABEL=x", "CN=Debian Secure Boot CA")
	o := call(t, "inspect", "--json", im.uki)
	o.want(t, "inspect --json", 0)
	var r inspect.Report
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Schema != inspect.Schema || len(r.Layer.Layers) != 1 || r.Layer.Layers[0].Kernel == nil {
		t.Errorf("inspect --json: schema %q, layers %+v, want %q and a kernel inside", r.Schema, r.Layer.Layers, inspect.Schema)
	}
	text := testkit.WriteFile(t, "text", []byte("hello\n"))
	call(t, "inspect", text).want(t, "inspect a text", exitFailed, "not a boot image")
}

func TestVerify(t *testing.T) {
	im := makeImages(t)
	call(t, "verify", im.uki, "--cert", im.cert).want(t, "verify", 0, "ALLOWED", "--cert "+im.cert, "because keys were given")
	call(t, "verify", im.uki, "--cert", im.other).want(t, "verify by another", exitRefused, "REFUSED", "no list vouches for")
	call(t, "verify", im.uki, "--policy", "enforce").want(t, "verify without keys", exitRefused)
	call(t, "verify", im.uki, "--policy", "warn").want(t, "verify --policy warn", 0, "UNVERIFIED")
	call(t, "verify", im.uki, "--cert", "/none").want(t, "verify --cert /none", exitFailed, "/none")
	call(t, "verify", testkit.FlipSection(t, im.uki, ".initrd", 5), "--cert", im.cert).
		want(t, "verify flipped", exitRefused, "does not match its signature")
	o := call(t, "verify", "--json", im.uki, "--cert", im.other)
	o.want(t, "verify --json", exitRefused)
	var r trust.Report
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Verdict != trust.Refused || len(r.Layers) != 1 || r.Layers[0].Code != "unknown_signer" {
		t.Errorf("verify --json: %s, %+v, want one layer refused as unknown_signer", r.Verdict, r.Layers)
	}
	if o.err != "" {
		t.Errorf("verify --json: %q on standard error, want the reason once, in the report", o.err)
	}
	call(t, "verify", "--show-policy", "--policy", "warn").want(t, "--show-policy", 0, "outside.initrd", "signed", "built in", "--policy")
}

func TestExtract(t *testing.T) {
	im := makeImages(t)
	dir := filepath.Join(t.TempDir(), "parts")
	call(t, "extract", im.uki, "-o", dir, "--cert", im.cert).want(t, "extract", 0, "kernel", ".initrd")
	if got := testkit.ReadFile(t, filepath.Join(dir, "initrd")); !bytes.Equal(got, im.initrd) {
		t.Errorf("extract: initrd of %d bytes, want the %d that went in", len(got), len(im.initrd))
	}
	if got, want := testkit.ReadFile(t, filepath.Join(dir, "kernel")), testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12")); !bytes.Equal(got, want) {
		t.Errorf("extract: kernel of %d bytes, want the %d that went in", len(got), len(want))
	}
	if got, want := string(testkit.ReadFile(t, filepath.Join(dir, "cmdline"))), "quiet root=LABEL=x"; got != want {
		t.Errorf("extract: cmdline = %q, want %q", got, want)
	}
	call(t, "extract", im.uki, "-o", dir, "--cert", im.cert).want(t, "extract again", exitFailed, "exists; --force")
	call(t, "extract", im.uki, "-o", dir, "--cert", im.cert, "--force").want(t, "extract --force", 0)

	refused := filepath.Join(t.TempDir(), "refused")
	call(t, "extract", im.uki, "-o", refused, "--cert", im.other).want(t, "extract refused", exitRefused)
	if _, err := os.Stat(refused); err == nil {
		t.Error("extract refused: left a directory behind")
	}
}

func TestLoadDryRun(t *testing.T) {
	im := makeImages(t)
	dry := func(args ...string) outcome {
		return call(t, append([]string{"load", im.uki, "--dry-run"}, args...)...)
	}
	dry("--cert", im.cert).want(t, "dry run", 0, "allowed", "cmdline   quiet root=LABEL=x", "nothing is loaded")
	dry("--cert", im.cert, "--append", "init=/bin/sh").want(t, "append under enforce", exitRefused, "--append", "not signed")
	more := testkit.WriteFile(t, "more.img", []byte("more"))
	dry("--cert", im.cert, "--initrd", more).want(t, "initrd under enforce", exitRefused, more)
	dry("--cert", im.cert, "--policy", "warn", "--initrd", more, "--append", "debug").
		want(t, "additions under warn", 0, "warning: --append is not verified", "warning: "+more, "from outside the image", "quiet root=LABEL=x debug")
	dry("--policy", "off").want(t, "off", 0, "warning: nothing is verified")
	dry("--cert", im.cert, "--policy", "warn", "--reuse-cmdline").want(t, "reuse", 0, "warning: --reuse-cmdline")
	o := dry("--cert", im.cert, "--json")
	var l loaded
	if err := json.Unmarshal([]byte(o.stdout), &l); err != nil || l.Loaded || !l.DryRun || l.Cmdline != "quiet root=LABEL=x" {
		t.Errorf("dry run --json: %v, %+v, want a dry run of the image's command line", err, l)
	}
}

func TestParserExec(t *testing.T) {
	call(t, "parser", "exec", "--hex", "b7 00 00 00 2a 00 00 00 95 00 00 00 00 00 00 00").want(t, "r0 = 42", 0, "0x2a\n")
	// r0 = *(u8 *)(r1 + 1)
	call(t, "parser", "exec", "--hex", "7110010000000000 9500000000000000", "--memory", "11 22").want(t, "load", 0, "0x22\n")
	call(t, "parser", "exec", "--hex", "7110020000000000 9500000000000000", "--memory", "11 22").want(t, "load outside", exitFailed, "memory")
}

func TestStatus(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sys/kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"kexec_loaded": "1\n", "kexec_crash_loaded": "0\n"} {
		if err := os.WriteFile(filepath.Join(root, "sys/kernel", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	call(t, "status", "--root", root).want(t, "status", 0, "kernel        loaded", "crash kernel  nothing is loaded")
	call(t, "status", "--root", t.TempDir()).want(t, "status of nothing known", 0, "unknown")
}

func TestParserRun(t *testing.T) {
	im := makeImages(t)
	call(t, "parser", "run", "--trace", "--cert", im.cert, im.uki).want(t, "parser run", 0,
		"parse_uki: COPY_REF/KERNEL", "parse_uki: DONE", "uki.signed.efi/.linux", "parse_boot (stock")
	object := filepath.Join("..", "..", "parser", "stock", "obj", "zboot.o")
	call(t, "parser", "inspect", object).want(t, "parser inspect", 0, "parse_zboot", "bpf_buffer_parser", "licence GPL")
	call(t, "parser", "inspect", im.cert).want(t, "parser inspect of a certificate", exitFailed, im.cert)
	// A program from outside needs a signature under enforce.
	call(t, "parser", "run", object, im.uki, "--cert", im.cert).want(t, "unsigned program", exitRefused, "not signed")
	call(t, "parser", "run", object, im.uki, "--policy", "warn").want(t, "unsigned program, warn", 0, "parse_uki (stock")
}

func TestPlan(t *testing.T) {
	im := makeImages(t)
	root := t.TempDir()
	recording := filepath.Join(testkit.ModuleDir(t), "machine", "testdata", "x86-ovmf.tar.gz")
	if out, err := exec.Command("tar", "-xzf", recording, "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	call(t, "plan", im.uki, "--root", root, "--cert", im.cert).want(t, "plan", 0,
		"x86_64 bzimage, entry", "kernel ", "boot_params", "EFI EL64", "quiet root=LABEL=x")
	o := call(t, "plan", im.uki, "--root", root, "--cert", im.cert, "--json")
	var p struct {
		Segments []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(o.stdout), &p); err != nil || len(p.Segments) < 4 {
		t.Errorf("plan --json: %v, %d segments, want at least 4", err, len(p.Segments))
	}
	call(t, "load", im.uki, "--root", root, "--cert", im.cert, "--dry-run", "--syscall", "segments").want(t, "segments", 0, "load would call kexec_load")
	call(t, "load", im.uki, "--root", root, "--cert", im.cert, "--dry-run", "--syscall", "both").want(t, "--syscall both", exitUsage)
	call(t, "doctor", "--root", root).want(t, "doctor", 0, "kexec_file_load", "Secure Boot")
}

func TestTry(t *testing.T) {
	im := makeImages(t)
	call(t, "try", im.uki, "--cert", im.cert, "--expect", "[").want(t, "bad expression", exitUsage)
	call(t, "try", im.uki, "--cert", im.cert, "--qemu", "/none").want(t, "no QEMU", exitFailed, "/none")
}

func TestRunRoute(t *testing.T) {
	im := makeImages(t)
	root := t.TempDir()
	recording := filepath.Join(testkit.ModuleDir(t), "machine", "testdata", "x86-bios.tar.gz")
	if out, err := exec.Command("tar", "-xzf", recording, "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	args := []string{im.uki, "--root", root, "--via", "run"}
	run := func(verb string, more ...string) outcome {
		return call(t, append(append([]string{verb}, args...), more...)...)
	}
	run("load", "--dry-run", "--cert", im.cert, "--trace").want(t, "run", 0,
		"ExitBootServices(", "StartImage(", "stub      ", "cmdline   quiet root=LABEL=x", "load would call kexec_load")
	run("load", "--dry-run", "--cert", im.other).want(t, "run refused", exitRefused, "no list vouches for")
	run("load", "--dry-run", "--cert", im.cert, "--append", "init=/bin/sh").want(t, "run with an addition", exitRefused, "--append")
	run("plan", "--policy", "warn", "--append", "debug").want(t, "run with an addition, warn", 0, `command line: "quiet root=LABEL=x debug"`, "kernel at")
	run("load", "--dry-run", "--crash", "--policy", "warn").want(t, "run --crash on a machine that tells too little", exitDone, "cannot load it", "crash_notes")
	run("try", "--policy", "warn", "--qemu", "/none").want(t, "try --via run", exitFailed, "/none")
	call(t, "load", im.uki, "--via", "walk").want(t, "--via walk", exitUsage)
}
