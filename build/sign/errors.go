// SPDX-License-Identifier: Apache-2.0

package sign

import "errors"

// Errors of this package. Each is wrapped with what was found.
var (
	// ErrKey means that a private key or certificate cannot be read, or that
	// the two do not belong together.
	ErrKey = errors.New("unusable signing key")
	// ErrAlgorithm means that a hash or a kind of key is not used for this
	// kind of signature.
	ErrAlgorithm = errors.New("algorithm not supported for signing")
	// ErrLimit means that the result exceeds a limit of its format.
	ErrLimit = errors.New("exceeds a limit of the format")
	// ErrImage means that the image cannot carry the signature.
	ErrImage = errors.New("image cannot be signed")
)
