// SPDX-License-Identifier: Apache-2.0

package trust

import "errors"

// ErrRefused is wrapped by every error that means "the policy says no", next
// to the sentinel that says why.
var ErrRefused = errors.New("refused by policy")

// Why a layer is refused.
var (
	// ErrNoSignature: nothing vouches for the layer.
	ErrNoSignature = errors.New("no signature")
	// ErrDigestMismatch: the signature is over other bytes.
	ErrDigestMismatch = errors.New("signature does not match the contents")
	// ErrBadSignature: the signature does not verify with its signer's key.
	ErrBadSignature = errors.New("signature does not verify")
	// ErrMalformed: signature or image cannot be read.
	ErrMalformed = errors.New("malformed signature")
	// ErrUnknownSigner: the signature is good and no list names its signer.
	ErrUnknownSigner = errors.New("unknown signer")
	// ErrRevoked: a deny list names the image, a certificate or a signer.
	ErrRevoked = errors.New("revoked")
	// ErrSBAT: a component is older than the SBAT level demands, or the
	// SBAT data is missing where demanded or cannot be read.
	ErrSBAT = errors.New("refused by SBAT")
	// ErrWeak: digest or key is below what the policy accepts.
	ErrWeak = errors.New("digest or key too weak")
	// ErrKind: the policy does not accept this kind of signature.
	ErrKind = errors.New("kind of signature not accepted")
	// ErrUsage: the key is for something else.
	ErrUsage = errors.New("key not valid for this use")
	// ErrOutside: the policy does not let this part come from outside.
	ErrOutside = errors.New("not allowed from outside the image")
	// ErrPayload: the inner kernel is not signed as the policy wants.
	ErrPayload = errors.New("inner kernel not signed as required")
	// ErrUncovered: the image has contents that no digest covers.
	ErrUncovered = errors.New("contents not covered by the signature")
	// ErrPolicy: a policy file is wrong.
	ErrPolicy = errors.New("bad policy")
	// ErrLimit: more than this package looks at.
	ErrLimit = errors.New("limit exceeded")
	// ErrKeyFile: a key, certificate or list file cannot be used.
	ErrKeyFile = errors.New("unusable key file")
)

// code returns the stable name that reports use for a sentinel.
func code(err error) string {
	for _, c := range []struct {
		err  error
		name string
	}{
		{ErrRevoked, "revoked"}, {ErrSBAT, "sbat"}, {ErrOutside, "outside"}, {ErrPayload, "payload"},
		{ErrUncovered, "uncovered"}, {ErrWeak, "weak"}, {ErrKind, "kind"}, {ErrUsage, "usage"},
		{ErrDigestMismatch, "digest_mismatch"}, {ErrBadSignature, "bad_signature"},
		{ErrUnknownSigner, "unknown_signer"}, {ErrNoSignature, "no_signature"},
		{ErrMalformed, "malformed"}, {ErrLimit, "limit"},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "error"
}
