// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// TestTamperedKexec: a secret is sealed to what peel foretells of a UKI; a byte of its initial RAM disk is changed before the
// measured kexec. The kernel boots, its registers are those foretold for the changed image, and the secret stays sealed. From
// there a kexec with --measure log changes no register, and hands over a log that says what was not measured.
func TestTamperedKexec(t *testing.T) {
	const a = image.ArchX86_64
	k := testkit.KernelImage(t, "amd64", "6.12")
	banks := []eventlog.Hash{eventlog.SHA256}
	const note = "a note in the RAM disk, not compressed"
	uki := func(name string, steps []guest.Step, files ...testkit.File) []byte {
		rd := initrd(t, a, k, name, steps, slices.Concat(sealTools(t), files)...)
		rd = append(rd, make([]byte, -len(rd)&3)...)
		if name == "second" {
			rd = append(rd, testkit.Initramfs(t, testkit.Plain("note", []byte(note)))...)
		}
		return testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{Name: name + ".efi", Kernel: k.Path, Cmdline: vmkit.Cmdline(t, a), Initrd: rd}))
	}
	unseal := guest.Step{Name: "unseal", Argv: []string{"/bin/seal", "unseal"}}
	verify := peel("verify", "measure", "--verify", "--json")

	third := uki("third", named("third", peel("show", "measure", "--log", measure.HandoverPath)))
	second := uki("second", named("second", append([]guest.Step{
		{Name: "note", Argv: []string{"@cat", "/note"}}, unseal, verify,
	}, kexecSteps("log", "/img/third.efi")...)...), testkit.Plain("img/third.efi", third))
	at := bytes.Index(second, []byte(note))
	if at < 0 || bytes.Count(second, []byte(note)) != 1 {
		t.Fatalf("the note is in the image %d times, want once", bytes.Count(second, []byte(note)))
	}
	changed := bytes.Clone(second)
	changed[at] ^= 'a' ^ 'A'
	first := uki("first", named("first", append([]guest.Step{
		{Name: "seal", Argv: []string{"/bin/seal", "seal", "/.extra/credentials/policy.cred"}},
	}, kexecSteps("extend", "/img/second.efi")...)...), testkit.Plain("img/second.efi", changed))

	before := foretell(t, first)
	after := func(img []byte) eventlog.Values {
		t.Helper()
		p, err := measure.PlanKexec("next.efi", img, 0, &image.Payload{}, measure.KexecOptions{Mode: measure.ModeExtend, Banks: banks,
			PCRs: []uint32{11}, Before: before})
		if err != nil {
			t.Fatal(err)
		}
		return p.After
	}
	good, bad := after(second), after(changed)

	volume := filepath.Join(t.TempDir(), "esp")
	path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
	put(t, path, first)
	put(t, path+".extra.d/policy.cred", fmt.Appendf(nil, "%x", measure.PolicyDigest(eventlog.SHA256, eventlog.Registers{11: good[eventlog.SHA256][11]})))
	c := vmkit.Config(t, a)
	c.MemoryMiB = 2048
	c.Firmware = vmkit.Firmware(t, a, false)
	c.TPM = testkit.MachineTPM(t, "sha256")
	c.Disks = []string{esp(t, files(t, volume))}
	run := vmkit.Boot(t, c, "third")

	if r := run.Result("second note"); !strings.HasPrefix(r.Stdout, "A note") {
		t.Errorf("the second kernel's note is %q, want the changed one", r.Stdout)
	}
	if r := run.Result("first seal"); r.Status != 0 {
		t.Errorf("first: seal: %s", r.Stderr)
	}
	two, three := result(t, run, "second probe"), result(t, run, "third probe")
	for _, h := range banks {
		got := two.PCRs[h.String()]["11"]
		if want := bad[h][11].String(); got != want {
			t.Errorf("PCR 11 of %s after the changed image is %s, foretold as %s", h, got, want)
		}
		if got == good[h][11].String() {
			t.Errorf("PCR 11 of %s does not show the change", h)
		}
		for _, pcr := range []string{"4", "7", "9", "11", "12", "13", "14"} {
			if got, want := three.PCRs[h.String()][pcr], two.PCRs[h.String()][pcr]; got != want || got == "" {
				t.Errorf("PCR %s of %s is %s after --measure log, was %s", pcr, h, got, want)
			}
		}
	}
	if r := run.Result("second unseal"); r.Status == 0 || !strings.Contains(r.Stderr, "TPM_RC_POLICY_FAIL") {
		t.Errorf("second: unseal: status %d, %q, %q, want a policy that fails", r.Status, r.Stdout, r.Stderr)
	}
	r := run.Result("second verify")
	var v measure.Verdict
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil || r.Status != 0 || !v.OK() || v.Kexecs != 1 {
		t.Errorf("second: verify: status %d, %v, %+v: the log tells of the changed image, and so is true", r.Status, err, v)
	}
	r = run.Result("third show")
	if r.Status != 0 || !strings.Contains(r.Stdout, "not extended: EV_IPL .initrd") {
		t.Errorf("third: the log shows status %d, %q, want what was not extended", r.Status, r.Stdout+r.Stderr)
	}
}
