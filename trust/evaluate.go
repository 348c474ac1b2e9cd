// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	"github.com/peelboot/peel/trust/cms"
)

// identifier says how s names its certificate.
func identifier(s *cms.Signer) string {
	if len(s.SubjectKeyID) > 0 {
		return fmt.Sprintf("the key with identifier %x", s.SubjectKeyID)
	}
	var rdn pkix.RDNSequence
	issuer := "an issuer whose name cannot be read"
	if rest, err := asn1.Unmarshal(s.RawIssuer, &rdn); err == nil && len(rest) == 0 {
		issuer = printable(rdn.String())
	}
	return fmt.Sprintf("the certificate with serial number %s of %s", s.Serial.Text(16), issuer)
}

// claim is what a signature of any kind brings to its evaluation.
type claim struct {
	// hash of the contents, digest of the signature; they differ rarely.
	hash, digest crypto.Hash
	timestamps   []cms.Timestamp
	// pool holds the certificates that came with the signature.
	pool []*x509.Certificate
	// id names the key for people where no certificate is at hand.
	id string
}

// name puts the claimed signer into the report of a signature that failed.
func (c *claim) name(r *SignatureReport, cert *x509.Certificate) {
	if cert != nil {
		d := describe(cert)
		r.Signer, r.signer = &d, cert
	}
}

// evaluate finds the certificate that made a signature, asks the deny lists
// about everything above it, and then the allow lists.
func (v *Verifier) evaluate(s *subject, r *SignatureReport, c claim, names func(*x509.Certificate) bool, check func(*x509.Certificate) error) {
	pool := v.pool(c.pool)
	var signer *x509.Certificate
	err := error(nil)
	found := false
	for _, cert := range pool {
		if !names(cert) {
			continue
		}
		found = true
		c.name(r, cert)
		if err = check(cert); err == nil {
			signer = cert
			break
		}
	}
	switch {
	case !found:
		r.fail(ErrUnknownSigner, "signed by %s, which is in no list", c.id)
		return
	case signer == nil:
		r.fail(fmt.Errorf("%w: %w", ErrBadSignature, err), "the signature does not verify with the key of %s: %v", name(r.signer), err)
		return
	}
	d := describe(signer)
	r.Signer, r.signer = &d, signer
	v.stamps(r, c.timestamps)

	g, err := buildGraph(signer, pool)
	if err != nil {
		r.fail(err, "the certificates of %s cannot be followed: %v", name(signer), err)
		return
	}
	if v.deniedChain(r, g) {
		return
	}
	if !v.Policy.accepts(r.Kind) {
		r.fail(ErrKind, "signed by %s, but the policy does not accept %s signatures (%s)", name(signer), r.Kind, v.Policy.origin("signatures.kinds"))
		return
	}
	for _, h := range []crypto.Hash{c.hash, c.digest} {
		if !hashAllowed(h, v.Policy.Digests) {
			r.fail(ErrWeak, "signed by %s with %s, which the policy does not accept (%s)", name(signer), cms.HashName(h), v.Policy.origin("signatures.digests"))
			return
		}
	}
	if why := v.weakKey(signer); why != "" {
		r.fail(ErrWeak, "signed by %s with %s", name(signer), why)
		return
	}
	v.anchor(s, r, g, c.hash)
}

// pool returns certs and every certificate of the lists, without repeats.
// Denied ones are in it so that a chain to them is found even when nobody
// sent it along.
func (v *Verifier) pool(certs []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	seen := map[string]bool{}
	add := func(cs []*x509.Certificate) {
		for _, c := range cs {
			if !seen[string(c.Raw)] {
				seen[string(c.Raw)] = true
				out = append(out, c)
			}
		}
	}
	add(certs)
	for _, l := range v.Keys.Allow {
		add(l.Certificates)
	}
	for _, l := range v.Keys.Deny {
		add(l.Certificates)
	}
	return out
}

// stamps describes time stamps and asks who vouches for them.
func (v *Verifier) stamps(r *SignatureReport, ts []cms.Timestamp) {
	for _, t := range ts {
		tr := TimestampReport{Kind: t.Kind, Time: t.Time}
		if t.Err != nil {
			tr.Error = t.Err.Error()
		} else if t.Certificate != nil {
			tr.Signer = name(t.Certificate)
			tr.Trusted = v.trustedStamp(t)
		}
		r.Timestamps = append(r.Timestamps, tr)
	}
}

func (v *Verifier) trustedStamp(t cms.Timestamp) bool {
	pool := append([]*x509.Certificate(nil), t.Certificates...)
	for _, l := range v.Keys.Timestamp {
		pool = append(pool, l.Certificates...)
	}
	g, err := buildGraph(t.Certificate, pool)
	if err != nil {
		return false
	}
	return g.find(func(c *x509.Certificate) bool {
		for _, l := range v.Keys.Timestamp {
			for _, k := range l.Certificates {
				if bytes.Equal(k.Raw, c.Raw) {
					return true
				}
			}
		}
		return false
	}, v.strongStep) != nil
}

// deniedChain asks the deny lists about every certificate that the signer
// can be traced to.
func (v *Verifier) deniedChain(r *SignatureReport, g *graph) bool {
	for i := range v.Keys.Deny {
		l := &v.Keys.Deny[i]
		for _, n := range g.nodes {
			tbs, yes := l.denies(n.cert)
			if !yes {
				continue
			}
			if tbs != nil && !tbs.Revoked.IsZero() {
				if at := stampedBefore(r, tbs); at != "" {
					r.Notes = append(r.Notes, fmt.Sprintf("%s revokes %s from %s; the signature is time-stamped %s",
						l.Name, name(n.cert), tbs.Revoked.Format("2006-01-02"), at))
					continue
				}
			}
			r.List = l.Name
			what := "signed by " + name(r.signer)
			if n != g.leaf {
				what += ", traced to " + name(n.cert)
			}
			r.fail(fmt.Errorf("%w: certificate %q in %s", ErrRevoked, name(n.cert), l.Name), "%s, which %s revokes", what, l.Name)
			return true
		}
	}
	return false
}

// stampedBefore returns the time of a trusted time stamp before the
// revocation, "" when there is none.
func stampedBefore(r *SignatureReport, t *TBSDigest) string {
	for _, ts := range r.Timestamps {
		if ts.Trusted && ts.Time.Before(t.Revoked) {
			return ts.Time.Format("2006-01-02")
		}
	}
	return ""
}

// weakKey says why the key of c is too small, "" when it is not.
func (v *Verifier) weakKey(c *x509.Certificate) string {
	kind, bits := keyStrength(c)
	switch kind {
	case "rsa":
		if bits < v.Policy.RSABits {
			return fmt.Sprintf("an RSA key of %d bits, the policy wants %d (%s)", bits, v.Policy.RSABits, v.Policy.origin("signatures.rsa_bits"))
		}
	case "ec":
		if bits < v.Policy.ECBits {
			return fmt.Sprintf("an EC key of %d bits, the policy wants %d (%s)", bits, v.Policy.ECBits, v.Policy.origin("signatures.ec_bits"))
		}
	default:
		return "a key of unknown type " + kind
	}
	return ""
}

// strongStep accepts steps whose digest and key the policy accepts.
func (v *Verifier) strongStep(_, to *node, alg cms.Algorithm) bool {
	return hashAllowed(alg.Hash, v.Policy.Digests) && v.weakKey(to.cert) == ""
}

// anchor looks for a chain to an allow list that fits the use.
func (v *Verifier) anchor(s *subject, r *SignatureReport, g *graph, h crypto.Hash) {
	any := func(_, _ *node, _ cms.Algorithm) bool { return true }
	var hit *List
	listed := func(fits func(*List, *x509.Certificate) bool) anchorTest {
		return func(c *x509.Certificate) bool {
			for i := range v.Keys.Allow {
				l := &v.Keys.Allow[i]
				for _, k := range l.Certificates {
					if bytes.Equal(k.Raw, c.Raw) && fits(l, c) {
						hit = l
						return true
					}
				}
			}
			return false
		}
	}
	fits := func(l *List, c *x509.Certificate) bool {
		return v.listFits(l, s, r.Kind, h) && (r.Kind != KindAuthenticode || !moduleOnly(c)) && !unfamiliar(c)
	}
	leafOK := s.Role == RolePayload || !v.kexecOnly(g.leaf.cert)
	if leafOK {
		if chain := g.find(listed(fits), v.strongStep); chain != nil {
			v.accept(r, chain, hit)
			return
		}
		if g.find(listed(fits), any) != nil {
			r.List = hit.Name
			r.fail(ErrWeak, "signed by %s, whose chain to %s uses a digest or key that the policy does not accept", name(r.signer), hit.Name)
			return
		}
	}
	if g.find(listed(func(*List, *x509.Certificate) bool { return true }), any) != nil {
		r.List = hit.Name
		r.fail(ErrUsage, "signed by %s, whose key in %s is not valid for this use (%s)", name(r.signer), hit.Name, v.whyUnfit(s, r, hit, h))
		return
	}
	r.fail(ErrUnknownSigner, "signed by %s, which no list vouches for", name(r.signer))
}

// accept records the chain that decided.
func (v *Verifier) accept(r *SignatureReport, chain []*x509.Certificate, l *List) {
	r.Good, r.list, r.List = true, l, l.Name
	for _, c := range chain {
		r.Chain = append(r.Chain, describe(c))
		if n := dateNote(c, v.Now); n != "" {
			r.Notes = append(r.Notes, n)
		}
	}
	if has, signing := hasEKU(chain[0], oidCodeSigning); has && !signing {
		r.Notes = append(r.Notes, fmt.Sprintf("%s has extended key usages without code signing; firmware does not ask for it", name(chain[0])))
	}
	last := chain[len(chain)-1]
	if len(chain) == 1 {
		r.Reason = fmt.Sprintf("signed by %s, which is in %s", name(last), l.Name)
	} else {
		r.Reason = fmt.Sprintf("signed by %s, whose issuer %s is in %s", name(chain[0]), name(last), l.Name)
	}
}

// listFits reports whether the keys of l are good for a signature over s.
func (v *Verifier) listFits(l *List, s *subject, k Kind, h crypto.Hash) bool {
	if v.Policy.ShimDigest && l.Scope == ScopeShim && h != crypto.SHA256 {
		return false
	}
	switch s.Role {
	case RoleParser:
		if v.Policy.ParserKeysOnly {
			return l.Usage == UsageParser
		}
		return l.Usage == UsageAny || l.Usage == UsageParser
	case RolePayload:
		if s.Inside == "" {
			return l.Usage == UsageAny || l.Usage == UsageImage || l.Usage == UsageKexec
		}
		return l.Usage != UsageParser && (l.Usage != UsageBuild || l.Release != "" && l.Release == s.Release)
	}
	return l.Usage == UsageAny || l.Usage == UsageImage
}

// whyUnfit says what keeps the keys of l from being good for s.
func (v *Verifier) whyUnfit(s *subject, r *SignatureReport, l *List, h crypto.Hash) string {
	switch {
	case s.Role != RolePayload && v.kexecOnly(r.signer):
		return "the certificate is for inner kernels only"
	case v.Policy.ShimDigest && l.Scope == ScopeShim && h != crypto.SHA256:
		return "shim checks SHA-256 signatures only"
	case s.Role == RoleParser && v.Policy.ParserKeysOnly && l.Usage != UsageParser:
		return "the policy wants a parser key for parser containers"
	case l.Usage == UsageBuild && s.Role == RolePayload:
		return fmt.Sprintf("it is bound to kernel %s, this is %q", l.Release, printable(s.Release))
	case !v.listFits(l, s, r.Kind, h):
		return fmt.Sprintf("its list is for %s only", l.Usage)
	}
	return "the listed certificate is for kernel modules, or has extensions that peel does not evaluate"
}

// moduleOnly reports whether c carries the module-signing usage that shim
// refuses on listed certificates.
func moduleOnly(c *x509.Certificate) bool {
	_, listed := hasEKU(c, oidModuleSigning)
	return listed
}

// kexecOnly reports whether the policy marks c as good for inner kernels only.
func (v *Verifier) kexecOnly(c *x509.Certificate) bool {
	for _, oid := range v.Policy.KexecEKU {
		if _, listed := hasEKU(c, oid); listed {
			return true
		}
	}
	return false
}
