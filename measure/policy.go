// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"sort"

	"github.com/peelboot/peel/measure/eventlog"
)

// ccPolicyPCR is TPM_CC_PolicyPCR.
const ccPolicyPCR = 0x0000017f

// PolicyDigest returns the digest of a SHA-256 policy session after
// TPM2_PolicyPCR over the given registers of one bank (TPM 2.0 Library, part 3,
// section 23.7): the digest of 32 zeros, the command code, the selection, and
// the digest of the values in ascending order of registers; numbers are big
// endian.
func PolicyDigest(h eventlog.Hash, values eventlog.Registers) []byte {
	var all []byte
	mask := make([]byte, 3)
	for _, pcr := range values.PCRs() {
		if pcr >= 24 {
			continue
		}
		mask[pcr/8] |= 1 << (pcr % 8)
		all = append(all, values[pcr]...)
	}
	sum := sha256.Sum256(all)
	be := binary.BigEndian
	b := make([]byte, 32)
	b = be.AppendUint32(b, ccPolicyPCR)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint16(b, uint16(h))
	b = append(append(b, byte(len(mask))), mask...)
	b = append(b, sum[:]...)
	out := sha256.Sum256(b)
	return out[:]
}

// PolicySignature is an entry of a .pcrsig section: a policy and a signature
// of it.
type PolicySignature struct {
	PCRs        []uint32       `json:"pcrs"`
	Fingerprint eventlog.Bytes `json:"pkfp"`
	Policy      eventlog.Bytes `json:"pol"`
	Signature   string         `json:"sig,omitempty"`
}

// PolicySignatures are a .pcrsig section: by the name of the bank.
type PolicySignatures map[string][]PolicySignature

// Fingerprint is the SHA-256 digest by which a .pcrsig section names a public
// key: that of the RSAPublicKey structure (RFC 8017, appendix A.1.1). Keys
// other than RSA fail with ErrKey, since systemd unseals with RSA alone.
func Fingerprint(pub crypto.PublicKey) ([]byte, error) {
	k, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%T: policies are signed with RSA keys: %w", pub, ErrKey)
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(k))
	return sum[:], nil
}

// Policies returns the policies over PCR 11 for each phase, without
// signatures.
func Policies(values []PhaseValue, pub crypto.PublicKey) (PolicySignatures, error) {
	fp := []byte{}
	if pub != nil {
		var err error
		if fp, err = Fingerprint(pub); err != nil {
			return nil, err
		}
	}
	out := PolicySignatures{}
	for _, v := range values {
		pol := PolicyDigest(v.Hash, eventlog.Registers{v.PCR: v.Value})
		out.add(v.Hash, PolicySignature{PCRs: []uint32{v.PCR}, Fingerprint: fp, Policy: pol})
	}
	return out, nil
}

// Sign returns what `systemd-measure sign` does for the same phases: a policy
// over PCR 11 each, signed with RSASSA-PKCS1-v1_5 and the algorithm of the bank.
// The signer may be a token.
func Sign(values []PhaseValue, key crypto.Signer) (PolicySignatures, error) {
	out, err := Policies(values, key.Public())
	if err != nil {
		return nil, err
	}
	for bank, list := range out {
		h, err := eventlog.ParseHash(bank)
		if err != nil {
			return nil, err
		}
		for i := range list {
			sig, err := key.Sign(rand.Reader, h.Sum(list[i].Policy), h.Crypto())
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrKey, err)
			}
			list[i].Signature = base64.StdEncoding.EncodeToString(sig)
		}
	}
	return out, nil
}

// add appends an entry unless the same policy of the same key is there.
func (p PolicySignatures) add(h eventlog.Hash, s PolicySignature) {
	for _, old := range p[h.String()] {
		if bytes.Equal(old.Policy, s.Policy) && bytes.Equal(old.Fingerprint, s.Fingerprint) {
			return
		}
	}
	p[h.String()] = append(p[h.String()], s)
}

// Merge adds the entries of another section behind those of this one.
func (p PolicySignatures) Merge(o PolicySignatures) {
	names := make([]string, 0, len(o))
	for n := range o {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		h, err := eventlog.ParseHash(n)
		for _, s := range o[n] {
			if err == nil {
				p.add(h, s)
			}
		}
	}
}

// ParsePolicySignatures reads a .pcrsig section.
func ParsePolicySignatures(b []byte) (PolicySignatures, error) {
	p := PolicySignatures{}
	if err := json.Unmarshal(bytes.TrimRight(b, "\x00"), &p); err != nil {
		return nil, fmt.Errorf(".pcrsig: %w: %w", ErrImage, err)
	}
	return p, nil
}

// ParseKey reads a private key in PEM: PKCS #8, or an RSA key of its own kind.
func ParseKey(b []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "RSA PRIVATE KEY":
			k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrKey, err)
			}
			return k, nil
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrKey, err)
			}
			if s, ok := k.(crypto.Signer); ok {
				return s, nil
			}
			return nil, fmt.Errorf("%T: %w", k, ErrKey)
		}
	}
	return nil, fmt.Errorf("no PEM block with a private key: %w", ErrKey)
}
