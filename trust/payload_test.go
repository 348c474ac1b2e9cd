// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto"
	"slices"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// The three ways to sign an inner kernel, and which of them holds.
func TestPayload(t *testing.T) {
	envelope, kexec, build, plain := testkit.NewKey(t, "envelope"), testkit.NewKey(t, "kexec"), testkit.NewKey(t, "build"), testkit.NewKey(t, "plain")
	list := func(name string, u trust.Usage, release string, k *testkit.Key) trust.List {
		l := certList(name, k)
		l.Usage, l.Release = u, release
		return l
	}
	v := verifier(envelope, plain)
	v.Keys.Allow = append(v.Keys.Allow, list("kexec.pem", trust.UsageKexec, "", kexec),
		list("6.12.pem", trust.UsageBuild, "6.12.0", build))
	kernel := trusttest.SmallPE(t)
	outer := signed(t, envelope)
	by := func(k *testkit.Key) []byte { return trusttest.SignPE(t, kernel, opts(k)) }
	all := []trust.PayloadRule{trust.PayloadAny, trust.PayloadSame, trust.PayloadKexec, trust.PayloadBuild, trust.PayloadOne}
	for _, c := range []struct {
		name    string
		kernel  []byte
		release string
		held    []trust.PayloadRule // rules that hold besides "any"
		signed  bool
	}{
		{"same key", by(envelope), "6.12.0", []trust.PayloadRule{trust.PayloadSame}, true},
		{"kexec key", by(kexec), "6.12.0", []trust.PayloadRule{trust.PayloadKexec}, true},
		{"build key", by(build), "6.12.0", []trust.PayloadRule{trust.PayloadBuild}, true},
		{"build key of another release", by(build), "6.13.0", nil, false},
		{"build key, release unknown", by(build), "", nil, false},
		{"ordinary key", by(plain), "6.12.0", nil, true},
		{"stranger", by(testkit.NewKey(t, "envelope")), "6.12.0", nil, false},
		{"unsigned", kernel, "6.12.0", nil, false},
		{"padded with zeros", append(by(envelope), make([]byte, 64)...), "6.12.0", []trust.PayloadRule{trust.PayloadSame}, true},
		{"appended signature", appendSignature(t, kexec, []byte("\x7fELF vmlinux")), "6.12.0", []trust.PayloadRule{trust.PayloadKexec}, true},
		{"two signatures", trusttest.SignPE(t, by(kexec), opts(envelope)), "6.12.0", []trust.PayloadRule{trust.PayloadKexec, trust.PayloadSame}, true},
	} {
		for _, rule := range all {
			v.Policy.Payload = rule
			o := inside("image.efi", ".linux", trust.RolePayload, c.kernel)
			o.Release = c.release
			r, err := v.Verify(imageObject(outer), o)
			want := trust.ErrPayload
			if rule == trust.PayloadAny || slices.Contains(c.held, rule) || rule == trust.PayloadOne && len(c.held) > 0 {
				want = nil
			}
			wantError(t, c.name+", rule "+string(rule), r, err, want)
			p := r.Layers[1].Payload
			if p == nil || p.Signed != c.signed || p.Reason == "" || !slices.Equal(p.Held, c.held) {
				t.Errorf("Verify(%s).Payload = %+v, want held %q, signed %t", c.name, p, c.held, c.signed)
			}
		}
	}
	// Keys for inner kernels do not vouch for an envelope.
	for _, k := range []*testkit.Key{kexec, build} {
		r, err := v.Verify(imageObject(signed(t, k)))
		wantError(t, "envelope by "+k.Cert.Subject.CommonName, r, err, trust.ErrUsage)
	}
}

// A usage in the certificate marks a kexec key as well as a list does.
func TestPayloadUsage(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	kexec := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "kexec", Issuer: ca, Usage: nil})
	v := verifier(ca)
	v.Policy.KexecEKU = []string{"1.3.6.1.5.5.7.3.3"} // the usage that the test key has
	v.Policy.Payload = trust.PayloadKexec
	envelope := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "envelope", Issuer: ca, Usage: noUsage()})
	r, err := v.Verify(imageObject(signed(t, envelope)), inside("image.efi", ".linux", trust.RolePayload, trusttest.SignPE(t, trusttest.SmallPE(t), opts(kexec))))
	wantError(t, "kernel by a kexec certificate", r, err, nil)
	r, err = v.Verify(imageObject(signed(t, kexec)))
	wantError(t, "envelope by a kexec certificate", r, err, trust.ErrUsage)
}

// A revoked inner kernel is refused inside a good envelope, and so is one
// whose SBAT is too old.
func TestPayloadRevoked(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	kernel := trusttest.PE(t, trusttest.Section{Name: ".text", Data: []byte("x")},
		trusttest.Section{Name: ".sbat", Data: []byte("sbat,1,a,b,c,d\nlinux,1,a,b,c,d\n")})
	objects := []trust.Object{imageObject(signed(t, k)), inside("image.efi", ".linux", trust.RolePayload, kernel)}
	v := verifier(k)
	r, err := v.Verify(objects...)
	wantError(t, "nothing revoked", r, err, nil)
	if err := v.Policy.Apply("p", []byte("[sbat]\nminimum = [\"linux,2\"]\n")); err != nil {
		t.Fatal(err)
	}
	r, err = v.Verify(objects...)
	wantError(t, "inner SBAT", r, err, trust.ErrSBAT)
	v = verifier(k)
	v.Keys.Deny = []trust.List{{Name: "dbx", Images: []trust.Digest{{Hash: crypto.SHA256, Sum: digest(t, kernel, crypto.SHA256)}}}}
	r, err = v.Verify(objects...)
	wantError(t, "inner digest", r, err, trust.ErrRevoked)
}
