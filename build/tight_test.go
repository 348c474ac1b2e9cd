// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"crypto"
	"testing"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
)

// The kernel inside a real image that the kernel's build packed with gzip -9
// is signed: its payload then holds more bytes than before, and the room for
// it does not grow.
func TestInnerSignatureTight(t *testing.T) {
	k := testkit.NewKey(t, "kexec only")
	sig := Signature{Key: sign.Key{Signer: k.Signer, Certificate: k.Cert}, Options: sign.Options{Hash: crypto.SHA256}}
	p := write(t, &SignInner{Image: File(realZboot), Sign: []Signature{sig}})

	old, f := parsePE(t, realZboot), parsePE(t, p)
	if len(f.Raw) != len(old.Raw) || f.CheckSum != pe.CheckSumOf(f) {
		t.Errorf("image of 0x%x bytes, checksum 0x%x, want 0x%x and 0x%x", len(f.Raw), f.CheckSum, len(old.Raw), pe.CheckSumOf(f))
	}
	before, err := zboot.Parse(old.Raw)
	if err != nil {
		t.Fatal(err)
	}
	after, err := zboot.Parse(f.Raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("payload of 0x%x bytes, 0x%x before it was signed", len(after.Payload()), len(before.Payload()))

	signed := unpack(t, p)
	inner, err := pe.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	if got := testkit.Run(t, "", "gzip", "-dc", testkit.WriteFile(t, "payload.gz", after.Payload())); !bytes.Equal(got, signed) {
		t.Errorf("gzip -dc of the payload = 0x%x bytes, want 0x%x", len(got), len(signed))
	}
	testkit.Run(t, "", "sbverify", "--cert", k.CertPEM, testkit.WriteFile(t, "kernel.efi", inner.Trimmed()))
}
