// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/trust/sbat"
)

// Role says what a layer or part is used for.
type Role string

// The roles.
const (
	RoleImage   Role = "image"   // what the user names: UKI, zboot, kernel
	RoleAddon   Role = "addon"   // PE that extends a UKI
	RolePayload Role = "payload" // the kernel inside an image
	RoleParser  Role = "parser"  // parser container
	RoleInitrd  Role = "initrd"
	RoleCmdline Role = "cmdline"
	RoleDTB     Role = "dtb"
)

// Sidecar is a signature in a file of its own.
type Sidecar struct {
	Name string
	// Data is CMS (DER or PEM) or the bytes of a security.ima attribute.
	Data []byte
}

// Object is one thing to verify.
type Object struct {
	// Name is the path of layers: "linux.efi", "linux.efi/.linux".
	Name string
	Role Role
	Kind image.Kind
	// Data is sealed: the bytes verified are the bytes used.
	Data []byte
	// Inside names an object given before this one, of which Data is a
	// part. Empty for what came from outside.
	Inside string
	// Sidecars are signatures over Data that came with it.
	Sidecars []Sidecar
	// Appended is the message of a module-style trailer that somebody has
	// already taken off Data. A trailer that is still there is found.
	Appended []byte
	// IMA is the value of the file's security.ima attribute, if it has one.
	IMA []byte
	// Release is the kernel release (uname -r) of a payload, where known.
	Release string
}

// Verifier decides about objects. It is a value without state: one Verifier
// may be used from several goroutines.
type Verifier struct {
	Keys   Keys
	Policy Policy
	// Level is the machine's SBAT level, LevelSource where it was read.
	Level       sbat.Level
	LevelSource string
	// Now is used for notes about expired certificates only; the zero time
	// leaves them out. It never decides.
	Now time.Time
}

// Verify decides about each object and returns the report, which is complete
// also when something is refused. The error is nil, or wraps ErrRefused and
// what explains it; only a policy with mode enforce makes one.
func (v *Verifier) Verify(objects ...Object) (*Report, error) {
	r := &Report{Mode: v.Policy.Mode, ModeOrigin: v.Policy.origin("mode")}
	if _, err := ParseMode(string(r.Mode)); err != nil {
		r.Mode, r.ModeOrigin = Enforce, "no valid mode was set"
	}
	for i := range objects {
		r.Layers = append(r.Layers, v.layer(&objects[i], r))
	}
	return r, r.finish()
}

// subject is an object with what is computed about it once.
type subject struct {
	*Object
	pe    *pe.File
	peErr error
	// peNote tells of a part that looks like a PE image and is none.
	peNote string
	sums   map[crypto.Hash][]byte
}

func newSubject(o *Object) *subject {
	s := &subject{Object: o, sums: map[crypto.Hash][]byte{}}
	switch o.Role {
	case RoleImage, RoleAddon, RolePayload:
		if bytes.HasPrefix(o.Data, []byte("MZ")) {
			s.pe, s.peErr = pe.Parse(o.Data)
		}
	}
	if s.peErr != nil && o.Inside != "" {
		// Its envelope covers it; all that is lost is a signature of its own.
		s.peNote = fmt.Sprintf("it starts like a PE image and is none: %v", s.peErr)
		s.peErr = nil
	}
	if s.pe != nil && o.Role == RolePayload {
		// zboot pads the inner image with zeros to its size in memory; a
		// certificate table must end the file.
		if t := s.pe.Trimmed(); len(t) < len(o.Data) && allZero(o.Data[len(t):]) {
			s.pe, s.peErr = pe.Parse(t)
		}
	}
	return s
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// digest returns the digest by which lists and firmware know the object.
func (s *subject) digest(h crypto.Hash) ([]byte, error) {
	if d, ok := s.sums[h]; ok {
		return d, nil
	}
	var d []byte
	if s.pe != nil {
		var err error
		if d, err = s.pe.Digest(h); err != nil {
			return nil, err
		}
	} else {
		w := h.New()
		w.Write(s.Data)
		d = w.Sum(nil)
	}
	s.sums[h] = d
	return d, nil
}

// fileDigest returns the digest of all bytes; detached signatures are over
// the file, whatever it is.
func (s *subject) fileDigest(h crypto.Hash) []byte {
	w := h.New()
	w.Write(s.Data)
	return w.Sum(nil)
}

// layer decides about one object.
func (v *Verifier) layer(o *Object, r *Report) LayerReport {
	l := LayerReport{Name: printable(o.Name), Role: o.Role, Kind: o.Kind, Size: uint64(len(o.Data)), Inside: o.Inside}
	if r.Mode == Off {
		l.Verdict, l.Reason = Unchecked, "verification is off"
		return l
	}
	s := newSubject(o)
	l.DigestKind = "file"
	if s.pe != nil {
		l.DigestKind = "authenticode"
	}
	err := v.judge(s, &l, r)
	if err != nil {
		l.err, l.Code, l.Verdict = err, code(err), Refused
		if r.Mode == Warn {
			l.Verdict = Unverified
		}
	}
	return l
}

// judge fills in l and returns why the layer is refused, or nil.
func (v *Verifier) judge(s *subject, l *LayerReport, r *Report) error {
	if s.peErr != nil {
		l.Reason = fmt.Sprintf("the PE image cannot be read: %v", s.peErr)
		return fmt.Errorf("%w: %w", ErrMalformed, s.peErr)
	}
	if s.peNote != "" {
		l.Notes = append(l.Notes, s.peNote)
	}
	if s.Inside == "" {
		if _, err := s.digest(crypto.SHA256); err != nil {
			l.Reason = fmt.Sprintf("the image has no valid digest: %v", err)
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	// A part's digest is shown where a question needed it: hashing a large
	// kernel or initrd a second time would cost as much as the image.
	defer func() { l.SHA256 = hex.EncodeToString(s.sums[crypto.SHA256]) }()

	var parent *LayerReport
	if s.Inside != "" {
		if parent = r.find(s.Inside); parent == nil {
			l.Reason = fmt.Sprintf("it is said to lie in %s, which was not verified", printable(s.Inside))
			return ErrNoSignature
		}
	}
	l.Signatures = v.signatures(s, l)

	if err := v.denied(s, l); err != nil {
		return err
	}
	if err := v.checkSBAT(s, l); err != nil {
		return err
	}
	if parent != nil {
		return v.judgeInside(s, l, parent, r)
	}
	if v.Policy.rule(s.Role) == RuleRefuse {
		l.Reason = fmt.Sprintf("the policy lets no %s come from outside the image (%s)", s.Role, v.Policy.origin("outside."+string(s.Role)))
		return ErrOutside
	}
	err := v.allowed(s, l)
	if err == nil {
		l.Verdict = Allowed
		return nil
	}
	if v.Policy.rule(s.Role) == RuleAllow {
		l.Verdict = AllowedByRule
		l.Notes = append(l.Notes, "nothing vouches for it: "+l.Reason)
		l.Reason = fmt.Sprintf("the policy lets any %s come from outside (%s)", s.Role, v.Policy.origin("outside."+string(s.Role)))
		return nil
	}
	return err
}

// find returns the report of an object by name, nil when none or more than
// one has it.
func (r *Report) find(name string) *LayerReport {
	name = printable(name)
	var found *LayerReport
	for i := range r.Layers {
		if r.Layers[i].Name != name {
			continue
		}
		if found != nil {
			return nil
		}
		found = &r.Layers[i]
	}
	return found
}

// judgeInside decides about a part of a layer that has been decided about.
func (v *Verifier) judgeInside(s *subject, l, parent *LayerReport, r *Report) error {
	if parent.err != nil {
		l.Reason = fmt.Sprintf("it lies inside %s, which is not allowed", parent.Name)
		return fmt.Errorf("%s: %w", parent.Name, parent.err)
	}
	if s.Role == RolePayload {
		if err := v.checkPayload(s, l, parent, r); err != nil {
			return err
		}
	}
	if s.Role == RoleParser && v.Policy.ParserKeysOnly {
		// A parser decides what of the image boots; a policy that wants
		// parser keys wants them for parsers inside images as well.
		if err := v.allowed(s, l); err != nil {
			return err
		}
	}
	l.Verdict = AllowedInside
	if parent.Verdict == AllowedByRule {
		l.Verdict = AllowedByRule
	}
	l.Reason = fmt.Sprintf("it lies inside %s, which is allowed", parent.Name)
	return nil
}

// denied asks the deny lists: image digest, certificate, certificate chain.
func (v *Verifier) denied(s *subject, l *LayerReport) error {
	// Digests in firmware's lists are Authenticode digests. What is no PE
	// image can be named by the operator's lists and the kernel's only.
	var lists []List
	for _, d := range v.Keys.Deny {
		if s.pe != nil || d.Scope == ScopeOperator || d.Scope == ScopeKernel {
			lists = append(lists, d)
		}
	}
	for _, h := range imageHashes(lists) {
		sum, err := s.digest(h)
		if err != nil {
			continue // a hash that Authenticode does not use denies no PE image
		}
		for i := range lists {
			if d := &lists[i]; d.hasImage(h, sum) {
				l.List = d.Name
				l.Reason = fmt.Sprintf("its digest is revoked by %s", d.Name)
				return fmt.Errorf("%w: digest %x in %s", ErrRevoked, sum, d.Name)
			}
		}
	}
	for i := range l.Signatures {
		if sig := &l.Signatures[i]; errors.Is(sig.err, ErrRevoked) {
			l.List, l.Reason = sig.List, sig.Reason
			return sig.err
		}
	}
	return nil
}

// allowed asks the allow lists and explains in l.Reason.
func (v *Verifier) allowed(s *subject, l *LayerReport) error {
	for i := range l.Signatures {
		sig := &l.Signatures[i]
		if !sig.Good {
			continue
		}
		if sig.Kind == KindAuthenticode {
			if err := uncovered(s.pe); err != nil {
				l.Reason = err.Error()
				return err
			}
		}
		l.List = sig.List
		l.Signer = name(sig.signer)
		for _, c := range sig.Chain {
			l.Chain = append(l.Chain, c.Subject)
		}
		l.Reason = sig.Reason
		return nil
	}
	if v.Policy.accepts(KindHash) {
		for _, h := range imageHashes(v.Keys.Allow) {
			if !hashAllowed(h, v.Policy.Digests) {
				continue
			}
			sum, err := s.digest(h)
			if err != nil {
				continue
			}
			for i := range v.Keys.Allow {
				a := &v.Keys.Allow[i]
				if v.listFits(a, s, KindHash, h) && a.hasImage(h, sum) {
					if s.pe != nil {
						if err := uncovered(s.pe); err != nil {
							l.Reason = err.Error()
							return err
						}
					}
					l.List = a.Name
					l.Reason = fmt.Sprintf("its digest is in %s", a.Name)
					return nil
				}
			}
		}
	}
	return v.explain(l)
}

// explain picks the error that tells most about why nothing vouches for l.
func (v *Verifier) explain(l *LayerReport) error {
	for _, want := range []error{ErrWeak, ErrUsage, ErrKind, ErrUnknownSigner, ErrDigestMismatch, ErrBadSignature, ErrLimit, ErrMalformed} {
		for i := range l.Signatures {
			if sig := &l.Signatures[i]; errors.Is(sig.err, want) {
				l.Reason = sig.Reason
				if sig.signer != nil {
					l.Signer = name(sig.signer)
				}
				return sig.err
			}
		}
	}
	l.Reason = "it is not signed, and no list has its digest"
	return ErrNoSignature
}

// uncovered refuses an image with contents that its digest does not cover.
// Authenticode skips gaps between sections; firmware never looks there, but
// whoever takes an image apart by offsets could.
func uncovered(f *pe.File) error {
	for _, e := range f.Unhashed() {
		if !allZero(f.Raw[e.Offset:e.End()]) {
			return fmt.Errorf("%w: 0x%x bytes at 0x%x lie between sections", ErrUncovered, e.Size, e.Offset)
		}
	}
	return nil
}
