// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/trust/sbat"
)

// Verdict is what became of a layer.
type Verdict string

// The verdicts.
const (
	// Allowed: an allow list vouches for the layer itself.
	Allowed Verdict = "allowed"
	// AllowedInside: the layer lies inside one that is allowed.
	AllowedInside Verdict = "allowed_inside"
	// AllowedByRule: nothing vouches for the part, and the policy lets it
	// come from outside all the same.
	AllowedByRule Verdict = "allowed_by_rule"
	// Unverified: refused, but the mode is warn.
	Unverified Verdict = "unverified"
	// Refused: the layer must not boot.
	Refused Verdict = "refused"
	// Unchecked: the mode is off.
	Unchecked Verdict = "unchecked"
)

// OK reports whether the verdict lets the layer boot because something
// vouches for it or a rule permits it.
func (v Verdict) OK() bool { return v == Allowed || v == AllowedInside || v == AllowedByRule }

// Report is the answer for one image and everything that goes with it. It
// marshals to JSON with stable names.
type Report struct {
	Mode       Mode   `json:"mode"`
	ModeOrigin string `json:"mode_origin"`
	// Verdict of the whole: allowed, unverified, refused or unchecked.
	Verdict Verdict `json:"verdict"`
	// Reason in one sentence.
	Reason string        `json:"reason"`
	Layers []LayerReport `json:"layers"`
}

// LayerReport is the answer for one layer or part.
type LayerReport struct {
	Name string     `json:"name"`
	Role Role       `json:"role"`
	Kind image.Kind `json:"kind,omitempty"`
	Size uint64     `json:"size"`
	// SHA256 is the hex digest by which firmware knows the layer: the
	// Authenticode digest of a PE image, else of all bytes.
	SHA256 string `json:"sha256,omitempty"`
	// DigestKind is "authenticode" or "file".
	DigestKind string `json:"digest_kind,omitempty"`
	// Inside names the layer this one lies in.
	Inside     string            `json:"inside,omitempty"`
	Signatures []SignatureReport `json:"signatures,omitempty"`
	SBAT       *SBATReport       `json:"sbat,omitempty"`
	Payload    *PayloadReport    `json:"payload,omitempty"`
	// Signer and List are those of the signature or digest that decided.
	Signer string   `json:"signer,omitempty"`
	Chain  []string `json:"chain,omitempty"`
	List   string   `json:"list,omitempty"`
	// Verdict, and Code, which is stable, and Reason, which is for people.
	Verdict Verdict `json:"verdict"`
	Code    string  `json:"code,omitempty"`
	Reason  string  `json:"reason"`
	// Notes tell what is worth knowing and decided nothing.
	Notes []string `json:"notes,omitempty"`

	err error
}

// Err returns the error behind a refusal, also when the mode made it a
// warning; nil when the layer is allowed.
func (l *LayerReport) Err() error { return l.err }

// SignatureReport is the answer for one signature.
type SignatureReport struct {
	Kind Kind `json:"kind"`
	// Index in the certificate table, or among a message's signers.
	Index int `json:"index"`
	// Source names the sidecar file, empty for an embedded signature.
	Source string `json:"source,omitempty"`
	// Offset of the signature in the layer, in bytes.
	Offset    uint64 `json:"offset,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Sum       string `json:"sum,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	// Signer made the signature; Chain leads from it to the listed one.
	Signer *CertificateReport  `json:"signer,omitempty"`
	Chain  []CertificateReport `json:"chain,omitempty"`
	// List is where the chain ends, or the deny list that matched.
	List       string            `json:"list,omitempty"`
	Timestamps []TimestampReport `json:"timestamps,omitempty"`
	Good       bool              `json:"good"`
	Code       string            `json:"code,omitempty"`
	Reason     string            `json:"reason"`
	Notes      []string          `json:"notes,omitempty"`

	err    error
	list   *List
	signer *x509.Certificate
}

// CertificateReport describes a certificate.
type CertificateReport struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"sha256"`
	KeyID       string    `json:"key_id,omitempty"`
	Key         string    `json:"key"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
}

// TimestampReport describes a time stamp over a signature.
type TimestampReport struct {
	Kind   string    `json:"kind"`
	Time   time.Time `json:"time"`
	Signer string    `json:"signer,omitempty"`
	// Trusted tells that a time-stamp list vouches for the signer.
	Trusted bool   `json:"trusted"`
	Error   string `json:"error,omitempty"`
}

// SBATReport describes the .sbat section of a PE layer.
type SBATReport struct {
	Present bool         `json:"present"`
	Entries []sbat.Entry `json:"entries,omitempty"`
	// Level is the date of the level compared with, empty for none.
	Level  string `json:"level,omitempty"`
	Source string `json:"source,omitempty"`
	Good   bool   `json:"good"`
	Reason string `json:"reason"`
}

// PayloadReport tells how an inner kernel is signed on its own.
type PayloadReport struct {
	// Held lists the options that hold: "same", "kexec", "build".
	Held []PayloadRule `json:"held,omitempty"`
	Rule PayloadRule   `json:"rule"`
	// Signed tells whether the kernel has any good signature of its own.
	Signed bool   `json:"signed"`
	Reason string `json:"reason"`
}

func describe(c *x509.Certificate) CertificateReport {
	sum := sha256.Sum256(c.Raw)
	kind, bits := keyStrength(c)
	r := CertificateReport{
		Subject: printable(c.Subject.String()), Issuer: printable(c.Issuer.String()),
		Fingerprint: hex.EncodeToString(sum[:]), KeyID: hex.EncodeToString(c.SubjectKeyId),
		Key: fmt.Sprintf("%s%d", kind, bits), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
	}
	if c.SerialNumber != nil {
		r.Serial = c.SerialNumber.Text(16)
	}
	return r
}

// refusal turns a layer's error into the error that callers see.
func (l *LayerReport) refusal() error {
	return &RefusalError{Layer: l.Name, Reason: l.Reason, Err: l.err}
}

// RefusalError says which layer is refused and why. It wraps ErrRefused and
// the sentinel of the reason.
type RefusalError struct {
	Layer  string
	Reason string
	Err    error
}

// Error returns the layer and the reason.
func (e *RefusalError) Error() string { return fmt.Sprintf("%s: %s", e.Layer, e.Reason) }

// Unwrap returns ErrRefused and the error behind the refusal.
func (e *RefusalError) Unwrap() []error { return []error{ErrRefused, e.Err} }

var _ error = (*RefusalError)(nil)

// finish sets the verdict of the whole and returns the error that goes with
// it: nil unless the mode is enforce and a layer is refused.
func (r *Report) finish() error {
	var errs []error
	for i := range r.Layers {
		if l := &r.Layers[i]; l.err != nil {
			errs = append(errs, l.refusal())
		}
	}
	switch {
	case r.Mode == Off:
		r.Verdict, r.Reason = Unchecked, "verification is off ("+r.ModeOrigin+")"
		return nil
	case len(r.Layers) == 0:
		r.Verdict, r.Reason = Refused, "nothing was given to verify"
		return &RefusalError{Layer: "image", Reason: r.Reason, Err: ErrNoSignature}
	case len(errs) == 0:
		r.Verdict, r.Reason = Allowed, "every layer is vouched for or permitted"
		return nil
	case r.Mode == Warn:
		r.Verdict, r.Reason = Unverified, errs[0].Error()
		return nil
	}
	r.Verdict, r.Reason = Refused, errs[0].Error()
	return errors.Join(errs...)
}
