// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// parent is an open storage key. It has no password.
type parent struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
	// transient ones are flushed.
	transient bool
}

// openParent opens a persistent storage key, or makes that of the owner
// hierarchy, which gives the same key each time.
func openParent(t transport.TPM, handle uint32, rsa bool) (*parent, error) {
	if handle != OwnerHierarchy {
		rsp, err := readPublic(t, handle)
		if err != nil {
			return nil, fmt.Errorf("the key's parent: %w", err)
		}
		pub, err := rsp.OutPublic.Contents()
		if err != nil {
			return nil, fmt.Errorf("the key's parent 0x%x: %w: %w", handle, ErrUnsupported, err)
		}
		return &parent{handle: tpm2.TPMHandle(handle), name: rsp.Name, public: *pub}, nil
	}
	template := eccParent()
	if rsa {
		template = rsaParent()
	}
	p, err := createPrimary(t, template)
	// What a TPM without elliptic curves says.
	if err != nil && !rsa && (errors.Is(err, tpm2.TPMRCType) || errors.Is(err, tpm2.TPMRCCurve) || errors.Is(err, tpm2.TPMRCValue)) {
		p, err = createPrimary(t, rsaParent())
	}
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return nil, fmt.Errorf("make the storage key: %w: make keys below the persistent storage root key 0x%x instead: %w", ErrOwner, StorageRootKey, err)
	}
	if err != nil {
		return nil, explain("make the storage key", err)
	}
	return p, nil
}

func createPrimary(t transport.TPM, template tpm2.TPMTPublic) (*parent, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	p := &parent{handle: rsp.ObjectHandle, name: rsp.Name, transient: true}
	pub, err := rsp.OutPublic.Contents()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		p.close(t, &err)
		return nil, err
	}
	p.public = *pub
	return p, nil
}

// auth returns the parent as the authorised handle of a command; nil is a
// session without a password.
func (p *parent) auth(s tpm2.Session) tpm2.AuthHandle {
	if s == nil {
		s = tpm2.PasswordAuth(nil)
	}
	return tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: s}
}

func (p *parent) close(t transport.TPM, err *error) {
	if p.transient {
		flush(t, p.handle, err)
	}
}

// The templates of the storage key that key files stand under when they name
// the hierarchy (draft-bottomley-tpm2-keys, section 3.1.8): those of the TCG's
// provisioning guidance with an empty unique field.

func storage(typ tpm2.TPMAlgID) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: typ, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, Decrypt: true,
		},
	}
}

func aes128() tpm2.TPMTSymDefObject {
	return tpm2.TPMTSymDefObject{
		Algorithm: tpm2.TPMAlgAES,
		KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
		Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
	}
}

func eccParent() tpm2.TPMTPublic {
	t := storage(tpm2.TPMAlgECC)
	t.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{Symmetric: aes128(), CurveID: tpm2.TPMECCNistP256})
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}

func rsaParent() tpm2.TPMTPublic {
	t := storage(tpm2.TPMAlgRSA)
	t.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Symmetric: aes128(), KeyBits: 2048})
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	return t
}
