// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// What PCRPolicies says is what SignPCRs signs; both leave the image alone but
// for the key and the signatures.
func TestPCRPolicies(t *testing.T) {
	ctx := context.Background()
	k := testkit.NewKey(t, "pcr")
	o := PCROptions{Banks: []eventlog.Hash{eventlog.SHA256, eventlog.SHA384}}
	phases := []string{"enter-initrd", "enter-initrd:leave-initrd"}
	a, b := spec(t), spec(t)
	a.PCRPKey, b.PCRPKey = Content{}, Content{}
	want, err := a.PCRPolicies(ctx, k.Signer.Public(), phases, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SignPCRs(ctx, []PCRKey{{Signer: k.Signer, Phases: phases}}, o); err != nil {
		t.Fatal(err)
	}
	got, err := measure.ParsePolicySignatures([]byte(find(t, write(t, b), uki.PCRSig)))
	if err != nil {
		t.Fatal(err)
	}
	for bank := range got {
		for i := range got[bank] {
			if got[bank][i].Signature == "" {
				t.Errorf("%s: policy %d is not signed", bank, i)
			}
			got[bank][i].Signature = ""
		}
	}
	// Two device trees and none: three cases of two phases each.
	if diff := cmp.Diff(want, got); diff != "" || len(got["sha256"]) < 2 {
		t.Errorf("%d policies (-PCRPolicies +SignPCRs):\n%s", len(got["sha256"]), diff)
	}
	if x, y := find(t, write(t, a), uki.PCRPKey), find(t, write(t, b), uki.PCRPKey); x != y {
		t.Errorf(".pcrpkey = %q and %q, want the same key", x, y)
	}
}

func TestPCRErrors(t *testing.T) {
	ctx := context.Background()
	k := []PCRKey{{Signer: testkit.NewKey(t, "pcr").Signer}}
	addon := UKI{Stub: File(testkit.AddonStub(t, "amd64", "trixie")), Cmdline: Text("x")}
	signed := spec(t)
	signed.PCRSig = Text("{}")
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"no key", spec(t).SignPCRs(ctx, nil, PCROptions{}), ErrMissing},
		{"addon", addon.SignPCRs(ctx, k, PCROptions{}), ErrMissing},
		{"signatures given", signed.SignPCRs(ctx, k, PCROptions{}), ErrDuplicate},
		{"no such profile", spec(t).SignPCRs(ctx, k, PCROptions{Profiles: []string{"x"}}), uki.ErrProfile},
		{"no stub", (&UKI{Linux: Text("x")}).SignPCRs(ctx, k, PCROptions{}), ErrMissing},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
}
