// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure"
)

// valueLines returns the lines of a text that are values of PCR 11.
func valueLines(s string) (out []string) {
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "11:") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// lastPCRSig returns the signatures in the last .pcrsig of an image.
func lastPCRSig(t *testing.T, path string) measure.PolicySignatures {
	t.Helper()
	f, err := pe.Parse(testkit.ReadFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	var out measure.PolicySignatures
	for _, s := range f.Sections {
		if s.Name == uki.PCRSig {
			if out, err = measure.ParsePolicySignatures(f.Data(s)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// What ukify's options about PCR 11 print and sign, ours do.
func TestBuildPCROptions(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	k := testkit.NewKey(t, "pcr")
	testkit.Run(t, dir, "openssl", "x509", "-in", k.CertPEM, "-noout", "-pubkey", "-out", at("pub.pem"))
	stub, addon, kernel := testkit.Stub(t, "amd64", "trixie"), testkit.AddonStub(t, "amd64", "trixie"), testkit.Kernel(t, "amd64", "6.12")
	base := []string{"build", "--efi-arch=x64", "--stub=" + stub, "--linux=" + kernel, "--cmdline=base", "--os-release=ID=x", "--uname=1.2.3", "--profile=ID=main", "--pcr-banks=sha256", "--hwids="}
	for _, id := range []string{"one", "two"} {
		testkit.Run(t, "", "ukify-new", "build", "--efi-arch=x64", "--stub="+addon, "--profile=ID="+id, "--cmdline="+id, "--hwids=", "--output="+at(id))
		base = append(base, "--join-profile="+at(id))
	}
	theirs := func(args ...string) string {
		return string(testkit.Run(t, dir, "ukify-new", append(append([]string{}, base...), args...)...))
	}
	ours := func(args ...string) outcome {
		return call(t, append(append([]string{"build", "uki"}, base[1:]...), args...)...)
	}

	want := valueLines(theirs("--measure", "--output="+at("m.theirs")))
	o := ours("--measure", "-o", at("m.ours"))
	o.want(t, "build --measure", 0)
	if diff := cmp.Diff(want, valueLines(o.stdout)); diff != "" || len(want) != 12 {
		t.Errorf("values of PCR 11 (-ukify +peel):\n%s", diff)
	}
	o = ours("--measure", "--json", "-o", at("j.ours"))
	var r pcrReport
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil || r.File != at("j.ours") || len(r.PCRs) != 3 {
		t.Errorf("build --measure --json = %s%s, %v, want three cases", o.stdout, o.err, err)
	}

	sign := []string{"--pcr-private-key=" + k.KeyPEM, "--pcr-public-key=" + at("pub.pem"), "--pcrpkey=" + at("pub.pem"), "--phases=enter-initrd enter-initrd:leave-initrd"}
	theirs(append(sign, "--sign-profile=two", "--output="+at("s.theirs"))...)
	ours(append(sign, "--sign-profile=two", "-o", at("s.ours"))...).want(t, "build --sign-profile", 0)
	if diff := cmp.Diff(lastPCRSig(t, at("s.theirs")), lastPCRSig(t, at("s.ours"))); diff != "" {
		t.Errorf("signatures for profile two (-ukify +peel):\n%s", diff)
	}
	ours(append(sign, "--sign-profile=three", "-o", at("x"))...).want(t, "--sign-profile of none", 1, "three")
	ours("--pcr-private-key="+k.KeyPEM, "--pcr-public-key="+testkit.NewKey(t, "other").CertPEM, "-o", at("x")).want(t, "another public key", 1, "is not the public key of")

	// Policies for a key elsewhere are those that the key here signs.
	o = ours("--policy-digest", "--pcr-public-key="+k.CertPEM, "--sign-profile=two", sign[3], "-o", at("d.ours"))
	o.want(t, "build --policy-digest", 0)
	got, err := measure.ParsePolicySignatures([]byte(o.stdout))
	if err != nil {
		t.Fatal(err)
	}
	signed := lastPCRSig(t, at("s.ours"))
	for bank := range signed {
		for i := range signed[bank] {
			signed[bank][i].Signature = ""
		}
	}
	if diff := cmp.Diff(signed, got); diff != "" {
		t.Errorf("policies (-signed +printed):\n%s", diff)
	}
	sigs := testkit.WriteFile(t, "pcrsig", []byte("{}"))
	call(t, "edit", at("d.ours"), "--set", "pcrsig=@"+sigs, "-o", at("e.ours")).want(t, "edit", 0)
	if got := lastPCRSig(t, at("e.ours")); got == nil {
		t.Error("edit --set pcrsig put no section in")
	}

	for _, args := range [][]string{
		{"--policy-digest", "--pcr-private-key=" + k.KeyPEM}, {"--policy-digest", "--measure"}, {"--pcr-public-key=" + at("pub.pem")},
		{"--sign-profile=two"}, {"--phases=x"}, {"--measure", "--pcr-banks=crc32"},
	} {
		ours(append(args, "-o", at("x"))...).want(t, strings.Join(args, " "), exitUsage)
	}
	if fileExists(at("x")) {
		t.Error("a build that failed left a file behind")
	}
}

// The settings that --summary prints build the same image.
func TestBuildSummary(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	text := testkit.WriteFile(t, "text", []byte("some text"))
	args := []string{"build", "uki", "--linux", testkit.Kernel(t, "amd64", "6.12"), "--stub", testkit.Stub(t, "amd64", "trixie"), "--initrd", text, "--initrd", text,
		"--cmdline", "a  b", "--os-release", "ID=x\nNAME=y", "--uname", "1.2.3", "--splash", text, "--devicetree-auto", text,
		"--sbat", "sbat,1,SBAT Version,sbat,1,https://x\nme,1,Me,me,1,https://y\n", "--profile", "ID=x\nTITLE=y", "--no-sign-kernel", "--hwids="}
	o := call(t, append(args, "--summary")...)
	o.want(t, "--summary", 0, "[UKI]", "Cmdline=a  b", "SignKernel=no")
	conf := testkit.WriteFile(t, "uki.conf", []byte(o.stdout))
	call(t, append(args, "-o", at("a"))...).want(t, "build by options", 0)
	call(t, "build", "uki", "-c", conf, "-o", at("b")).want(t, "build by the summary", 0)
	if !bytes.Equal(testkit.ReadFile(t, at("a")), testkit.ReadFile(t, at("b"))) {
		t.Error("the summary builds another image than the options")
	}
}

// The hardware IDs of the system go in unless something else is said.
func TestBuildHWIDs(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	dir := at("usr/lib/systemd/boot/hwids/x64")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(`{"name": "Board", "compatible": "peel,board", "hwids": ["00112233-4455-6677-8899-aabbccddeeff"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "uki", "--root", root, "--efi-arch=x64", "--linux", testkit.Kernel(t, "amd64", "6.12"), "--stub", testkit.Stub(t, "amd64", "trixie"), "--os-release="}
	call(t, append(args, "-o", at("a"))...).want(t, "build", 0, "hardware IDs from "+dir)
	call(t, "inspect", at("a")).want(t, "inspect", 0, ".hwids")
	call(t, append(args, "--hwids=", "-o", at("b"))...).want(t, "build without", 0)
	if o := call(t, "inspect", at("b")); strings.Contains(o.stdout, ".hwids") {
		t.Errorf("--hwids= left them in: %s", o.stdout)
	}
}

// Options of ukify that name programs or libraries say what to use instead.
func TestBuildForeign(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	build := func(args ...string) outcome {
		return call(t, append([]string{"build", "addon", "--stub", testkit.AddonStub(t, "amd64", "trixie"), "--cmdline", "x", "-o", out}, args...)...)
	}
	for option, words := range map[string]string{
		"--signing-engine=pkcs11": "--key", "--signing-provider=tpm2": "--key", "--certificate-provider=x": "--key", "--signtool=pesign": "pk12util",
		"--secureboot-certificate-dir=x": "pk12util", "--secureboot-certificate-name=x": "pk12util", "--join-pcrsig=x": "peel edit",
		"--policyref=x": "reference", "--sign-initrd-pcrs": "PCR 11",
	} {
		build(option).want(t, option, exitUsage, words)
	}
	conf := func(text string) string { return testkit.WriteFile(t, "uki.conf", []byte(text)) }
	build("-c", conf("[UKI]\nSecureBootSigningTool=pesign\n")).want(t, "SecureBootSigningTool=pesign", exitFailed, "pk12util")
	build("-c", conf("[PCRSignature:a]\nPCRPrivateKey=k\nPolicyRef=x\n")).want(t, "PolicyRef", exitFailed, "reference")
	build("-c", conf("[UKI]\nSecureBootSigningTool=systemd-sbsign\nSecureBootCertificateValidity=3\nSignInitrdPCRs=no\n"), "--tools=/usr", "--signtool=sbsign").
		want(t, "what asks for nothing else", 0)
}

// What extract writes builds the image again that it was taken out of.
func TestExtractBuild(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	text := func(s string) string { return testkit.WriteFile(t, "text", []byte(s)) }
	stub := testkit.Stub(t, "amd64", "trixie")
	call(t, "build", "uki", "--stub", stub, "--linux", testkit.Kernel(t, "amd64", "6.12"), "--initrd", text("first"), "--initrd", text("second"),
		"--microcode", text("microcode"), "--cmdline", "quiet root=/dev/vda", "--os-release", "ID=x\n", "--uname", "1.2.3", "--splash", text("BM"),
		"--pcrpkey", text("key"), "--pcrsig", "{}", "-o", at("a")).want(t, "build", 0)
	call(t, "extract", at("a"), "-o", at("p"), "--policy", "off").want(t, "extract", 0)
	p := func(name string) string { return at("p/" + name) }
	call(t, "build", "uki", "--stub", stub, "--linux", p("kernel"), "--initrd", p("initrd"), "--microcode", p("ucode"), "--cmdline", "@"+p("cmdline"),
		"--os-release", "@"+p("osrel"), "--uname", "@"+p("uname"), "--splash", p("splash"), "--pcrpkey", p("pcrpkey"), "--pcrsig", "@"+p("pcrsig"), "-o", at("b")).
		want(t, "build of what was extracted", 0)
	if !bytes.Equal(testkit.ReadFile(t, at("a")), testkit.ReadFile(t, at("b"))) {
		t.Error("the extracted parts built another image")
	}
}
