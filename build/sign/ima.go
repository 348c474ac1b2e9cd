// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto"
	"encoding/binary"
	"fmt"

	"github.com/peelboot/peel/trust/ima"
)

// IMA returns the value of a security.ima attribute, which is also the
// contents of a sidecar file and of an .ima section, that signs a file with
// this digest: type 0x03, struct signature_v2_hdr (version 2, hash, be32 key
// id, be16 size), signature. h is what digest was made with: SHA-256, SHA-384
// or SHA-512.
//
// The key is named by the end of the certificate's subject key identifier,
// where the kernel looks, or by that of the SHA-1 of its key bits if it has
// none.
func IMA(digest []byte, h crypto.Hash, k Key) ([]byte, error) {
	if len(digest) != h.Size() {
		return nil, fmt.Errorf("%w: digest of %d bytes for %v", ErrAlgorithm, len(digest), h)
	}
	return imaValue(byte(ima.TypeDigSig), 2, digest, h, k)
}

// IMAVerity is IMA for a file with this fs-verity digest (ima.VerityDigest):
// type 0x06, version 3. h is SHA-256 or SHA-512.
func IMAVerity(digest []byte, h crypto.Hash, k Key) ([]byte, error) {
	if h != crypto.SHA256 && h != crypto.SHA512 || len(digest) != h.Size() {
		return nil, fmt.Errorf("%w: fs-verity digest of %d bytes with %v", ErrAlgorithm, len(digest), h)
	}
	number, err := imaHash(h)
	if err != nil {
		return nil, err
	}
	// struct ima_file_id: type, algorithm, digest.
	w := h.New()
	w.Write([]byte{byte(ima.TypeVerity), number})
	w.Write(digest)
	return imaValue(byte(ima.TypeVerity), 3, w.Sum(nil), h, k)
}

// imaHash returns the number of enum hash_algo (include/uapi/linux/hash_info.h).
func imaHash(h crypto.Hash) (byte, error) {
	switch h {
	case crypto.SHA256:
		return 4, nil
	case crypto.SHA384:
		return 5, nil
	case crypto.SHA512:
		return 6, nil
	}
	return 0, fmt.Errorf("%w: hash %v", ErrAlgorithm, h)
}

func imaValue(typ, version byte, digest []byte, h crypto.Hash, k Key) ([]byte, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	number, err := imaHash(h)
	if err != nil {
		return nil, err
	}
	ids := ima.KeyIDs(k.Certificate)
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: the certificate of %q gives no key identifier", ErrKey, k.Certificate.Subject)
	}
	sig, err := k.sign(digest, h)
	if err != nil {
		return nil, err
	}
	b := []byte{typ, version, number}
	b = binary.BigEndian.AppendUint32(b, ids[0])
	b = binary.BigEndian.AppendUint16(b, uint16(len(sig)))
	b = append(b, sig...)
	if len(b) > ima.MaxSize {
		return nil, fmt.Errorf("%w: IMA value of %d bytes, at most %d", ErrLimit, len(b), ima.MaxSize)
	}
	return b, nil
}
