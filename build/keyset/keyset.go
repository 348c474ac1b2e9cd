// SPDX-License-Identifier: Apache-2.0

package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/trust/esl"
)

// ErrOption means that a key was asked for that this package does not make.
var ErrOption = errors.New("cannot make such a key")

// Options describe the keys of a Set.
type Options struct {
	// Name goes into the subjects: "Name PK". Empty is "peel".
	Name string
	// Type is "rsa2048", which all firmware takes, "rsa3072", "rsa4096",
	// "ecdsa256" or "ecdsa384". Empty is rsa2048.
	Type string
	// Owner is the GUID that the entries of the lists carry; zero makes one
	// out of the platform key.
	Owner esl.GUID
	// Time is when the certificates begin to be valid and what the updates
	// are stamped with, required. Valid is for how long; 0 is ten years.
	Time  time.Time
	Valid time.Duration
	// NewSigner makes the private keys, of the kind that Type names; nil makes
	// them in memory. A key made elsewhere has a method MarshalPEM for what
	// its file shall contain.
	NewSigner func(typ string) (crypto.Signer, error)
}

// Set is a platform key, a key exchange key and a signature database key.
type Set struct {
	PK, KEK, DB sign.Key
	Owner       esl.GUID
	Time        time.Time
}

// File is a file of a Set.
type File struct {
	Name string
	Data []byte
	// Secret files are for their owner alone.
	Secret bool
}

// New makes a Set.
func New(o Options) (*Set, error) {
	if o.Name == "" {
		o.Name = "peel"
	}
	if o.Time.IsZero() {
		return nil, fmt.Errorf("%w: no time", ErrOption)
	}
	s := &Set{Owner: o.Owner, Time: o.Time.UTC().Truncate(time.Second)}
	for _, k := range []struct {
		to   *sign.Key
		name string
	}{{&s.PK, "PK"}, {&s.KEK, "KEK"}, {&s.DB, "db"}} {
		var err error
		if *k.to, err = Generate(o.Name+" "+k.name, o); err != nil {
			return nil, err
		}
	}
	if s.Owner == (esl.GUID{}) {
		sum := sha1.Sum(s.PK.Certificate.Raw)
		copy(s.Owner[:], sum[:])
		s.Owner[7] = s.Owner[7]&0x0f | 0x50 // version 5, RFC 9562, section 5.5
		s.Owner[8] = s.Owner[8]&0x3f | 0x80
	}
	return s, nil
}

// Generate makes one self-signed code-signing key with that subject. Name and
// Owner of o are not used.
func Generate(subject string, o Options) (sign.Key, error) {
	if subject == "" || len(subject) > 64 {
		return sign.Key{}, fmt.Errorf("%w: subject of %d bytes, want 1 to 64", ErrOption, len(subject))
	}
	if o.Time.IsZero() {
		return sign.Key{}, fmt.Errorf("%w: no time", ErrOption)
	}
	generate := newSigner
	if o.NewSigner != nil {
		generate = o.NewSigner
	}
	signer, err := generate(o.Type)
	if err != nil {
		return sign.Key{}, err
	}
	id, err := keyID(signer.Public())
	if err != nil {
		return sign.Key{}, err
	}
	valid := o.Valid
	if valid == 0 {
		valid = 10 * 365 * 24 * time.Hour
	}
	from := o.Time.UTC().Truncate(time.Second)
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(append([]byte{1}, id[:15]...)), Subject: pkix.Name{CommonName: subject},
		NotBefore: from, NotAfter: from.Add(valid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true, SubjectKeyId: id,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, signer.Public(), signer)
	if err != nil {
		return sign.Key{}, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return sign.Key{}, err
	}
	k := sign.Key{Signer: signer, Certificate: c}
	return k, k.Check()
}

func newSigner(typ string) (crypto.Signer, error) {
	switch typ {
	case "", "rsa2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ecdsa256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, fmt.Errorf("%w: type %q", ErrOption, typ)
}

// keyID returns the SHA-1 of the key bits (RFC 5280, section 4.2.1.2): IMA's
// tools compute it from the key, IMA itself takes it from the certificate.
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	s := cryptobyte.String(der)
	var spki, bits cryptobyte.String
	if !s.ReadASN1(&spki, cbasn1.SEQUENCE) || !spki.SkipASN1(cbasn1.SEQUENCE) || !spki.ReadASN1(&bits, cbasn1.BIT_STRING) || len(bits) < 2 {
		return nil, fmt.Errorf("%w: public key without bits", ErrOption)
	}
	sum := sha1.Sum(bits[1:])
	return sum[:], nil
}

// PEM returns private key and certificate of k as PEM. The key must be one in
// memory, or have a method MarshalPEM.
func PEM(k sign.Key) (key, cert []byte, err error) {
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate.Raw})
	if m, ok := k.Signer.(interface{ MarshalPEM() ([]byte, error) }); ok {
		if key, err = m.MarshalPEM(); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrOption, err)
		}
		return key, cert, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.Signer)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOption, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), cert, nil
}

// List returns the signature list that holds the certificate of k.
func (s *Set) List(k sign.Key) ([]byte, error) {
	return esl.Marshal([]esl.Entry{{Type: esl.X509, Owner: s.Owner, Data: k.Certificate.Raw}})
}

// Files returns for each of PK, KEK and db the private key, the certificate as
// PEM and DER, the signature list, and the update that enrols it: that of PK
// is signed by itself, that of KEK by PK, that of db by KEK. PK-delete.auth
// takes the platform key away again: firmware is then in setup mode.
func (s *Set) Files() ([]File, error) {
	var out []File
	for _, v := range []struct {
		name, vendor string
		key, by      sign.Key
	}{
		{"PK", esl.GlobalVariable, s.PK, s.PK},
		{"KEK", esl.GlobalVariable, s.KEK, s.PK},
		{"db", esl.ImageSecurityDatabase, s.DB, s.KEK},
	} {
		key, cert, err := PEM(v.key)
		if err != nil {
			return nil, err
		}
		list, err := s.List(v.key)
		if err != nil {
			return nil, err
		}
		vendor, err := esl.ParseGUID(v.vendor)
		if err != nil {
			return nil, err
		}
		u := sign.Update{Name: v.name, Vendor: vendor, Attributes: sign.VariableSecureBoot, Time: s.Time, Contents: list}
		auth, err := sign.Auth(u, v.by)
		if err != nil {
			return nil, err
		}
		out = append(out,
			File{Name: v.name + ".key", Data: key, Secret: true}, File{Name: v.name + ".pem", Data: cert},
			File{Name: v.name + ".der", Data: v.key.Certificate.Raw}, File{Name: v.name + ".esl", Data: list},
			File{Name: v.name + ".auth", Data: auth})
		if v.name == "PK" {
			// Later than the enrolment, as firmware demands.
			u.Contents, u.Time = nil, s.Time.Add(time.Second)
			if auth, err = sign.Auth(u, v.by); err != nil {
				return nil, err
			}
			out = append(out, File{Name: "PK-delete.auth", Data: auth})
		}
	}
	return append(out, File{Name: "owner.guid", Data: []byte(s.Owner.String() + "\n")}), nil
}
