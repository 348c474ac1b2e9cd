// SPDX-License-Identifier: Apache-2.0

package external

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Version is that of the protocol which this package speaks.
const Version = 1

// MaxAnswer is the length in bytes of the longest answer that is read, with
// its newline.
const MaxAnswer = 1 << 20

const (
	maxCertificates = 16
	maxText         = 2000
)

// Errors of this package. Each is wrapped with the program and what it was
// asked.
var (
	// ErrProgram means that the program is missing, cannot be started, ended
	// or did not answer in time.
	ErrProgram = errors.New("signing program")
	// ErrProtocol means that an answer is none.
	ErrProtocol = errors.New("signing program does not speak the protocol")
	// ErrPIN means that the PIN is missing or wrong.
	ErrPIN = errors.New("PIN missing or wrong")
	// ErrNoToken means that what holds the key is not there.
	ErrNoToken = errors.New("token not found")
	// ErrNoKey means that there is no such key, or more than one.
	ErrNoKey = errors.New("key not found")
	// ErrUnsupported means that the key cannot sign in this way.
	ErrUnsupported = errors.New("not supported by the key")
	// ErrRefused means any other reason of the program's.
	ErrRefused = errors.New("signing program refused")
	// ErrSignature means that a signature does not fit the public key.
	ErrSignature = errors.New("signature does not fit the key")
)

// request is a line to the program. Bytes are base64 in JSON.
type request struct {
	Do      string `json:"do"`
	Version int    `json:"version,omitempty"`
	Key     string `json:"key,omitempty"`
	PIN     string `json:"pin,omitempty"`
	Scheme  string `json:"scheme,omitempty"`
	Hash    string `json:"hash,omitempty"`
	Digest  []byte `json:"digest,omitempty"`
}

// What requests ask for.
const (
	doOpen = "open"
	doSign = "sign"
)

// answer is a line from the program. Members that are not known are passed
// over.
type answer struct {
	Version      int      `json:"version"`
	Public       []byte   `json:"public"`
	Certificates [][]byte `json:"certificates"`
	Signature    []byte   `json:"signature"`
	Error        string   `json:"error"`
	Code         string   `json:"code"`
}

// parseAnswer reads a line. What the program itself says has gone wrong
// becomes one of this package's errors, without the PIN.
func parseAnswer(line []byte, pin string) (answer, error) {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("%w: %w: it said %q", ErrProtocol, err, head(hide(string(line), pin)))
	}
	if a.Error == "" && a.Code == "" {
		return a, nil
	}
	kind := ErrRefused
	switch a.Code {
	case "pin":
		kind = ErrPIN
	case "token":
		kind = ErrNoToken
	case "key":
		kind = ErrNoKey
	case "unsupported":
		kind = ErrUnsupported
	}
	return a, fmt.Errorf("%w: %s", kind, printable(hide(a.Error, pin)))
}

func head(s string) string {
	const n = 60
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// hide takes a PIN out of what a program says: one that repeats what it was
// asked must not get it into a log.
func hide(s, pin string) string {
	if pin == "" {
		return s
	}
	return strings.ReplaceAll(s, pin, "...")
}

// printable makes one line of what a program says.
func printable(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(s), "?"))
}

// opened reads the answer to "open".
func (a answer) opened() (crypto.PublicKey, []*x509.Certificate, error) {
	if a.Version != Version {
		return nil, nil, fmt.Errorf("%w: version %d, want %d", ErrProtocol, a.Version, Version)
	}
	pub, err := x509.ParsePKIXPublicKey(a.Public)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: public key: %w", ErrProtocol, err)
	}
	switch p := pub.(type) {
	case *rsa.PublicKey:
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() && p.Curve != elliptic.P384() && p.Curve != elliptic.P521() {
			return nil, nil, fmt.Errorf("%w: curve %s", ErrUnsupported, p.Curve.Params().Name)
		}
	default:
		return nil, nil, fmt.Errorf("%w: public key of type %T", ErrUnsupported, pub)
	}
	if len(a.Certificates) > maxCertificates {
		return nil, nil, fmt.Errorf("%w: %d certificates, at most %d", ErrProtocol, len(a.Certificates), maxCertificates)
	}
	var certs []*x509.Certificate
	for i, der := range a.Certificates {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: certificate %d: %w", ErrProtocol, i+1, err)
		}
		certs = append(certs, c)
	}
	return pub, certs, nil
}

// check verifies a signature with the public key.
func check(pub crypto.PublicKey, h crypto.Hash, digest, sig []byte) error {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(p, h, digest, sig); err != nil {
			return fmt.Errorf("%w: %w", ErrSignature, err)
		}
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(p, digest, sig) {
			return ErrSignature
		}
	}
	return nil
}

// hashName is how the protocol calls a hash, "" when it does not.
func hashName(h crypto.Hash) string {
	switch h {
	case crypto.SHA1:
		return "sha1"
	case crypto.SHA256:
		return "sha256"
	case crypto.SHA384:
		return "sha384"
	case crypto.SHA512:
		return "sha512"
	}
	return ""
}
