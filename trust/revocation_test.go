// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

func noUsage() []x509.ExtKeyUsage { return []x509.ExtKeyUsage{} }

// A certificate that is revoked from a point in time: a signature with a
// trusted stamp from before passes, anything else does not.
func TestRevocationTime(t *testing.T) {
	ca, tsa, stranger := testkit.NewCA(t, "authority"), testkit.NewKey(t, "time"), testkit.NewKey(t, "time")
	leaf := ca.Issue(t, "signer")
	revoked := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sum := sha256.Sum256(leaf.Cert.RawTBSCertificate)
	image := trusttest.SmallPE(t)
	stamp := func(by *testkit.Key, at time.Time, counter bool) []byte {
		o := opts(leaf)
		o.Extra = []*x509.Certificate{by.Cert}
		o.Unsigned = func(sig []byte) []trusttest.Attribute {
			if counter {
				return []trusttest.Attribute{{Type: trusttest.CounterSignature, Value: trusttest.Counter(t, opts(by), at, sig)}}
			}
			return []trusttest.Attribute{{Type: trusttest.TimestampToken, Value: trusttest.Token(t, opts(by), at, sig)}}
		}
		return trusttest.SignPE(t, image, o)
	}
	other := opts(leaf)
	other.Unsigned = func([]byte) []trusttest.Attribute {
		return []trusttest.Attribute{{Type: trusttest.TimestampToken,
			Value: trusttest.Token(t, opts(tsa), revoked.AddDate(-1, 0, 0), []byte("another signature"))}}
	}
	for _, c := range []struct {
		name  string
		image []byte
		from  time.Time
		want  error
	}{
		{"stamped before", stamp(tsa, revoked.AddDate(0, -1, 0), false), revoked, nil},
		{"countersigned before", stamp(tsa, revoked.AddDate(0, -1, 0), true), revoked, nil},
		{"stamped after", stamp(tsa, revoked.AddDate(0, 1, 0), false), revoked, trust.ErrRevoked},
		{"stamped at the very time", stamp(tsa, revoked, false), revoked, trust.ErrRevoked},
		{"stamped before by a stranger", stamp(stranger, revoked.AddDate(0, -1, 0), false), revoked, trust.ErrRevoked},
		{"another signature's stamp", trusttest.SignPE(t, image, other), revoked, trust.ErrRevoked},
		{"no stamp", trusttest.SignPE(t, image, opts(leaf)), revoked, trust.ErrRevoked},
		{"stamped before, revoked always", stamp(tsa, revoked.AddDate(0, -1, 0), false), time.Time{}, trust.ErrRevoked},
	} {
		v := verifier(ca)
		v.Keys.Timestamp = []trust.List{{Name: "dbt", Scope: trust.ScopeFirmware, Certificates: []*x509.Certificate{tsa.Cert}}}
		v.Keys.Deny = []trust.List{{Name: "dbx", Scope: trust.ScopeFirmware,
			TBS: []trust.TBSDigest{{Digest: trust.Digest{Hash: crypto.SHA256, Sum: sum[:]}, Revoked: c.from}}}}
		r, err := v.Verify(imageObject(c.image))
		wantError(t, c.name, r, err, c.want)
		if c.want == nil && !strings.Contains(strings.Join(r.Layers[0].Signatures[0].Notes, ";"), "time-stamped 2025-12-01") {
			t.Errorf("Verify(%s).Notes = %q, want the stamp", c.name, r.Layers[0].Signatures[0].Notes)
		}
	}
}

// A listed certificate for kernel modules does not vouch for images, as with
// shim; it does for a container with a module-style signature.
func TestModuleKey(t *testing.T) {
	k := moduleKey(t)
	r, err := verifier(k).Verify(imageObject(signed(t, k)))
	wantError(t, "image by a module key", r, err, trust.ErrUsage)
	r, err = verifier(k).Verify(trust.Object{Name: "x.bpf", Role: trust.RoleParser, Data: appendSignature(t, k, []byte("container"))})
	wantError(t, "container by a module key", r, err, nil)
}

// A signing certificate without the code-signing usage is accepted and noted.
func TestForeignUsage(t *testing.T) {
	k := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "signer", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	r, err := verifier(k).Verify(imageObject(signed(t, k)))
	wantError(t, "server certificate", r, err, nil)
	if n := r.Layers[0].Signatures[0].Notes; len(n) != 1 || !strings.Contains(n[0], "without code signing") {
		t.Errorf("Notes = %q, want the missing usage", n)
	}
}

// IMA digests say that nothing changed, not who says so.
func TestIMADigestIsNoSignature(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	content := []byte("contents")
	sum := sha256.Sum256(content)
	o := trust.Object{Name: "initrd", Role: trust.RoleInitrd, Data: content, IMA: append([]byte{4, 4}, sum[:]...)}
	r, err := verifier(k).Verify(o)
	wantError(t, "matching digest", r, err, trust.ErrNoSignature)
	o.IMA[5] ^= 1
	r, err = verifier(k).Verify(o)
	wantError(t, "other digest", r, err, trust.ErrDigestMismatch)
}

// A digest list vouches for a file without any signature.
func TestAllowedDigest(t *testing.T) {
	content := []byte("initrd")
	sum := sha256.Sum256(content)
	v := verifier()
	v.Keys.Allow = []trust.List{{Name: "known.sha256", Images: []trust.Digest{{Hash: crypto.SHA256, Sum: sum[:]}}}}
	r, err := v.Verify(trust.Object{Name: "initrd", Role: trust.RoleInitrd, Data: content})
	wantError(t, "listed digest", r, err, nil)
	if r.Layers[0].List != "known.sha256" {
		t.Errorf("List = %q, want known.sha256", r.Layers[0].List)
	}
	v.Policy.Kinds = []trust.Kind{trust.KindAuthenticode}
	r, err = v.Verify(trust.Object{Name: "initrd", Role: trust.RoleInitrd, Data: content})
	wantError(t, "listed digest, not accepted", r, err, trust.ErrNoSignature)
}
