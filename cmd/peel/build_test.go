// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser/stock"
)

// keys makes a key set with peel keygen and returns its directory.
func keys(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	call(t, append([]string{"keygen", "-o", dir, "--name", "CLI test"}, args...)...).want(t, "keygen", 0, "PK-delete.auth")
	return dir
}

func TestKeygen(t *testing.T) {
	dir := keys(t)
	for _, n := range []string{"PK", "KEK", "db"} {
		fi, err := os.Stat(filepath.Join(dir, n+".key"))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s.key: %v, mode %v, want 0600", n, err, fi.Mode())
		}
	}
	before := testkit.ReadFile(t, filepath.Join(dir, "db.key"))
	call(t, "keygen", "-o", dir).want(t, "keygen over keys", 1, "never replaced")
	if !bytes.Equal(testkit.ReadFile(t, filepath.Join(dir, "db.key")), before) {
		t.Error("keygen replaced a key")
	}
	call(t, "keygen").want(t, "keygen without a directory", 2)
	call(t, "keygen", "-o", dir, "--type", "dsa").want(t, "keygen of an odd type", 2, "dsa")
	call(t, "keygen", "-o", dir, "--single", "../x").want(t, "keygen of an odd name", 2)
	call(t, "keygen", "-o", dir, "--single", "site", "--type", "ecdsa256", "--json").want(t, "keygen --single", 0, "site.key")
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000")
	call(t, "keygen", "-o", filepath.Join(dir, "old"), "--days", "1").want(t, "keygen at a date", 0)
	out := string(testkit.Run(t, dir, "openssl", "x509", "-in", "old/db.pem", "-noout", "-dates", "-dateopt", "iso_8601"))
	if out != "notBefore=2001-09-09 01:46:40Z\nnotAfter=2001-09-10 01:46:40Z\n" {
		t.Errorf("dates of the certificate = %q, want SOURCE_DATE_EPOCH's", out)
	}
}

// Build, verify, edit, sign and take apart again, all by the command.
func TestBuildCycle(t *testing.T) {
	dir, k := t.TempDir(), keys(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	initrd := testkit.WriteFile(t, "initrd", bytes.Repeat([]byte("initrd\n"), 1000))
	osrel := testkit.WriteFile(t, "os-release", []byte("ID=cli\n"))
	key := []string{"--key", filepath.Join(k, "db.key"), "--cert", filepath.Join(k, "db.pem")}
	stub, kernel := testkit.Stub(t, "amd64", "trixie"), testkit.Kernel(t, "amd64", "6.12")
	conf := testkit.WriteFile(t, "uki.conf", []byte("[UKI]\nLinux="+kernel+"\nStub="+stub+"\nInitrd="+initrd+"\nCmdline=from   config\nOSRelease=@"+osrel+"\nStrange=1\n"))

	call(t, append([]string{"build", "uki", "-c", conf, "-o", at("a.efi")}, key...)...).want(t, "build uki", 0, "unknown setting [UKI] Strange", at("a.efi"))
	call(t, append([]string{"build", "uki", "--linux", kernel, "--stub", stub, "--initrd", initrd, "--cmdline", " from config ", "--os-release", "@" + osrel, "-o", at("b.efi")}, key...)...).
		want(t, "build uki by options", 0)
	if !bytes.Equal(testkit.ReadFile(t, at("a.efi")), testkit.ReadFile(t, at("b.efi"))) {
		t.Error("configuration and options gave different images")
	}
	call(t, "verify", at("a.efi"), "--cert", filepath.Join(k, "db.pem")).want(t, "verify", 0, "CLI test db")
	testkit.Run(t, dir, "sbverify", "--cert", filepath.Join(k, "db.pem"), at("a.efi"))
	call(t, append([]string{"build", "uki", "-c", conf, "-o", at("a.efi")}, key...)...).want(t, "build over a file", 1, "exists")

	pcr := []string{"build", "uki", "-c", conf, "--pcr-banks", "sha256"}
	call(t, append(pcr, "--pcr-private-key", filepath.Join(k, "db.key"), "--phases", "enter-initrd sysinit", "-o", at("p.efi"))...).want(t, "build uki with PCR signatures", 0)
	call(t, "inspect", at("p.efi")).want(t, "inspect", 0, ".pcrsig", ".pcrpkey")
	call(t, append(pcr, "--phases", "x", "--pcr-private-key", "/nonexistent", "-o", at("q.efi"))...).want(t, "build uki with a PCR key that is not there", 1, "/nonexistent")

	call(t, "edit", at("a.efi"), "--set", "cmdline=edited line", "-o", at("e.efi"), "--json").want(t, "edit", 0, "dropped")
	call(t, "verify", at("e.efi"), "--cert", filepath.Join(k, "db.pem")).want(t, "verify the edited one", 3, "not signed")
	call(t, append([]string{"sign", at("e.efi"), "-o", at("s.efi"), "--hash", "sha384"}, key...)...).want(t, "sign", 0)
	call(t, append([]string{"sign", at("s.efi"), "-o", at("s.efi"), "--force"}, key...)...).want(t, "sign again in place", 0)
	if n := bytes.Count(testkit.Run(t, dir, "sbverify", "--list", at("s.efi")), []byte("image signature issuers")); n != 2 {
		t.Errorf("%d signatures after signing twice, want 2", n)
	}
	call(t, "extract", at("s.efi"), "-o", at("parts"), "--cert", filepath.Join(k, "db.pem")).want(t, "extract", 0)
	if got := testkit.ReadFile(t, at("parts/cmdline")); string(got) != "edited line" {
		t.Errorf("extracted command line = %q", got)
	}
	if !bytes.Equal(testkit.ReadFile(t, at("parts/initrd")), testkit.ReadFile(t, initrd)) || !bytes.Equal(testkit.ReadFile(t, at("parts/kernel")), testkit.ReadFile(t, kernel)) {
		t.Error("extracting gave other parts than those put in")
	}
	call(t, "sign", at("s.efi"), "--strip", "-o", at("bare.efi")).want(t, "strip", 0)
	call(t, append([]string{"sign", at("bare.efi"), "--inner", "-o", at("inner.efi")}, key...)...).want(t, "sign --inner", 0)

	call(t, append([]string{"sign", initrd}, key...)...).want(t, "sign a file", 0, initrd+".p7s")
	testkit.Run(t, dir, "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", initrd+".p7s", "-content", initrd, "-CAfile", filepath.Join(k, "db.pem"), "-purpose", "any", "-out", at("out"))
	call(t, append([]string{"sign", initrd, "--format", "ima"}, key...)...).want(t, "sign for IMA", 0, initrd+".sig")
	testkit.Run(t, dir, "evmctl", "ima_verify", "--sigfile", "-a", "sha256", "--key", filepath.Join(k, "db.der"), initrd)
}

func TestBuildOthers(t *testing.T) {
	dir, k := t.TempDir(), keys(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	key := []string{"--key", filepath.Join(k, "db.key"), "--cert", filepath.Join(k, "db.pem")}
	addon := testkit.AddonStub(t, "amd64", "trixie")
	call(t, "build", "addon", "--stub", addon, "--cmdline", "debug", "-o", at("a.addon.efi")).want(t, "build addon", 0)
	if o := call(t, "inspect", at("a.addon.efi")); !strings.Contains(o.stdout, "debug") {
		t.Errorf("inspect of the addon says %q, want its command line", o.stdout)
	}

	program := testkit.WriteFile(t, "program.o", stock.Objects()[0])
	call(t, append([]string{"build", "parser", program, "-o", at("p.bpf")}, key...)...).want(t, "build parser", 0)
	call(t, "parser", "inspect", at("p.bpf")).want(t, "parser inspect", 0, "signed,", ".bpf.1")
	call(t, "build", "parser", filepath.Join(k, "db.pem"), "-o", at("x.bpf")).want(t, "build parser of text", 1)

	zb := filepath.Join(testkit.ModuleDir(t), "image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	call(t, "extract", zb, "-o", at("z"), "--policy", "off").want(t, "extract", 0)
	call(t, "build", "zboot", at("z/kernel"), "--method", "zstd", "-o", at("z.efi")).want(t, "build zboot", 0)
	call(t, "extract", at("z.efi"), "-o", at("z2"), "--policy", "off").want(t, "extract again", 0)
	if !bytes.Equal(testkit.ReadFile(t, at("z/kernel")), testkit.ReadFile(t, at("z2/kernel"))) {
		t.Error("zboot gave another kernel")
	}
	call(t, "build", "zboot", zb, "--parser", program, "-o", at("zp.efi")).want(t, "build zboot --parser", 0)
	call(t, "build", "envelope", "--kernel", zb, "--cmdline", "quiet", "-o", at("e.env")).want(t, "build envelope", 0)
	call(t, "inspect", at("e.env")).want(t, "inspect the envelope", 0)
}

func TestBuildUsage(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for _, args := range [][]string{
		{"build", "uki"}, {"build", "uki", "-o", out}, {"build", "uki", "--linux", "x"}, {"build", "parser", "-o", out},
		{"build", "uki", "--linux", "x", "-o", out, "--key", "k"}, {"build", "uki", "--linux", "x", "-o", out, "--stub", "s", "--section", "x"},
		{"build", "uki", "--linux", "x", "-o", out, "--stub", "s", "--sign-kernel"}, {"build", "uki", "--linux", "x", "-o", out, "--efi-arch", "pdp11"},
		{"edit", "x", "-o", out}, {"edit", "x", "--drop", "a"}, {"sign", "x"}, {"sign"},
	} {
		o := call(t, args...)
		if o.code != 2 {
			t.Errorf("%q: status %d, want 2; it said %s%s", args, o.code, o.stdout, o.err)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("%d files left behind, %v", len(list), err)
	}
	o := call(t, "build", "addon", "--stub", testkit.AddonStub(t, "amd64", "trixie"), "--cmdline", "x", "-o", out, "--json")
	var b built
	if err := json.Unmarshal([]byte(o.stdout), &b); err != nil || b.File != out || b.Size == 0 {
		t.Errorf("build --json = %q, %v", o.stdout, err)
	}
}
