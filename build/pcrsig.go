// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// PCRKey signs the values that PCR 11 will have.
type PCRKey struct {
	// Signer is an RSA key.
	Signer crypto.Signer
	// Phases are paths of boot phases, such as "enter-initrd:leave-initrd";
	// none are those of measure.DefaultPhases.
	Phases []string
}

// PCROptions say which values of PCR 11 are predicted.
type PCROptions struct {
	// Banks are the algorithms of the register, none are all of
	// eventlog.Banks.
	Banks []eventlog.Hash
	// Profiles are the IDs of the profiles to predict, none are all. An ID
	// that the image does not have fails with uki.ErrProfile.
	Profiles []string
}

func (o *PCROptions) banks() []eventlog.Hash {
	if len(o.Banks) == 0 {
		return eventlog.Banks()
	}
	return o.Banks
}

// PredictPCRs predicts PCR 11 for every way the image can boot (profiles,
// device trees, firmware). Phases of a case give the values in boot phases.
//
// The unsigned image passes through sealed memory, not through the heap. The
// section .pcrsig has no influence on the values; .pcrpkey has.
func (u *UKI) PredictPCRs(ctx context.Context, o PCROptions) (cases []measure.Case, err error) {
	if !u.Linux.IsSet() {
		return nil, fmt.Errorf("%w: PCR 11 of an image without a kernel", ErrMissing)
	}
	im, err := u.Build(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, im.Close()) }()
	r, w := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, err := im.WriteTo(&meter{ctx: ctx, w: w, total: im.size})
		w.CloseWithError(err)
	}()
	m, err := sealed.ReadAll(r, "image", im.size)
	// Lets the writer end, which reads what im.Close gives up.
	err = errors.Join(err, r.CloseWithError(err))
	<-written
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	p, err := measure.Predict("image", m.Bytes(), measure.Options{Banks: o.banks()})
	if err != nil {
		return nil, err
	}
	if len(o.Profiles) == 0 {
		return p.Cases, nil
	}
	for _, id := range o.Profiles {
		n := len(cases)
		for _, c := range p.Cases {
			if c.ProfileID == id {
				cases = append(cases, c)
			}
		}
		if len(cases) == n {
			return nil, fmt.Errorf("%w: %q, to predict PCR 11 of", uki.ErrProfile, id)
		}
	}
	return cases, nil
}

// SignPCRs signs the values that PredictPCRs foretells with the keys and sets
// PCRSig to the signatures, all of them: whoever unseals a secret looks for the
// one that fits. With a single key, PCRPKey is set to its public half unless it
// is set already.
func (u *UKI) SignPCRs(ctx context.Context, keys []PCRKey, o PCROptions) error {
	if len(keys) == 0 {
		return fmt.Errorf("%w: key for PCR signatures", ErrMissing)
	}
	if u.PCRSig.IsSet() {
		return fmt.Errorf("%w: %s", ErrDuplicate, uki.PCRSig)
	}
	if len(keys) == 1 {
		if err := u.setPCRPKey(keys[0].Signer.Public()); err != nil {
			return err
		}
	}
	cases, err := u.PredictPCRs(ctx, o)
	if err != nil {
		return err
	}
	all := measure.PolicySignatures{}
	for i := range cases {
		for _, k := range keys {
			values, err := phasesOf(&cases[i], o, k.Phases)
			if err != nil {
				return err
			}
			sigs, err := measure.Sign(values, k.Signer)
			if err != nil {
				return err
			}
			all.Merge(sigs)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	u.PCRSig = Bytes(b)
	return nil
}

// PCRPolicies returns the policies that SignPCRs would sign, for a key that is
// kept elsewhere. Its public half pub becomes PCRPKey unless that is set
// already; nil leaves the fingerprints empty. The signatures go into the
// finished image with Edit.
func (u *UKI) PCRPolicies(ctx context.Context, pub crypto.PublicKey, phases []string, o PCROptions) (measure.PolicySignatures, error) {
	if pub != nil {
		if err := u.setPCRPKey(pub); err != nil {
			return nil, err
		}
	}
	cases, err := u.PredictPCRs(ctx, o)
	if err != nil {
		return nil, err
	}
	all := measure.PolicySignatures{}
	for i := range cases {
		values, err := phasesOf(&cases[i], o, phases)
		if err != nil {
			return nil, err
		}
		list, err := measure.Policies(values, pub)
		if err != nil {
			return nil, err
		}
		all.Merge(list)
	}
	return all, nil
}

// setPCRPKey makes pub the contents of .pcrpkey unless there are some.
func (u *UKI) setPCRPKey(pub crypto.PublicKey) error {
	if u.PCRPKey.IsSet() {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fmt.Errorf("%w: public key for PCR signatures: %w", ErrPart, err)
	}
	u.PCRPKey = Bytes(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return nil
}

func phasesOf(c *measure.Case, o PCROptions, phases []string) ([]measure.PhaseValue, error) {
	if len(phases) == 0 {
		phases = measure.DefaultPhases()
	}
	return c.Phases(o.banks(), phases)
}
