// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"

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

// SignPCRs predicts PCR 11 for every way the image can boot (profiles, device
// trees), signs the values with the keys and sets PCRSig to the signatures,
// all of them: whoever unseals a secret looks for the one that fits. With a
// single key, PCRPKey is set to its public half unless it is set already.
//
// The unsigned image passes through sealed memory, not through the heap.
func (u *UKI) SignPCRs(ctx context.Context, keys []PCRKey, banks []eventlog.Hash) (err error) {
	if len(keys) == 0 || !u.Linux.IsSet() {
		return fmt.Errorf("%w: PCR signatures need a kernel and a key", ErrMissing)
	}
	if u.PCRSig.IsSet() {
		return fmt.Errorf("%w: %s", ErrDuplicate, uki.PCRSig)
	}
	if len(banks) == 0 {
		banks = eventlog.Banks()
	}
	if len(keys) == 1 && !u.PCRPKey.IsSet() {
		der, err := x509.MarshalPKIXPublicKey(keys[0].Signer.Public())
		if err != nil {
			return fmt.Errorf("%w: public key for PCR signatures: %w", ErrPart, err)
		}
		u.PCRPKey = Bytes(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	im, err := u.Build(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, im.Close()) }()
	r, w := io.Pipe()
	go func() {
		_, err := im.WriteTo(&meter{ctx: ctx, w: w, total: im.size})
		w.CloseWithError(err)
	}()
	m, err := sealed.ReadAll(r, "image", im.size)
	if err != nil {
		// Lets the writer end.
		return errors.Join(err, r.CloseWithError(err))
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	p, err := measure.Predict("image", m.Bytes(), measure.Options{Banks: banks})
	if err != nil {
		return err
	}
	all := measure.PolicySignatures{}
	for i := range p.Cases {
		for _, k := range keys {
			phases := k.Phases
			if len(phases) == 0 {
				phases = measure.DefaultPhases()
			}
			values, err := p.Cases[i].Phases(banks, phases)
			if err != nil {
				return err
			}
			sigs, err := measure.Sign(values, k.Signer)
			if err != nil {
				return err
			}
			for bank, list := range sigs {
				for _, s := range list {
					if !slices.ContainsFunc(all[bank], func(o measure.PolicySignature) bool {
						return bytes.Equal(o.Policy, s.Policy) && bytes.Equal(o.Fingerprint, s.Fingerprint)
					}) {
						all[bank] = append(all[bank], s)
					}
				}
			}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	u.PCRSig = Bytes(b)
	return nil
}
