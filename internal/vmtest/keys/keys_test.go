// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// A key made in the TPM of a running kernel signs, by /dev/tpmrm0 and without
// any option that names it; other words than the password do not.
func TestTPM(t *testing.T) {
	stub := testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie"))
	peel := func(name string, args ...string) guest.Step {
		return guest.Step{Name: name, Argv: append([]string{"/bin/peel"}, args...), Env: []string{"PIN=some words", "WRONG=other words"}}
	}
	sign := []string{"sign", "/stub.efi", "--key", "/k/site.key", "--cert", "/k/site.pem", "-o", "/signed.efi"}
	script := guest.Script{Name: "keys", Steps: []guest.Step{
		peel("keygen", "keygen", "-o", "/k", "--single", "site", "--tpm", "--pin-source", "env:PIN"),
		peel("wrong", append(sign, "--pin-source", "env:WRONG")...),
		peel("sign", append(sign, "--pin-source", "env:PIN")...),
		peel("verify", "verify", "/signed.efi", "--cert", "/k/site.pem"),
		peel("unsigned", "verify", "/stub.efi", "--cert", "/k/site.pem"),
		{Name: "key", Argv: []string{"@cat", "/k/site.key"}},
	}}
	c := vmkit.Config(t, image.ArchX86_64)
	c.TPM = testkit.MachineTPM(t)
	c.Kernel = testkit.Kernel(t, "amd64", "6.12")
	c.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, image.ArchX86_64, script,
		vmkit.Peel(t, image.ArchX86_64), testkit.Plain("stub.efi", stub)))
	c.Cmdline = vmkit.Cmdline(t, image.ArchX86_64)
	run := vmkit.Boot(t, c, "keys")
	for name, want := range map[string]struct {
		status int
		says   string
	}{
		"keygen": {0, "/k/site.key"}, "wrong": {1, "password of the TPM key is wrong"}, "sign": {0, "/signed.efi"},
		"verify": {0, "site"}, "unsigned": {3, "not signed"}, "key": {0, "BEGIN TSS2 PRIVATE KEY"},
	} {
		r := run.Result(name)
		if r.Status != want.status || !strings.Contains(r.Stdout+r.Stderr, want.says) {
			t.Errorf("%s: status %d, %s%s; want %d and %q", name, r.Status, r.Stdout, r.Stderr, want.status, want.says)
		}
	}
}
