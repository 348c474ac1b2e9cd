// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto"
	"crypto/x509"
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
	if len(s.Appended) > 0 {
		out = append(out, v.message(s, SignatureReport{Kind: KindAppended}, s.Appended, s.Data)...)
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
				return signer.Check(cert, cms.OIDData(), sum)
			})
		}
		out = append(out, r)
	}
	return out
}

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
