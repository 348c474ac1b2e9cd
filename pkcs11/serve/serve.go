// SPDX-License-Identifier: Apache-2.0

// Package serve speaks the protocol of signing programs, as
// docs/signer-protocol.md of peel specifies it.
//
// In: lines of requests, something that opens keys. Out: lines of answers. It
// must never write a PIN anywhere.
package serve

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxRequest is the length in bytes of the longest request.
const MaxRequest = 1 << 20

// Codes of errors.
const (
	CodePIN         = "pin"
	CodeToken       = "token"
	CodeKey         = "key"
	CodeUnsupported = "unsupported"
)

// Error is an error with one of the codes.
type Error struct {
	Code string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without its code.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error with a code.
func Errorf(code, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// Key is an open key.
type Key interface {
	// Public returns SubjectPublicKeyInfo in DER.
	Public() []byte
	// Certificates are in DER, the key's own first.
	Certificates() [][]byte
	// Sign signs a digest: scheme "rsa-pkcs1v15" or "ecdsa", hash "sha1",
	// "sha256", "sha384" or "sha512".
	Sign(scheme, hash string, digest []byte) ([]byte, error)
	Close() error
}

type request struct {
	Do      string `json:"do"`
	Version int    `json:"version"`
	Key     string `json:"key"`
	PIN     string `json:"pin"`
	Scheme  string `json:"scheme"`
	Hash    string `json:"hash"`
	Digest  []byte `json:"digest"`
}

type answer struct {
	Version      int      `json:"version,omitempty"`
	Public       []byte   `json:"public,omitempty"`
	Certificates [][]byte `json:"certificates,omitempty"`
	Signature    []byte   `json:"signature,omitempty"`
	Error        string   `json:"error,omitempty"`
	Code         string   `json:"code,omitempty"`
}

// Run answers requests until the input ends, and closes the key. Errors about
// keys go to who asked; Run itself fails when input or output do.
func Run(in io.Reader, out io.Writer, open func(key, pin string) (Key, error)) (err error) {
	var key Key
	defer func() {
		if key != nil {
			err = errors.Join(err, key.Close())
		}
	}()
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, MaxRequest)
	enc := json.NewEncoder(out)
	for sc.Scan() {
		a, err := respond(sc.Bytes(), &key, open)
		if err != nil {
			a = answer{Error: err.Error()}
			var coded *Error
			if errors.As(err, &coded) {
				a.Code = coded.Code
			}
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return sc.Err()
}

func respond(line []byte, key *Key, open func(key, pin string) (Key, error)) (answer, error) {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		// The text of the error would show parts of the line, with the PIN.
		return answer{}, errors.New("the request is no JSON object of the protocol")
	}
	switch {
	case r.Do == "open" && *key != nil:
		return answer{}, errors.New("a key is open already")
	case r.Do == "open" && r.Version != 1:
		return answer{}, Errorf(CodeUnsupported, "version %d of the protocol, this program speaks 1", r.Version)
	case r.Do == "open":
		k, err := open(r.Key, r.PIN)
		if err != nil {
			return answer{}, err
		}
		*key = k
		return answer{Version: 1, Public: k.Public(), Certificates: k.Certificates()}, nil
	case r.Do == "sign" && *key == nil:
		return answer{}, errors.New("no key is open")
	case r.Do == "sign":
		sig, err := (*key).Sign(r.Scheme, r.Hash, r.Digest)
		return answer{Signature: sig}, err
	}
	return answer{}, Errorf(CodeUnsupported, "request %q is not known", r.Do)
}
