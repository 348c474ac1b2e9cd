// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTools runs one of each kind of wrapper: C programs, python, clang for BPF, and a program that loads modules.
func TestTools(t *testing.T) {
	dir := t.TempDir()
	src := `char gpl[] __attribute__((section("license"))) = "GPL";
		__attribute__((section("fentry/x"))) int f(void *c) { return 0; }`
	if err := os.WriteFile(filepath.Join(dir, "p.c"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	Run(t, dir, "clang", "-target", "bpf", "-O2", "-g", "-c", "p.c", "-o", "p.o")
	if out := Run(t, dir, "bpftool", "btf", "dump", "file", "p.o"); !bytes.Contains(out, []byte("FUNC 'f'")) {
		t.Errorf("bpftool btf dump = %s, want the function f", out)
	}
	if out := Run(t, dir, "ukify", "--version"); !bytes.Contains(out, []byte("ukify 2")) {
		t.Errorf("ukify --version = %s", out)
	}
	if out := Run(t, dir, "openssl", "list", "-providers"); !bytes.Contains(out, []byte("active")) {
		t.Errorf("openssl list -providers = %s, want an active provider", out)
	}
	for _, q := range []string{"x86_64", "aarch64", "riscv64"} {
		if out := Run(t, dir, "qemu-system-"+q, "-accel", "help"); !bytes.Contains(out, []byte("tcg")) {
			t.Errorf("qemu-system-%s -accel help = %s, want tcg", q, out)
		}
	}
}

func TestInitramfs(t *testing.T) {
	archive := Initramfs(t,
		Plain("etc/deep/x", []byte("abc")),
		File{Name: "init", Mode: 0o755, Data: []byte("#!")},
		File{Name: "link", Mode: os.ModeSymlink, Data: []byte("etc/deep/x")},
	)
	dir := t.TempDir()
	cmd := exec.Command(Tool(t, "cpio"), "-idm", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	if got := string(ReadFile(t, filepath.Join(dir, "link"))); got != "abc" {
		t.Errorf("link reads %q, want abc", got)
	}
	fi, err := os.Stat(filepath.Join(dir, "init"))
	if err != nil || fi.Mode() != 0o755 {
		t.Errorf("init: %v, %v, want mode 0755", fi, err)
	}
	if got := Run(t, dir, "gzip", "-dc", WriteFile(t, "a.gz", Gzip(t, archive))); !bytes.Equal(got, archive) {
		t.Errorf("gzip -d gives %d bytes, want the archive of %d", len(got), len(archive))
	}
}

// TestKeys: what NewKey makes is what sbsign, sbverify and openssl understand.
func TestKeys(t *testing.T) {
	stub := Stub(t, "amd64", "trixie")
	ca := NewCA(t, "an authority")
	key := ca.Issue(t, "a signer")
	signed := Sign(t, key, stub)
	Run(t, "", "sbverify", "--cert", key.CertPEM, signed)
	Run(t, "", "openssl", "verify", "-CAfile", ca.CertPEM, key.CertPEM)
	other := NewKeyWith(t, KeyOptions{CN: "other", Bits: 3072})
	if err := exec.Command(Tool(t, "sbverify"), "--cert", other.CertPEM, signed).Run(); err == nil {
		t.Error("sbverify accepts a key that did not sign")
	}
	twice := Sign(t, other, signed)
	Run(t, "", "sbverify", "--cert", key.CertPEM, twice)
	Run(t, "", "sbverify", "--cert", other.CertPEM, twice)
	Run(t, "", "sbverify", "--cert", Snakeoil(t).CertPEM, Sign(t, Snakeoil(t), stub))
	if out := Run(t, "", "openssl", "x509", "-noout", "-text", "-in", NewKeyWith(t, KeyOptions{CN: "ec", ECDSA: true}).CertPEM); !bytes.Contains(out, []byte("prime256v1")) {
		t.Errorf("openssl x509 = %s, want prime256v1", out)
	}
}

// TestUKI: both ways of building hold what went in, for each architecture that has a stub.
func TestUKI(t *testing.T) {
	initrd := Initramfs(t, Plain("x", []byte("y")))
	for _, arch := range []string{"amd64", "arm64"} {
		kernel := Kernel(t, arch, "6.12")
		for _, objcopy := range []bool{false, true} {
			uki := UKI(t, UKIOptions{Arch: arch, Initrd: initrd, Cmdline: "a b", Objcopy: objcopy, Key: NewKey(t, "k")})
			f, err := pe.Open(uki)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string][]byte{".initrd": initrd, ".linux": ReadFile(t, kernel)} {
				s := f.Section(name)
				if s == nil {
					t.Fatalf("%s objcopy=%v: no %s", arch, objcopy, name)
				}
				got, err := s.Data()
				if err != nil {
					t.Fatal(err)
				}
				if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
					t.Errorf("%s objcopy=%v: %s is not what went in", arch, objcopy, name)
				}
			}
			cmdline, err := f.Section(".cmdline").Data()
			if err != nil || !strings.HasPrefix(string(cmdline), "a b") {
				t.Errorf("%s objcopy=%v: .cmdline = %q, %v", arch, objcopy, cmdline, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			flipped := ReadFile(t, FlipSection(t, uki, ".initrd", 3))
			if orig := ReadFile(t, uki); bytes.Equal(orig, flipped) || len(orig) != len(flipped) {
				t.Error("FlipSection changes nothing")
			}
		}
	}
}

func TestModule(t *testing.T) {
	for _, series := range []string{"6.12", "6.1"} {
		if m := Module(t, KernelImage(t, "amd64", series), "efivarfs"); !bytes.HasPrefix(m, []byte("\x7fELF")) {
			t.Errorf("Module(%s, efivarfs) begins with %q, want an ELF file", series, m[:4])
		}
	}
}
