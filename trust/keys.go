// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/trust/esl"
)

// Usage says what the keys of a list are good for.
type Usage string

// The usages. Keys of UsageAny are good for everything but payload rules
// that ask for a special key.
const (
	UsageAny    Usage = ""
	UsageImage  Usage = "image"  // images, addons and parts from outside
	UsageParser Usage = "parser" // parser containers only
	UsageKexec  Usage = "kexec"  // inner kernels only, never an envelope
	UsageBuild  Usage = "build"  // inner kernels of one release only
)

// Scope says who keeps a list.
type Scope string

// The keepers of lists.
const (
	ScopeOperator Scope = "operator"
	ScopeFirmware Scope = "firmware" // db, dbx: applied by the firmware itself
	ScopeShim     Scope = "shim"     // MokList, MokListX and vendor lists: applied by shim
	ScopeKernel   Scope = "kernel"
)

// Digest is a hash value with its algorithm.
type Digest struct {
	Hash crypto.Hash
	Sum  []byte
}

// TBSDigest is the digest of a certificate's to-be-signed part with the time
// from which it denies.
type TBSDigest struct {
	Digest
	// Revoked is zero when the certificate is denied whenever it signed.
	Revoked time.Time
}

// List is a named set of certificates and digests.
type List struct {
	// Name is how a person knows the list: "db", "MokListXRT",
	// "--cert ca.pem", "/etc/peel/keys.d/site.pem".
	Name  string
	Scope Scope
	Usage Usage
	// Release binds a UsageBuild list to one kernel release (uname -r).
	Release      string
	Certificates []*x509.Certificate
	// Unreadable holds certificates that crypto/x509 cannot read. They can
	// not allow anything; a deny list still matches them byte for byte.
	Unreadable [][]byte
	// Images are Authenticode digests of PE images, or digests of the whole
	// file for anything else.
	Images []Digest
	// TBS digests deny certificates.
	TBS []TBSDigest
	// Unknown counts entries of types that nobody here understands.
	Unknown int
}

// Len returns the number of entries of l.
func (l *List) Len() int {
	return len(l.Certificates) + len(l.Unreadable) + len(l.Images) + len(l.TBS) + l.Unknown
}

// Keys are all lists that take part in a decision.
type Keys struct {
	// Deny lists are asked first.
	Deny []List
	// Allow lists are asked afterwards, in order; the first match is named
	// in the report.
	Allow []List
	// Timestamp lists hold authorities whose time stamps count against a
	// time of revocation (the firmware's dbt).
	Timestamp []List
}

// AddSignatures adds the entries of EFI signature lists to l.
func (l *List) AddSignatures(entries []esl.Entry) {
	for _, e := range entries {
		switch {
		case e.Type == esl.X509:
			l.AddCertificate(e.Data)
		case e.Type.TBS():
			l.TBS = append(l.TBS, TBSDigest{Digest{e.Type.Hash(), e.Data}, e.Revoked})
		case e.Type.Hash() != 0:
			l.Images = append(l.Images, Digest{e.Type.Hash(), e.Data})
		default:
			l.Unknown++
		}
	}
}

// AddCertificate adds a DER certificate. Signature lists may pad entries, so
// bytes after the certificate are dropped when they are zero.
func (l *List) AddCertificate(der []byte) {
	s := cryptobyte.String(der)
	var el cryptobyte.String
	if s.ReadASN1Element(&el, cbasn1.SEQUENCE) && len(bytes.Trim(s, "\x00")) == 0 {
		der = el
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		l.Unreadable = append(l.Unreadable, der)
		return
	}
	l.Certificates = append(l.Certificates, c)
}

// ParseCertificates reads certificates from a file's bytes: PEM with any
// number of CERTIFICATE blocks, or one DER certificate.
func ParseCertificates(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	rest := b
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w (%w)", len(out), ErrKeyFile, err)
		}
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	if bytes.Contains(b, []byte("-----BEGIN ")) {
		return nil, fmt.Errorf("PEM without a certificate: %w", ErrKeyFile)
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("neither PEM nor a DER certificate: %w (%w)", ErrKeyFile, err)
	}
	return []*x509.Certificate{c}, nil
}

// CertificateList makes an operator's allow list of the certificates in b.
func CertificateList(name string, b []byte) (List, error) {
	certs, err := ParseCertificates(b)
	if err != nil {
		return List{}, fmt.Errorf("%s: %w", name, err)
	}
	return List{Name: name, Scope: ScopeOperator, Certificates: certs}, nil
}

// denies reports how l denies certificate c. Operators' lists deny the key as
// well, so that a renewed certificate does not bring it back; firmware lists
// deny what they name.
func (l *List) denies(c *x509.Certificate) (by *TBSDigest, yes bool) {
	for _, d := range l.Certificates {
		if bytes.Equal(d.Raw, c.Raw) ||
			l.Scope == ScopeOperator && bytes.Equal(d.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) {
			return nil, true
		}
	}
	for _, raw := range l.Unreadable {
		if bytes.Equal(raw, c.Raw) {
			return nil, true
		}
	}
	for i := range l.TBS {
		t := &l.TBS[i]
		if !t.Hash.Available() {
			continue
		}
		h := t.Hash.New()
		h.Write(c.RawTBSCertificate)
		if bytes.Equal(h.Sum(nil), t.Sum) {
			return t, true
		}
	}
	return nil, false
}

// hasImage reports whether l names the digest.
func (l *List) hasImage(h crypto.Hash, sum []byte) bool {
	for _, d := range l.Images {
		if d.Hash == h && bytes.Equal(d.Sum, sum) {
			return true
		}
	}
	return false
}

// imageHashes returns the digest algorithms that occur in lists.
func imageHashes(lists ...[]List) []crypto.Hash {
	var out []crypto.Hash
	seen := map[crypto.Hash]bool{}
	for _, ls := range lists {
		for _, l := range ls {
			for _, d := range l.Images {
				if !seen[d.Hash] && d.Hash.Available() {
					seen[d.Hash] = true
					out = append(out, d.Hash)
				}
			}
		}
	}
	return out
}
