// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/peelboot/peel/trust/cms"
)

// Limits on one chain. Each signature check may cost a hostile RSA key's
// worth of time.
const (
	maxChain  = 10
	maxChecks = 128
)

// oidModuleSigning is the extended key usage that shim does not accept on a
// listed certificate when it verifies an image (shim.c, verify_eku).
const oidModuleSigning = "1.3.6.1.4.1.2312.16.1.2"

// node is a certificate that can be reached from a signer by going from
// subject to issuer.
type node struct {
	cert    *x509.Certificate
	issuers []edge
}

// edge says that to signed the certificate the edge starts at.
type edge struct {
	to  *node
	alg cms.Algorithm
}

// graph holds everything reachable from a signer.
type graph struct {
	leaf  *node
	nodes []*node
}

// buildGraph finds every certificate in pool from which a chain of
// signatures leads down to leaf. Names must match and signatures verify;
// dates, purposes and constraints are left to the questions asked of the
// graph afterwards.
func buildGraph(leaf *x509.Certificate, pool []*x509.Certificate) (*graph, error) {
	g := &graph{leaf: &node{cert: leaf}}
	g.nodes = []*node{g.leaf}
	checks := 0
	for i := 0; i < len(g.nodes); i++ {
		n := g.nodes[i]
		if bytes.Equal(n.cert.RawIssuer, n.cert.RawSubject) && selfSigned(n.cert) {
			checks++
			continue
		}
		seen := map[string]bool{}
		for _, c := range pool {
			if !bytes.Equal(c.RawSubject, n.cert.RawIssuer) || seen[string(c.Raw)] {
				continue
			}
			seen[string(c.Raw)] = true
			if checks++; checks > maxChecks {
				return nil, fmt.Errorf("more than %d certificate signatures to check: %w", maxChecks, ErrLimit)
			}
			alg, err := cms.CheckIssued(n.cert, c)
			if err != nil {
				continue
			}
			n.issuers = append(n.issuers, edge{g.node(c), alg})
		}
	}
	return g, nil
}

// node returns the node of c, a new one when there is none.
func (g *graph) node(c *x509.Certificate) *node {
	for _, n := range g.nodes {
		if bytes.Equal(n.cert.Raw, c.Raw) {
			return n
		}
	}
	n := &node{cert: c}
	g.nodes = append(g.nodes, n)
	return n
}

// selfSigned reports whether c is signed with its own key.
func selfSigned(c *x509.Certificate) bool {
	_, err := cms.CheckIssued(c, c)
	return err == nil
}

// canIssue reports whether c may sign certificates, as OpenSSL's
// X509_check_ca decides for EDK2 and shim: key usage, when present, must
// include certificate signing; then the basic constraints decide; without
// them an old self-signed certificate may.
func canIssue(c *x509.Certificate) bool {
	if unfamiliar(c) {
		return false
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return false
	}
	if c.BasicConstraintsValid {
		return c.IsCA
	}
	return c.KeyUsage != 0 || c.Version == 1 && bytes.Equal(c.RawIssuer, c.RawSubject)
}

// unfamiliar reports whether c has an extension that would have to be
// evaluated and is not: a critical one outside of what OpenSSL knows
// (X509_supported_extension; EDK2 and shim refuse those too), or name
// constraints, which no boot certificate has.
func unfamiliar(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		switch e.Id.String() {
		case "2.5.29.30": // name constraints
			return true
		case "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.31", "2.5.29.32", "2.5.29.33",
			"2.5.29.36", "2.5.29.37", "2.5.29.54", "2.16.840.1.113730.1.1":
			// Key usage, alternative name, basic constraints, distribution
			// points, the policy extensions, extended key usage, Netscape
			// certificate type (critical in Debian's CA).
		default:
			if e.Critical {
				return true
			}
		}
	}
	return false
}

// anchorTest says whether a certificate ends a chain well.
type anchorTest func(*x509.Certificate) bool

// edgeTest says whether a step may be part of a chain.
type edgeTest func(from, to *node, alg cms.Algorithm) bool

// find returns the shortest chain from the leaf to a certificate that ok
// accepts, by steps that step accepts; nil when there is none.
func (g *graph) find(ok anchorTest, step edgeTest) []*x509.Certificate {
	type path struct {
		n    *node
		up   *path
		deep int
	}
	queue := []*path{{n: g.leaf}}
	seen := map[*node]bool{g.leaf: true}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if ok(p.n.cert) {
			var chain []*x509.Certificate
			for q := p; q != nil; q = q.up {
				chain = append(chain, q.n.cert)
			}
			for i, j := 0, len(chain)-1; i < j; i, j = i+1, j-1 {
				chain[i], chain[j] = chain[j], chain[i]
			}
			return chain
		}
		if p.deep+1 == maxChain {
			continue
		}
		for _, e := range p.n.issuers {
			if seen[e.to] || !canIssue(e.to.cert) || !pathLengthOK(e.to.cert, p.deep) || !step(p.n, e.to, e.alg) {
				continue
			}
			seen[e.to] = true
			queue = append(queue, &path{e.to, p, p.deep + 1})
		}
	}
	return nil
}

// pathLengthOK reports whether c may stand above below intermediate
// certificates.
func pathLengthOK(c *x509.Certificate, below int) bool {
	if !c.BasicConstraintsValid || c.MaxPathLen < 0 || c.MaxPathLen == 0 && !c.MaxPathLenZero {
		return true
	}
	return below <= c.MaxPathLen
}

// hasEKU reports whether c has an extended key usage extension, and whether
// it lists the dotted identifier.
func hasEKU(c *x509.Certificate, oid string) (any, listed bool) {
	for _, u := range c.UnknownExtKeyUsage {
		if u.String() == oid {
			listed = true
		}
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageCodeSigning && oid == oidCodeSigning {
			listed = true
		}
	}
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0, listed
}

const oidCodeSigning = "1.3.6.1.5.5.7.3.3"

// keyStrength names the key of c and returns its size in bits.
func keyStrength(c *x509.Certificate) (kind string, bits int) {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return "rsa", k.N.BitLen()
	case *ecdsa.PublicKey:
		return "ec", k.Curve.Params().BitSize
	}
	return fmt.Sprintf("%T", c.PublicKey), 0
}

// dateNote tells of a validity period that does not contain now. Firmware
// does not check it and neither does peel; a zero now asks no question.
func dateNote(c *x509.Certificate, now time.Time) string {
	switch {
	case now.IsZero():
		return ""
	case now.After(c.NotAfter):
		return fmt.Sprintf("%s expired on %s; firmware does not check this", name(c), c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("%s is valid from %s only; firmware does not check this", name(c), c.NotBefore.UTC().Format(time.DateOnly))
	}
	return ""
}

// name returns how a person knows the holder of c.
func name(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return printable(c.Subject.CommonName)
	}
	if s := c.Subject.String(); s != "" {
		return printable(s)
	}
	return fmt.Sprintf("certificate without a name (serial %v)", c.SerialNumber)
}

// printable takes out of s what could confuse a terminal or a reader.
func printable(s string) string {
	const limit = 200
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if len(out) == limit {
			break
		}
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff || r == 0xfffd {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}

// hashAllowed is used for steps of a chain and for signatures alike.
func hashAllowed(h crypto.Hash, names []string) bool {
	n := cms.HashName(h)
	for _, a := range names {
		if a == n {
			return true
		}
	}
	return false
}
