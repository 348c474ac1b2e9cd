// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/trust/appended"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/cms"
)

// embeddedSignatures describes the certificate table of f.
func embeddedSignatures(f *pe.File) []Signature {
	entries, err := authenticode.Read(f)
	if errors.Is(err, authenticode.ErrNone) {
		return nil
	}
	if err != nil {
		return []Signature{{Kind: "authenticode", Offset: f.CertTable.Offset, Size: f.CertTable.Size, Problem: err.Error()}}
	}
	var list []Signature
	for _, e := range entries {
		s := Signature{Kind: "authenticode", Offset: e.Offset}
		if e.Err != nil {
			s.Problem = e.Err.Error()
			list = append(list, s)
			continue
		}
		s.Size = uint64(len(e.Raw))
		s.Digest = cms.HashName(e.Hash)
		s.signer(e.Message, e.Signer)
		if sum, err := f.Digest(e.Hash); err == nil {
			if err := e.CheckImage(sum); err != nil {
				s.Problem = err.Error()
			}
		}
		list = append(list, s)
	}
	return list
}

// signer fills in what the message says about who signed.
func (s *Signature) signer(m *cms.SignedData, si *cms.Signer) {
	s.Algorithm = si.Algorithm.String()
	c := m.Certificate(si)
	if c == nil {
		s.Problem = "the signer's certificate is not in the signature"
		return
	}
	s.Signer, s.Issuer = c.Subject.String(), c.Issuer.String()
	if c.SerialNumber != nil {
		s.Serial = c.SerialNumber.Text(16)
	}
	until := c.NotAfter.UTC()
	s.NotAfter = &until
}

// appendedSignature describes a module-style trailer of b.
func appendedSignature(b []byte) []Signature {
	a, err := appended.Split(b)
	if errors.Is(err, appended.ErrNone) {
		return nil
	}
	if err != nil {
		return []Signature{{Kind: "appended", Size: uint64(len(b)), Problem: err.Error()}}
	}
	s := Signature{Kind: "appended", Offset: a.Offset, Size: uint64(len(b) - len(a.Content))}
	m, err := cms.Parse(a.CMS)
	if err != nil {
		s.Problem = err.Error()
		return []Signature{s}
	}
	for i := range m.Signers {
		s.signer(m, &m.Signers[i])
		s.Digest = cms.HashName(m.Signers[i].Digest)
	}
	return []Signature{s}
}
