// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/peelboot/peel/measure/tpm"
)

// Options say where the TPM is and how a key is opened.
type Options struct {
	// Device is what measure/tpm.Open takes: "" is /dev/tpmrm0.
	Device string
	// Auth is the key's password, at most as long as its name algorithm's
	// digest, 32 bytes for SHA-256. A key without one does not look at it.
	Auth []byte
}

// Key signs inside a TPM. It is opened for each signature and closed again;
// between signatures nothing of it is in the TPM.
type Key struct {
	o      Options
	public public
	// file is nil for a persistent key.
	file   *File
	handle uint32
}

// Load returns the key in a file, PEM or DER. The TPM is first needed by Sign.
// It fails with ErrFile, ErrUnsupported, or ErrAuth when the key has a password
// and none was given.
func Load(file []byte, o Options) (*Key, error) {
	f, err := ParseFile(file)
	if err != nil {
		return nil, err
	}
	p, err := parsePublic(f.Public)
	if err != nil {
		return nil, err
	}
	if len(f.Private) < 2 || int(binary.BigEndian.Uint16(f.Private)) != len(f.Private)-2 {
		return nil, fmt.Errorf("%w: private part of 0x%x bytes does not have the size it names", ErrFile, len(f.Private))
	}
	if f.EmptyAuth {
		o.Auth = nil
	} else if len(o.Auth) == 0 {
		return nil, fmt.Errorf("%w is missing", ErrAuth)
	}
	return &Key{o: o, public: p, file: f, handle: f.Parent}, nil
}

// Persistent returns the key that the TPM keeps under a number, 0x81000000 to
// 0x81ffffff. It fails with ErrNoKey, ErrUnsupported, or as measure/tpm.Open
// does.
func Persistent(handle uint32, o Options) (*Key, error) {
	if handle < firstPersistent || handle > lastPersistent {
		return nil, fmt.Errorf("%w: 0x%x is no number of a persistent key, 0x%x to 0x%x", ErrNoKey, handle, firstPersistent, lastPersistent)
	}
	k := &Key{o: o, handle: handle}
	err := with(o.Device, func(t transport.TPM) error {
		rsp, err := readPublic(t, handle)
		if err != nil {
			return err
		}
		k.public, err = publicOf(rsp.OutPublic)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("TPM key 0x%x: %w", handle, err)
	}
	return k, nil
}

// Public returns *rsa.PublicKey or *ecdsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public.key }

// MarshalPEM returns the key as a file. It fails with ErrUnsupported for a
// persistent key, which is nowhere but in the TPM.
func (k *Key) MarshalPEM() ([]byte, error) {
	if k.file == nil {
		return nil, fmt.Errorf("%w: key 0x%x is in the TPM alone", ErrUnsupported, k.handle)
	}
	return k.file.MarshalPEM()
}

// Sign signs a digest: PKCS #1 v1.5 with an RSA key, else ECDSA in DER. The
// source of random numbers is the TPM's own. What comes out was checked with
// the public half.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	h := opts.HashFunc()
	alg, ok := hashAlg(h)
	if _, pss := opts.(*rsa.PSSOptions); pss || !ok {
		return nil, fmt.Errorf("%w: signatures by %T with hash %v", ErrUnsupported, opts, h)
	}
	if len(digest) != h.Size() {
		return nil, fmt.Errorf("%w: digest of 0x%x bytes, %v has 0x%x", ErrUnsupported, len(digest), h, h.Size())
	}
	if k.public.hash != 0 && k.public.hash != h {
		return nil, fmt.Errorf("%w: it signs with %v alone, not with %v", ErrUnsupported, k.public.hash, h)
	}
	var sig []byte
	err := with(k.o.Device, func(t transport.TPM) error {
		return k.opened(t, func(handle tpm2.AuthHandle) (err error) {
			sig, err = k.sign(t, handle, digest, alg)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	switch pub := k.public.key.(type) {
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(pub, h, digest, sig); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSignature, err)
		}
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest, sig) {
			return nil, ErrSignature
		}
	}
	return sig, nil
}

func (k *Key) sign(t transport.TPM, handle tpm2.AuthHandle, digest []byte, alg tpm2.TPMIAlgHash) ([]byte, error) {
	scheme := tpm2.TPMAlgECDSA
	if _, ok := k.public.key.(*rsa.PublicKey); ok {
		scheme = tpm2.TPMAlgRSASSA
	}
	rsp, err := tpm2.Sign{
		KeyHandle:  handle,
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: scheme, Details: tpm2.NewTPMUSigScheme(scheme, &tpm2.TPMSSchemeHash{HashAlg: alg})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(t)
	if err != nil {
		return nil, explain("sign", err)
	}
	if rsp.Signature.SigAlg != scheme {
		return nil, fmt.Errorf("%w: scheme 0x%x", ErrSignature, uint16(rsp.Signature.SigAlg))
	}
	if scheme == tpm2.TPMAlgRSASSA {
		s, err := rsp.Signature.Signature.RSASSA()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSignature, err)
		}
		return s.Sig.Buffer, nil
	}
	s, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer)})
}

// opened calls do with the key, and takes it out of the TPM again.
func (k *Key) opened(t transport.TPM, do func(tpm2.AuthHandle) error) (err error) {
	if k.file == nil {
		rsp, err := readPublic(t, k.handle)
		if err != nil {
			return err
		}
		if !bytes.Equal(rsp.OutPublic.Bytes(), k.public.area.Bytes()) {
			return fmt.Errorf("%w: 0x%x holds another key than before", ErrNoKey, k.handle)
		}
		return do(tpm2.AuthHandle{Handle: tpm2.TPMHandle(k.handle), Name: rsp.Name, Auth: k.auth(nil)})
	}
	p, err := openParent(t, k.handle, k.file.RSAParent)
	if err != nil {
		return err
	}
	defer p.close(t, &err)
	rsp, err := tpm2.Load{
		ParentHandle: p.auth(nil),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: k.file.Private[2:]},
		InPublic:     k.public.area,
	}.Execute(t)
	if err != nil {
		return explain("load the key", err)
	}
	defer flush(t, rsp.ObjectHandle, &err)
	return do(tpm2.AuthHandle{Handle: rsp.ObjectHandle, Name: rsp.Name, Auth: k.auth(p)})
}

// auth returns the session that proves the password, one that begins and ends
// with its command. With a parent it is salted, so that somebody who listens
// on the bus cannot try passwords at home.
func (k *Key) auth(p *parent) tpm2.Session {
	if len(k.o.Auth) == 0 {
		return tpm2.PasswordAuth(nil)
	}
	o := []tpm2.AuthOption{tpm2.Auth(k.o.Auth)}
	if p != nil {
		o = append(o, tpm2.Salted(p.handle, p.public))
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, o...)
}

// with opens the TPM for one task.
func with(device string, do func(transport.TPM) error) (err error) {
	d, err := tpm.Open(device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return do(d.Conn())
}

func readPublic(t transport.TPM, handle uint32) (*tpm2.ReadPublicResponse, error) {
	rsp, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(handle)}.Execute(t)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, fmt.Errorf("0x%x: %w: %w", handle, ErrNoKey, err)
	}
	if err != nil {
		return nil, explain(fmt.Sprintf("read key 0x%x", handle), err)
	}
	return rsp, nil
}

// flush takes an object out of the TPM.
func flush(t transport.TPM, h tpm2.TPMHandle, err *error) {
	if _, e := (tpm2.FlushContext{FlushHandle: h}).Execute(t); e != nil {
		*err = errors.Join(*err, explain(fmt.Sprintf("flush 0x%x", uint32(h)), e))
	}
}
