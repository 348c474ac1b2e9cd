// SPDX-License-Identifier: Apache-2.0

// Command seal binds a secret to a policy over PCR 11, and asks for it: "seal FILE" stores it in the TPM under the policy
// digest in a file, "unseal" prints it. "seal-signed KEY" stores it under whatever policy the owner of a public key signs, as
// systemd-cryptenroll --tpm2-public-key= does, and "unseal-signed KEY FILE LIST" asks for it with the signatures in a list of a
// .pcrsig section. It uses the TPM as a disk encryption would, with go-tpm alone.
package main

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const (
	handle = 0x81000017
	secret = "the key of the disk"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	f, err := os.OpenFile("/dev/tpmrm0", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	t := transport.FromReadWriteCloser(f)
	defer t.Close()
	switch {
	case len(args) == 2 && args[0] == "seal":
		text, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		policy, err := hex.DecodeString(string(text))
		if err != nil {
			return err
		}
		return seal(t, policy)
	case len(args) == 1 && args[0] == "unseal":
		return unseal(t, nil)
	case len(args) == 2 && args[0] == "seal-signed":
		key, err := load(t, args[1])
		if err != nil {
			return err
		}
		c, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
		if err != nil {
			return err
		}
		if err := (tpm2.PolicyAuthorize{KeySign: key.Name}).Update(c); err != nil {
			return err
		}
		return seal(t, c.Hash().Digest)
	case len(args) == 4 && args[0] == "unseal-signed":
		key, err := load(t, args[1])
		if err != nil {
			return err
		}
		text, err := os.ReadFile(args[2])
		if err != nil {
			return err
		}
		return unseal(t, func(session tpm2.TPMHandle) error { return authorize(t, session, key, text, args[3]) })
	}
	return errors.New("usage: seal FILE | unseal | seal-signed KEY | unseal-signed KEY FILE LIST")
}

// load puts a public RSA key into the TPM, with the attributes that systemd gives it: they are part of its name.
func load(t transport.TPM, path string) (*tpm2.LoadExternalResponse, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM", path)
	}
	any, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	pub, ok := any.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: %T", path, any)
	}
	got, err := tpm2.LoadExternal{
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{Decrypt: true, SignEncrypt: true, UserWithAuth: true},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
				Scheme:  tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull},
				KeyBits: tpm2.TPMKeyBits(pub.N.BitLen()), Exponent: 0,
			}),
			Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: pub.N.Bytes()}),
		}),
		Hierarchy: tpm2.TPMRHOwner,
	}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	return got, nil
}

// authorize turns the policy of a session, made of the registers as they are, into that of the key, if the key signed it.
func authorize(t transport.TPM, session tpm2.TPMHandle, key *tpm2.LoadExternalResponse, signatures []byte, name string) error {
	var list map[string][]struct {
		Policy    string `json:"pol"`
		Signature []byte `json:"sig"`
	}
	if err := json.Unmarshal(signatures, &list); err != nil {
		return err
	}
	now, err := tpm2.PolicyGetDigest{PolicySession: session}.Execute(t)
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	for _, s := range list[name] {
		if s.Policy != hex.EncodeToString(now.PolicyDigest.Buffer) {
			continue
		}
		sum := sha256.Sum256(now.PolicyDigest.Buffer)
		ok, err := tpm2.VerifySignature{
			KeyHandle: key.ObjectHandle, Digest: tpm2.TPM2BDigest{Buffer: sum[:]},
			Signature: tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
				Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: s.Signature},
			})},
		}.Execute(t)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		_, err = tpm2.PolicyAuthorize{
			PolicySession: session, ApprovedPolicy: now.PolicyDigest, KeySign: key.Name, CheckTicket: ok.Validation,
		}.Execute(t)
		return err
	}
	return fmt.Errorf("none of %d signatures is for policy %x", len(list[name]), now.PolicyDigest.Buffer)
}

func seal(t transport.TPM, policy []byte) error {
	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
	if err != nil {
		return fmt.Errorf("primary key: %w", err)
	}
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: primary.ObjectHandle, Name: primary.Name, Auth: tpm2.PasswordAuth(nil)},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: []byte(secret)}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true},
			AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy},
		}),
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	loaded, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: primary.ObjectHandle, Name: primary.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate:    made.OutPrivate, InPublic: made.OutPublic,
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name},
		PersistentHandle: handle,
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	return nil
}

// unseal asks for the secret in a policy session over PCR 11, which further may extend.
func unseal(t transport.TPM, further func(session tpm2.TPMHandle) error) error {
	pub, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(handle)}.Execute(t)
	if err != nil {
		return fmt.Errorf("read public: %w", err)
	}
	session, done, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, 16)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	defer func() { _ = done() }()
	_, err = tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(11),
	}}}}.Execute(t)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if further != nil {
		if err := further(session.Handle()); err != nil {
			return fmt.Errorf("signed policy: %w", err)
		}
	}
	got, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: handle, Name: pub.Name, Auth: session}}.Execute(t)
	if err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	fmt.Println(string(got.OutData.Buffer))
	return nil
}
