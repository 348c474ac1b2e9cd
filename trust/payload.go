// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// checkPayload finds out which of the three ways of signing an inner kernel
// hold, and whether the policy is content with that. The inner kernel is
// covered by its envelope's signature in any case; what this adds is that
// the running kernel may have to accept it on its own (kexec_file_load under
// lockdown), and that a site may want it so.
func (v *Verifier) checkPayload(s *subject, l, parent *LayerReport, r *Report) error {
	p := &PayloadReport{Rule: v.Policy.Payload}
	l.Payload = p
	var signers []string
	for i := range l.Signatures {
		sig := &l.Signatures[i]
		if !sig.Good || sig.Kind == KindAuthenticode && uncovered(s.pe) != nil {
			continue
		}
		p.Signed = true
		signers = append(signers, name(sig.signer))
		switch {
		case sig.list.Usage == UsageKexec || v.kexecOnly(sig.signer):
			p.hold(PayloadKexec)
		case sig.list.Usage == UsageBuild:
			p.hold(PayloadBuild)
		}
		if sameKey(sig, parent, r) {
			p.hold(PayloadSame)
		}
	}
	switch {
	case !p.Signed && len(l.Signatures) > 0:
		p.Reason = "the inner kernel has a signature of its own that does not count: " + l.Signatures[0].Reason
	case !p.Signed:
		p.Reason = "the inner kernel has no signature of its own"
	case len(p.Held) == 0:
		p.Reason = fmt.Sprintf("the inner kernel is signed by %s with an ordinary key that is not the envelope's", strings.Join(signers, ", "))
	default:
		var how []string
		for _, h := range p.Held {
			how = append(how, map[PayloadRule]string{
				PayloadSame:  "the envelope's key",
				PayloadKexec: "a key for kexec only",
				PayloadBuild: "the key of its build",
			}[h])
		}
		p.Reason = fmt.Sprintf("the inner kernel is signed by %s with %s", strings.Join(signers, ", "), strings.Join(how, " and "))
	}
	ok := false
	switch v.Policy.Payload {
	case PayloadAny, "":
		ok = true
	case PayloadOne:
		ok = len(p.Held) > 0
	default:
		ok = slices.Contains(p.Held, v.Policy.Payload)
	}
	if !ok {
		l.Reason = fmt.Sprintf("the policy wants the inner kernel signed by rule %q (%s), but %s",
			v.Policy.Payload, v.Policy.origin("payload.rule"), p.Reason)
		return fmt.Errorf("%w: rule %s", ErrPayload, v.Policy.Payload)
	}
	return nil
}

func (p *PayloadReport) hold(r PayloadRule) {
	if !slices.Contains(p.Held, r) {
		p.Held = append(p.Held, r)
	}
}

// sameKey reports whether the key of sig also signed the nearest envelope
// that has a good signature.
func sameKey(sig *SignatureReport, parent *LayerReport, r *Report) bool {
	for depth := 0; parent != nil && depth < 8; depth++ {
		any := false
		for i := range parent.Signatures {
			o := &parent.Signatures[i]
			if !o.Good {
				continue
			}
			any = true
			if bytes.Equal(o.signer.RawSubjectPublicKeyInfo, sig.signer.RawSubjectPublicKeyInfo) {
				return true
			}
		}
		if any || parent.Inside == "" {
			return false
		}
		parent = r.find(parent.Inside)
	}
	return false
}
