// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// CreateOptions describe a new key.
type CreateOptions struct {
	Options
	// Type is "rsa2048", "rsa3072", "rsa4096", "ecdsa256" or "ecdsa384"; few
	// TPMs have RSA keys beyond 2048 bits. Empty is rsa2048.
	Type string
	// Parent is OwnerHierarchy or a persistent storage key without a
	// password. 0 is OwnerHierarchy, or StorageRootKey when the owner has a
	// password.
	Parent uint32
	// Description goes into the file.
	Description string
}

// Create makes a key that can sign and nothing else, for this TPM alone; what
// it leaves behind is the file that MarshalPEM gives. It has the password
// Options.Auth; with one, wrong passwords count towards the TPM's lockout.
func Create(o CreateOptions) (*Key, error) {
	template, err := template(o.Type, len(o.Auth) == 0)
	if err != nil {
		return nil, err
	}
	k := &Key{o: o.Options}
	err = with(o.Device, func(t transport.TPM) error {
		handle := o.Parent
		if handle == 0 {
			handle = OwnerHierarchy
		}
		p, err := openParent(t, handle, false)
		if errors.Is(err, ErrOwner) && o.Parent == 0 {
			handle = StorageRootKey
			p2, err2 := openParent(t, handle, false)
			if err2 != nil {
				return errors.Join(err, err2)
			}
			p, err = p2, nil
		}
		if err != nil {
			return err
		}
		return k.create(t, p, handle, template, o)
	})
	if err != nil {
		return nil, fmt.Errorf("make a key in the TPM: %w", err)
	}
	return k, nil
}

func (k *Key) create(t transport.TPM, p *parent, handle uint32, template tpm2.TPMTPublic, o CreateOptions) (err error) {
	defer p.close(t, &err)
	// The password goes over the bus encrypted.
	session := tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Salted(p.handle, p.public), tpm2.AESEncryption(128, tpm2.EncryptIn))
	rsp, err := tpm2.Create{
		ParentHandle: p.auth(session),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: o.Auth},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{}),
		}},
		InPublic: tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return explain("create", err)
	}
	if k.public, err = publicOf(rsp.OutPublic); err != nil {
		return err
	}
	k.handle = handle
	k.file = &File{
		EmptyAuth: len(o.Auth) == 0, Parent: handle, Description: o.Description,
		RSAParent: handle == OwnerHierarchy && p.public.Type == tpm2.TPMAlgRSA,
		Public:    sized(rsp.OutPublic.Bytes()), Private: sized(rsp.OutPrivate.Buffer),
	}
	return nil
}

// sized puts the size in front that a TPM2B begins with.
func sized(b []byte) []byte {
	return bytes.Join([][]byte{binary.BigEndian.AppendUint16(nil, uint16(len(b))), b}, nil)
}

func template(typ string, noPassword bool) (tpm2.TPMTPublic, error) {
	t := tpm2.TPMTPublic{
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true,
			// Where nothing can be guessed, a lockout need not stop anybody.
			NoDA: noPassword,
		},
	}
	rsa := func(bits uint16) {
		t.Type = tpm2.TPMAlgRSA
		t.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: tpm2.TPMKeyBits(bits)})
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	}
	ecc := func(curve tpm2.TPMIECCCurve) {
		t.Type = tpm2.TPMAlgECC
		t.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: curve})
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	}
	switch typ {
	case "", "rsa2048":
		rsa(2048)
	case "rsa3072":
		rsa(3072)
	case "rsa4096":
		rsa(4096)
	case "ecdsa256":
		ecc(tpm2.TPMECCNistP256)
	case "ecdsa384":
		ecc(tpm2.TPMECCNistP384)
	default:
		return t, fmt.Errorf("%w: type %q", ErrUnsupported, typ)
	}
	return t, nil
}
