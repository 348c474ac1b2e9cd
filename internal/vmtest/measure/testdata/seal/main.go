// SPDX-License-Identifier: Apache-2.0

// Command seal binds a secret to a policy over PCR 11, and asks for it: "seal FILE" stores it in the TPM under the policy
// digest in a file, "unseal" prints it. It uses the TPM as a disk encryption would, with go-tpm alone.
package main

import (
	"encoding/hex"
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
		return unseal(t)
	}
	return errors.New("usage: seal FILE | unseal")
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

func unseal(t transport.TPM) error {
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
	got, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: handle, Name: pub.Name, Auth: session}}.Execute(t)
	if err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	fmt.Println(string(got.OutData.Buffer))
	return nil
}
