// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/peelboot/peel/measure/tpm"
)

// Errors of this package, beside those of measure/tpm. Each is wrapped with
// what was tried.
var (
	// ErrFile means that a file is no TPM key.
	ErrFile = errors.New("not a TPM key file")
	// ErrUnsupported means that a key is of a kind that is not used here:
	// importable, under a policy, restricted, for decryption only.
	ErrUnsupported = errors.New("TPM key not supported")
	// ErrAuth means that the key's password is missing or wrong.
	ErrAuth = errors.New("password of the TPM key")
	// ErrForeign means that the key belongs to another TPM, or that the TPM
	// was cleared since the key was made.
	ErrForeign = errors.New("key of another TPM")
	// ErrOwner means that the owner's password would be needed.
	ErrOwner = errors.New("owner hierarchy has a password")
	// ErrNoKey means that the TPM has no key with that number.
	ErrNoKey = errors.New("no such key in the TPM")
	// ErrSignature means that a signature does not fit the key's public half.
	ErrSignature = errors.New("TPM made a signature that its key does not verify")
)

// explain tells what a TPM's refusal means for somebody with a key.
func explain(what string, err error) error {
	kind, hint := tpm.ErrRefused, ""
	switch {
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		kind, hint = ErrAuth, " is wrong"
	case errors.Is(err, tpm2.TPMRCLockout):
		hint = ": it is locked out after wrong passwords; tpm2_dictionarylockout shows for how long"
	case errors.Is(err, tpm2.TPMRCIntegrity):
		kind, hint = ErrForeign, ", or the TPM was cleared since"
	case errors.Is(err, tpm2.TPMRCInitialize):
		hint = ": it was not started (TPM2_Startup)"
	case errors.Is(err, tpm2.TPMRCObjectMemory), errors.Is(err, tpm2.TPMRCSessionMemory):
		hint = ": it is full; programs without a resource manager left objects behind"
	case errors.Is(err, tpm2.TPMRCScheme), errors.Is(err, tpm2.TPMRCHash):
		kind, hint = ErrUnsupported, ": it does not sign with this hash"
	case errors.Is(err, tpm2.TPMRCCurve), errors.Is(err, tpm2.TPMRCValue), errors.Is(err, tpm2.TPMRCAsymmetric):
		hint = ": it does not know this kind or size of key"
	}
	return fmt.Errorf("%s: %w%s: %w", what, kind, hint, err)
}
