// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/peelboot/peel/trust/appended"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/cms"
	"github.com/peelboot/peel/trust/ima"
)

// maxSidecars bounds the signatures in files of their own per object.
const maxSidecars = 16

// signatures evaluates every signature of s, embedded ones first.
func (v *Verifier) signatures(s *subject, l *LayerReport) []SignatureReport {
	var out []SignatureReport
	if s.pe != nil {
		out = append(out, v.embedded(s)...)
	} else {
		out = append(out, v.appended(s)...)
	}
	for i, sc := range s.Sidecars {
		if i == maxSidecars {
			l.Notes = append(l.Notes, fmt.Sprintf("only the first %d signature files were looked at", maxSidecars))
			break
		}
		out = append(out, v.sidecar(s, sc)...)
	}
	if len(s.IMA) > 0 {
		out = append(out, v.ima(s, "security.ima", s.IMA))
	}
	return out
}

// fail records why a signature does not count.
func (r *SignatureReport) fail(err error, format string, args ...any) {
	r.err, r.Good = err, false
	r.Code = code(err)
	r.Reason = fmt.Sprintf(format, args...)
}

// embedded evaluates the certificate table of a PE image.
func (v *Verifier) embedded(s *subject) []SignatureReport {
	entries, err := authenticode.Read(s.pe)
	if errors.Is(err, authenticode.ErrNone) {
		return nil
	}
	if err != nil {
		r := SignatureReport{Kind: KindAuthenticode}
		r.fail(fmt.Errorf("%w: %w", ErrMalformed, err), "the certificate table cannot be read: %v", err)
		return []SignatureReport{r}
	}
	var out []SignatureReport
	for _, e := range entries {
		r := SignatureReport{Kind: KindAuthenticode, Index: e.Index, Offset: e.Offset}
		if e.Err != nil {
			r.fail(fmt.Errorf("%w: %w", ErrMalformed, e.Err), "the signature cannot be read: %v", e.Err)
		} else {
			v.authenticode(s, e.Signature, &r)
		}
		out = append(out, r)
	}
	return out
}

func (v *Verifier) authenticode(s *subject, sig *authenticode.Signature, r *SignatureReport) {
	r.Digest, r.Sum = cms.HashName(sig.Hash), hex.EncodeToString(sig.Digest)
	r.Algorithm = algorithm(sig.Signer)
	if sig.Nested > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d nested signatures, which firmware does not look at", sig.Nested))
	}
	if sig.PageHashes {
		r.Notes = append(r.Notes, "carries page hashes, which firmware does not look at")
	}
	c := claim{hash: sig.Hash, digest: sig.Signer.Digest, timestamps: sig.Message.Timestamps(sig.Signer), pool: sig.Message.Certificates,
		id: identifier(sig.Signer)}
	sum, err := s.digest(sig.Hash)
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", ErrMalformed, err), "the image has no %s digest: %v", cms.HashName(sig.Hash), err)
		return
	}
	if err := sig.CheckImage(sum); err != nil {
		c.name(r, sig.Message.Certificate(sig.Signer))
		r.fail(fmt.Errorf("%w: %w", ErrDigestMismatch, err),
			"the image does not match its signature (signed %s %x, image %x): it was changed after signing, or the signature is another image's",
			cms.HashName(sig.Hash), sig.Digest, sum)
		return
	}
	v.evaluate(s, r, c, sig.Signer.Names, sig.CheckSigner)
}

// algorithm names how a signer signed.
func algorithm(s *cms.Signer) string {
	a := s.Algorithm
	a.Hash = s.Digest
	return a.String()
}

// appended evaluates a module-style trailer.
func (v *Verifier) appended(s *subject) []SignatureReport {
	t, err := appended.Split(s.Data)
	if errors.Is(err, appended.ErrNone) {
		return nil
	}
	r := SignatureReport{Kind: KindAppended}
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", ErrMalformed, err), "the appended signature cannot be read: %v", err)
		return []SignatureReport{r}
	}
	out := v.message(s, r, t.CMS, t.Content)
	for i := range out {
		out[i].Offset = t.Offset
	}
	return out
}

// sidecar evaluates a signature file by its first byte: a CMS message, as DER
// or PEM, or the bytes of a security.ima attribute.
func (v *Verifier) sidecar(s *subject, sc Sidecar) []SignatureReport {
	der := sc.Data
	if b, _ := pem.Decode(sc.Data); b != nil && (b.Type == "CMS" || b.Type == "PKCS7" || b.Type == "PKCS #7 SIGNED DATA") {
		der = b.Bytes
	}
	if len(der) > 0 && der[0] != 0x30 {
		return []SignatureReport{v.ima(s, sc.Name, der)}
	}
	return v.message(s, SignatureReport{Kind: KindDetached, Source: printable(sc.Name)}, der, s.Data)
}

// message evaluates each signer of a detached CMS message over content.
func (v *Verifier) message(s *subject, proto SignatureReport, der, content []byte) []SignatureReport {
	sd, err := cms.Parse(der)
	switch {
	case err != nil:
		proto.fail(fmt.Errorf("%w: %w", ErrMalformed, err), "the signature cannot be read: %v", err)
		return []SignatureReport{proto}
	case !sd.Detached() || !sd.ContentType.Equal(cms.OIDData()):
		proto.fail(ErrMalformed, "the signature is not a detached one over plain data")
		return []SignatureReport{proto}
	case len(sd.Signers) == 0:
		proto.fail(ErrMalformed, "the signature has no signer")
		return []SignatureReport{proto}
	}
	var out []SignatureReport
	sums := map[crypto.Hash][]byte{}
	for i := range sd.Signers {
		signer := &sd.Signers[i]
		r := proto
		r.Index = i
		sum := sums[signer.Digest]
		if sum == nil {
			h := signer.Digest.New()
			h.Write(content)
			sum = h.Sum(nil)
			sums[signer.Digest] = sum
		}
		r.Digest, r.Sum, r.Algorithm = cms.HashName(signer.Digest), hex.EncodeToString(sum), algorithm(signer)
		c := claim{hash: signer.Digest, digest: signer.Digest, timestamps: sd.Timestamps(signer), pool: sd.Certificates,
			id: identifier(signer)}
		if err := signer.CheckContent(sum); err != nil {
			c.name(&r, sd.Certificate(signer))
			r.fail(fmt.Errorf("%w: %w", ErrDigestMismatch, err),
				"the contents do not match the signature: %v", err)
		} else {
			v.evaluate(s, &r, c, signer.Names, func(cert *x509.Certificate) error {
				return signer.Check(cert, oidData(), sum)
			})
		}
		out = append(out, r)
	}
	return out
}

func oidData() asn1.ObjectIdentifier { return cms.OIDData() }

// ima evaluates the value of a security.ima attribute.
func (v *Verifier) ima(s *subject, source string, b []byte) SignatureReport {
	r := SignatureReport{Kind: KindIMA, Source: printable(source)}
	val, err := ima.Parse(b)
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", ErrMalformed, err), "the IMA value cannot be read: %v", err)
		return r
	}
	r.Digest = cms.HashName(val.Hash)
	var sum []byte
	if val.Type == ima.TypeVerity {
		if sum, err = ima.VerityDigest(val.Hash, s.Data); err != nil {
			r.fail(fmt.Errorf("%w: %w", ErrMalformed, err), "the IMA value cannot be used: %v", err)
			return r
		}
	} else {
		sum = s.fileDigest(val.Hash)
	}
	r.Sum = hex.EncodeToString(sum)
	if !val.Signature() {
		if err := val.Check(nil, sum); err != nil {
			r.fail(fmt.Errorf("%w: %w", ErrDigestMismatch, err), "the contents do not match the recorded IMA digest")
			return r
		}
		r.fail(ErrNoSignature, "the IMA digest matches, but a digest is nobody's signature")
		return r
	}
	r.Algorithm = fmt.Sprintf("ima-v%d", val.Version)
	c := claim{hash: val.Hash, digest: val.Hash, id: fmt.Sprintf("the key with identifier …%08x", val.KeyID)}
	v.evaluate(s, &r, c, val.Names, func(cert *x509.Certificate) error { return val.Check(cert, sum) })
	return r
}

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
