// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"context"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/trust"
)

// verifier answers a parser's questions about signatures by the policy in
// force. It can only say no: what the policy refused never reaches a parser.
type verifier struct {
	im *Image
	// judged are images from outside that were allowed before, and files
	// whose digests the image holds.
	judged [][]byte
}

// Mode tells programs to ask for verification where the policy enforces it.
func (v verifier) Mode() parser.SigMode {
	if v.im.opts.Verifier.Policy.Mode == trust.Enforce {
		return parser.SigPE
	}
	return parser.SigNone
}

// Image judges a whole image by its own signature. The outermost one has been
// judged already.
func (v verifier) Image(_ context.Context, origin string, b []byte) error {
	if same(b, v.im.mem.Bytes()) {
		return v.im.refused
	}
	for _, j := range v.judged {
		if same(b, j) {
			return nil
		}
	}
	_, err := v.im.opts.Verifier.Verify(trust.Object{
		Name: origin, Role: trust.RoleImage, Kind: image.Detect(b).Kind, Data: b,
	})
	return err
}

// IMA judges data by a security.ima attribute that the image brings.
func (v verifier) IMA(_ context.Context, origin string, data, xattr []byte) error {
	_, err := v.im.opts.Verifier.Verify(trust.Object{
		Name: origin, Role: trust.RoleImage, Kind: image.Detect(data).Kind, Data: data, IMA: xattr,
	})
	return err
}

// Programs judges the operator's container of programs by the message in its
// trailer.
func (v verifier) Programs(_ context.Context, origin string, payload, signature []byte) error {
	_, err := v.im.opts.Verifier.Verify(trust.Object{
		Name: origin, Role: trust.RoleParser, Kind: image.KindContainer, Data: payload, Appended: signature,
	})
	return err
}

// same reports whether a and b are the same memory.
func same(a, b []byte) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}
