// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The module-style signature trailer (include/linux/module_signature.h):
// data, PKCS#7, a block of 12 bytes, a marker of 28.
const (
	trailerMarker = "~Module signature appended~\n"
	trailerBlock  = 12
	trailerPKCS7  = 2
)

// SplitTrailer separates data from the signature appended to it: payload is
// what the signature covers, signature the PKCS#7 in DER, nil if there is no
// trailer. A trailer that contradicts itself is ErrTrailer; it is never taken
// for no trailer.
func SplitTrailer(b []byte) (payload, signature []byte, err error) {
	rest, ok := bytes.CutSuffix(b, []byte(trailerMarker))
	if !ok {
		return b, nil, nil
	}
	if len(rest) < trailerBlock {
		return nil, nil, fmt.Errorf("%w: %d bytes before the marker", ErrTrailer, len(rest))
	}
	block := rest[len(rest)-trailerBlock:]
	rest = rest[:len(rest)-trailerBlock]
	// algo, hash, id_type, signer_len, key_id_len, three bytes of padding.
	if !bytes.Equal(block[:8], []byte{0, 0, trailerPKCS7, 0, 0, 0, 0, 0}) {
		return nil, nil, fmt.Errorf("%w: block % x, want 00 00 02 and zeros", ErrTrailer, block[:8])
	}
	n := uint64(binary.BigEndian.Uint32(block[8:]))
	if n == 0 || n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("%w: signature of 0x%x bytes in a file of 0x%x", ErrTrailer, n, len(b))
	}
	at := uint64(len(rest)) - n
	return rest[:at:at], rest[at:], nil
}

// AppendTrailer returns data with a PKCS#7 signature over it appended.
func AppendTrailer(data, pkcs7 []byte) ([]byte, error) {
	if len(pkcs7) == 0 || uint64(len(pkcs7)) > 1<<32-1 {
		return nil, fmt.Errorf("%w: signature of %d bytes", ErrTrailer, len(pkcs7))
	}
	out := make([]byte, 0, len(data)+len(pkcs7)+trailerBlock+len(trailerMarker))
	out = append(append(out, data...), pkcs7...)
	out = append(out, 0, 0, trailerPKCS7, 0, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(pkcs7)))
	return append(out, trailerMarker...), nil
}
