// SPDX-License-Identifier: Apache-2.0

package measure

import (
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

// TestMeasuredKexec: firmware boots a UKI, which starts a second by a measured kexec, which starts a third. Each kernel after
// the first checks the log that it was handed against its TPM. A secret sealed to what peel foretells of the second is
// given to the second, not to the first and not to the third.
func TestMeasuredKexec(t *testing.T) {
	const a = image.ArchX86_64
	k := testkit.KernelImage(t, "amd64", "6.12")
	uki := func(name string, steps []guest.Step, files ...testkit.File) []byte {
		path := testkit.UKI(t, testkit.UKIOptions{Name: name + ".efi", Kernel: k.Path, Cmdline: vmkit.Cmdline(t, a),
			Initrd: initrd(t, a, k, name, steps, slices.Concat(sealTools(t), files)...)})
		return testkit.ReadFile(t, path)
	}
	unseal := guest.Step{Name: "unseal", Argv: []string{"/bin/seal", "unseal"}}
	load := func(file string) []guest.Step { return kexecSteps("extend", file) }

	third := uki("third", named("third", unseal, peel("verify", "measure", "--verify", "--json")))
	second := uki("second", named("second", append([]guest.Step{
		unseal, peel("verify", "measure", "--verify", "--json"), peel("show", "measure", "--log", measure.HandoverPath),
	}, load("/img/third.efi")...)...), testkit.Plain("img/third.efi", third))

	// The policy comes as a credential, which is measured into PCR 12: PCR 11, to which the secret is sealed, could not hold
	// its own policy.
	first := uki("first", named("first", append([]guest.Step{
		{Name: "seal", Argv: []string{"/bin/seal", "seal", "/.extra/credentials/policy.cred"}}, unseal,
		peel("verify", "measure", "--running", "--verify", "--json", "--pcr", "4,7,9,11,12,13"),
	}, load("/img/second.efi")...)...), testkit.Plain("img/second.efi", second))

	banks := eventlog.Banks()
	values := foretell(t, first)
	after := []eventlog.Values{values}
	for _, img := range [][]byte{second, third} {
		p, err := measure.PlanKexec("next.efi", img, 0, &image.Payload{}, measure.KexecOptions{Mode: measure.ModeExtend, Banks: banks,
			PCRs: []uint32{11}, Before: after[len(after)-1]})
		if err != nil {
			t.Fatal(err)
		}
		after = append(after, p.After)
	}

	volume := filepath.Join(t.TempDir(), "esp")
	path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
	put(t, path, first)
	put(t, path+".extra.d/policy.cred", fmt.Appendf(nil, "%x",
		measure.PolicyDigest(eventlog.SHA256, eventlog.Registers{11: after[1][eventlog.SHA256][11]})))
	c := vmkit.Config(t, a)
	c.MemoryMiB = 2048
	c.Firmware = vmkit.Firmware(t, a, false)
	c.TPM = testkit.MachineTPM(t)
	c.Disks = []string{esp(t, files(t, volume))}
	run := vmkit.Boot(t, c, "third")

	for i, kernel := range []string{"first", "second", "third"} {
		got := result(t, run, kernel+" probe")
		for _, h := range banks {
			if v, want := got.PCRs[h.String()]["11"], after[i][h][11].String(); v != want {
				t.Errorf("%s: PCR 11 of %s is %s, foretold as %s", kernel, h, v, want)
			}
		}
		r := run.Result(kernel + " unseal")
		if open := r.Status == 0 && r.Stdout == "the key of the disk\n"; open != (kernel == "second") {
			t.Errorf("%s: unseal: status %d, %q, %q", kernel, r.Status, r.Stdout, r.Stderr)
		}
		r = run.Result(kernel + " verify")
		var v measure.Verdict
		if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
			t.Fatalf("%s: verify: %v: %s%s", kernel, err, r.Stdout, r.Stderr)
		}
		if r.Status != 0 || !v.OK() || v.Kexecs != i || len(v.Unlogged) != 0 {
			t.Errorf("%s: verify: status %d, %+v, want %d kexecs and all explained", kernel, r.Status, v, i)
		}
		if want := len(banks) * 4; i > 0 && len(v.Checks) != want {
			t.Errorf("%s: %d registers checked, want %d", kernel, len(v.Checks), want)
		}
	}
	if r := run.Result("second show"); r.Status != 0 || !strings.Contains(r.Stdout, "what follows was measured by peel") {
		t.Errorf("second: the log shows status %d, %q, want the separator in it", r.Status, r.Stdout+r.Stderr)
	}
}

// sealTools are peel and the program that seals.
func sealTools(t *testing.T) []testkit.File {
	t.Helper()
	return []testkit.File{
		vmkit.Peel(t, image.ArchX86_64),
		testkit.Exec(t, "bin/seal", testkit.BuildBinary(t, "./internal/vmtest/measure/testdata/seal", "amd64")),
	}
}

func peel(name string, args ...string) guest.Step {
	return guest.Step{Name: name, Argv: append([]string{"/bin/peel"}, args...)}
}

// named puts the kernel before the names of steps: those of all kernels end up on one console.
func named(kernel string, steps ...guest.Step) []guest.Step {
	for i := range steps {
		steps[i].Name = kernel + " " + steps[i].Name
	}
	return steps
}

// kexecSteps start another kernel by a measured kexec.
func kexecSteps(mode, file string, load ...string) []guest.Step {
	if load == nil {
		load = []string{"--policy", "warn"}
	}
	return []guest.Step{
		peel("load", append([]string{"load", "--measure", mode, file}, load...)...),
		peel("exec", "exec", "--force"),
	}
}

// foretell returns the registers after the boot of an image without anything else.
func foretell(t *testing.T, img []byte) eventlog.Values {
	t.Helper()
	p, err := measure.Predict("x.efi", img, measure.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Cases[0].Values
}
