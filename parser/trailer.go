// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/trust/appended"
)

// SplitTrailer separates data from the signature appended to it: payload is
// what the signature covers, signature the PKCS#7 in DER, nil if there is no
// trailer. A trailer that contradicts itself is ErrTrailer; it is never taken
// for no trailer.
func SplitTrailer(b []byte) (payload, signature []byte, err error) {
	s, err := appended.Split(b)
	if errors.Is(err, appended.ErrNone) {
		return b, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrTrailer, err)
	}
	return s.Content[:len(s.Content):len(s.Content)], s.CMS, nil
}

// AppendTrailer returns data with a PKCS#7 signature over it appended.
func AppendTrailer(data, pkcs7 []byte) ([]byte, error) {
	out, err := appended.Append(data, pkcs7)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrailer, err)
	}
	return out, nil
}
