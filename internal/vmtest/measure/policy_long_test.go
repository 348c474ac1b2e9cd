// SPDX-License-Identifier: Apache-2.0

//go:build long

package measure

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
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

// Lists of a .pcrsig section in the test below.
const (
	listOwner = "sha256"
	listOther = "by another key"
)

// TestSignedPolicyKexec: a secret is sealed to whatever PCR 11 the owner of a key signs. The first kernel gets it with the
// signature in its own UKI. So does the second, of another PCR 11, after a measured kexec: its UKI has the signature of the value
// after a kexec out of the first. A signature of that value by another key does not open it; nor does, in the third kernel, the
// owner's signature of the value of a fresh boot. peel takes only UKIs that are signed for Secure Boot.
func TestSignedPolicyKexec(t *testing.T) {
	const a = image.ArchX86_64
	k := testkit.KernelImage(t, "amd64", "6.12")
	owner, other := testkit.NewKey(t, "owner of the policy"), testkit.NewKey(t, "another")
	vendor := testkit.NewKey(t, "vendor of the images")
	der, err := x509.MarshalPKIXPublicKey(owner.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	tools := append(sealTools(t), testkit.Plain("vendor.pem", testkit.ReadFile(t, vendor.CertPEM)),
		testkit.Plain("owner.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	fresh := func(img []byte) eventlog.Values { return foretell(t, img) }
	after := func(before eventlog.Values) func([]byte) eventlog.Values {
		return func(img []byte) eventlog.Values {
			t.Helper()
			p, err := measure.PlanKexec("next.efi", img, 0, &image.Payload{}, measure.KexecOptions{Mode: measure.ModeExtend,
				Banks: []eventlog.Hash{eventlog.SHA256}, PCRs: []uint32{11}, Before: before})
			if err != nil {
				t.Fatal(err)
			}
			return p.After
		}
	}
	// build makes a UKI with signatures of the values that value gives. Their section is not measured, so that the values are
	// those of the same image without it.
	build := func(name string, value func(img []byte) eventlog.Values, steps []guest.Step, more ...testkit.File) ([]byte, eventlog.Values) {
		t.Helper()
		o := testkit.UKIOptions{Name: name + ".efi", Kernel: k.Path, Cmdline: vmkit.Cmdline(t, a),
			Initrd: initrd(t, a, k, name, named(name, steps...), slices.Concat(tools, more)...)}
		values := value(testkit.ReadFile(t, testkit.UKI(t, o)))
		section := measure.PolicySignatures{}
		for list, key := range map[string]*testkit.Key{listOwner: owner, listOther: other} {
			sigs, err := measure.Sign([]measure.PhaseValue{{PCR: 11, Hash: eventlog.SHA256, Value: values[eventlog.SHA256][11]}}, key.Signer)
			if err != nil {
				t.Fatal(err)
			}
			section[list] = sigs[eventlog.SHA256.String()]
		}
		text, err := json.Marshal(section)
		if err != nil {
			t.Fatal(err)
		}
		o.Extra, o.Key = []string{"--section=.pcrsig:@" + testkit.WriteFile(t, "pcrsig", text)}, vendor
		return testkit.ReadFile(t, testkit.UKI(t, o)), values
	}
	unseal := func(list string) guest.Step {
		return guest.Step{Name: "unseal " + list, Argv: []string{"/bin/seal", "unseal-signed", "/owner.pem", "/.extra/tpm2-pcr-signature.json", list}}
	}
	load := func(file string) []guest.Step {
		return kexecSteps("extend", file, "--policy", "enforce", "--cert", "/vendor.pem")
	}

	third, freshThird := build("third", fresh, []guest.Step{unseal(listOwner)})
	// The second UKI has a signature of a value that the first one decides; it comes as a credential, which PCR 11 does not have.
	first, valueFirst := build("first", fresh, append([]guest.Step{
		{Name: "seal", Argv: []string{"/bin/seal", "seal-signed", "/owner.pem"}}, unseal(listOwner), unseal(listOther),
	}, load("/.extra/credentials/second.cred")...))
	second, valueSecond := build("second", after(valueFirst), append([]guest.Step{
		unseal(listOwner), unseal(listOther),
	}, load("/img/third.efi")...), testkit.Plain("img/third.efi", third))

	volume := filepath.Join(t.TempDir(), "esp")
	path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
	put(t, path, first)
	put(t, path+".extra.d/second.cred", second)
	c := vmkit.Config(t, a)
	c.MemoryMiB = 2048
	c.Firmware = vmkit.Firmware(t, a, false)
	c.TPM = testkit.MachineTPM(t, "sha256")
	c.Disks = []string{esp(t, files(t, volume))}
	run := vmkit.Boot(t, c, "third")

	if r := run.Result("first seal"); r.Status != 0 {
		t.Fatalf("first: seal: %s", r.Stderr)
	}
	for _, w := range []struct {
		step string
		open bool
		why  string
	}{
		{"first unseal " + listOwner, true, ""},
		{"first unseal " + listOther, false, "TPM_RC_SIGNATURE"},
		{"second unseal " + listOwner, true, ""},
		{"second unseal " + listOther, false, "TPM_RC_SIGNATURE"},
		{"third unseal " + listOwner, false, "none of 1 signatures is for policy"},
	} {
		r := run.Result(w.step)
		if open := r.Status == 0 && r.Stdout == "the key of the disk\n"; open != w.open || !strings.Contains(r.Stderr, w.why) {
			t.Errorf("%s: status %d, %q, %q, want open %v, %s", w.step, r.Status, r.Stdout, r.Stderr, w.open, w.why)
		}
	}
	for _, w := range []struct {
		kernel string
		values eventlog.Values
	}{{"first", valueFirst}, {"second", valueSecond}, {"third", after(valueSecond)(third)}} {
		got := result(t, run, w.kernel+" probe").PCRs["sha256"]["11"]
		if want := w.values[eventlog.SHA256][11].String(); got != want {
			t.Errorf("%s: PCR 11 is %s, foretold as %s", w.kernel, got, want)
		}
		if got == freshThird[eventlog.SHA256][11].String() {
			t.Errorf("%s: PCR 11 is that of a fresh boot of the third kernel", w.kernel)
		}
	}
}
