// SPDX-License-Identifier: Apache-2.0

package appended

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Marker ends every file with an appended signature
// (include/linux/module_signature.h, MODULE_SIG_STRING).
const Marker = "~Module signature appended~\n"

// BlockSize is the size of struct module_signature in bytes: algo, hash,
// id_type, signer_len, key_id_len (one byte each), three bytes of padding and
// a big-endian 32-bit sig_len.
const BlockSize = 12

// idPKCS7 is PKEY_ID_PKCS7, the only kind the kernel still accepts.
const idPKCS7 = 2

var (
	// ErrNone: the file does not end in the marker.
	ErrNone = errors.New("no appended signature")
	// ErrTrailer: the marker is there and the block before it is wrong.
	ErrTrailer = errors.New("malformed signature trailer")
)

// Signature is a file split at its appended signature. Both slices are views
// of the file.
type Signature struct {
	// Content is what is signed: everything before the message.
	Content []byte
	// CMS is the DER of a detached SignedData message.
	CMS []byte
	// Offset of CMS in the file, in bytes.
	Offset uint64
}

// Split reads the trailer from the end of file and checks each field as
// kernel/module_signature.c does: everything but id_type and sig_len is
// zero, and the message lies inside the file.
func Split(file []byte) (*Signature, error) {
	n := len(file) - len(Marker)
	if n < 0 || string(file[n:]) != Marker {
		return nil, ErrNone
	}
	if n < BlockSize {
		return nil, fmt.Errorf("%d bytes before the marker, the block needs %d: %w", n, BlockSize, ErrTrailer)
	}
	b := file[n-BlockSize : n]
	rest := file[:n-BlockSize]
	names := [...]string{"algo", "hash", "id_type", "signer_len", "key_id_len", "padding", "padding", "padding"}
	for i, name := range names {
		want := byte(0)
		if name == "id_type" {
			want = idPKCS7
		}
		if b[i] != want {
			return nil, fmt.Errorf("%s is %d at offset 0x%x, want %d: %w", name, b[i], len(rest)+i, want, ErrTrailer)
		}
	}
	size := uint64(binary.BigEndian.Uint32(b[8:]))
	if size == 0 || size >= uint64(len(rest)) {
		return nil, fmt.Errorf("signature of 0x%x bytes in a file with 0x%x bytes before the trailer: %w",
			size, len(rest), ErrTrailer)
	}
	off := uint64(len(rest)) - size
	return &Signature{Content: rest[:off], CMS: rest[off:], Offset: off}, nil
}

// Append returns file with the detached message and its trailer added.
func Append(file, cms []byte) ([]byte, error) {
	if len(cms) == 0 || uint64(len(cms)) > 1<<32-1 {
		return nil, fmt.Errorf("message of %d bytes: %w", len(cms), ErrTrailer)
	}
	out := make([]byte, 0, len(file)+len(cms)+BlockSize+len(Marker))
	out = append(out, file...)
	out = append(out, cms...)
	out = append(out, 0, 0, idPKCS7, 0, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(cms)))
	return append(out, Marker...), nil
}
