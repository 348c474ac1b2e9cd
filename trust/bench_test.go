// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// A large image costs one pass of SHA-256 and little more.
func BenchmarkVerifyImage(b *testing.B) {
	k := testkit.NewKey(b, "signer")
	image := trusttest.SignPE(b, trusttest.PE(b, trusttest.Section{Name: ".initrd", Data: make([]byte, 64<<20)}), opts(k))
	v := verifier(k)
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if _, err := v.Verify(imageObject(image)); err != nil {
			b.Fatal(err)
		}
	}
}

// The fixed cost of one signature: parsing, chain, RSA.
func BenchmarkVerifySmall(b *testing.B) {
	ca := testkit.NewCA(b, "authority")
	image := trusttest.SignPE(b, trusttest.SmallPE(b), opts(ca.Issue(b, "signer")))
	v := verifier(ca)
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if _, err := v.Verify(imageObject(image)); err != nil {
			b.Fatal(err)
		}
	}
}
