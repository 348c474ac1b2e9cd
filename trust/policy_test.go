// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

const everything = `
mode = "warn"
[signatures]
kinds = ["authenticode", "detached"]
digests = ["sha384"]
rsa_bits = 3072
ec_bits = 384
[lists]
machine = true
vendor = true
[outside]
cmdline = "allow"
initrd = "refuse"
dtb = "signed"
addon = "allow"
parser = "refuse"
[parser]
keys_only = true
[payload]
rule = "one"
kexec_eku = ["1.3.6.1.4.1.99999.1"]
[sbat]
minimum = ["shim,4", "grub,3"]
required = true
`

func TestPolicyApply(t *testing.T) {
	p := trust.DefaultPolicy()
	if err := p.Apply("policy.toml", []byte(everything)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"mode": "warn", "signatures.kinds": "authenticode detached", "signatures.digests": "sha384",
		"signatures.rsa_bits": "3072", "signatures.ec_bits": "384", "lists.machine": "true", "lists.vendor": "true",
		"outside.cmdline": "allow", "outside.initrd": "refuse", "outside.dtb": "signed", "outside.addon": "allow",
		"outside.parser": "refuse", "parser.keys_only": "true", "payload.rule": "one",
		"payload.kexec_eku": "1.3.6.1.4.1.99999.1", "sbat.minimum": "shim,4 grub,3", "sbat.required": "true",
	}
	got := map[string]string{}
	for _, s := range p.Settings() {
		got[s.Key] = s.Value
		if s.Origin != "policy.toml" {
			t.Errorf("Settings().%s comes from %q, want policy.toml", s.Key, s.Origin)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Settings() mismatch (-want +got):\n%s", d)
	}
}

func TestPolicyOrigins(t *testing.T) {
	p := trust.DefaultPolicy()
	if err := p.Apply("/etc/peel/policy.toml", []byte("[outside]\ncmdline = \"allow\"\n")); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply("other.toml", []byte("mode = \"auto\"\n[outside]\ninitrd = \"allow\"\n")); err != nil {
		t.Fatal(err)
	}
	p.SetDefaultMode(trust.State{Lockdown: true})
	want := map[string]string{"mode": "the kernel is locked down", "outside.cmdline": "/etc/peel/policy.toml",
		"outside.initrd": "other.toml", "outside.dtb": "built in"}
	for _, s := range p.Settings() {
		if o, ok := want[s.Key]; ok && s.Origin != o {
			t.Errorf("Settings().%s comes from %q, want %q", s.Key, s.Origin, o)
		}
	}
	p.SetMode(trust.Off, "--policy off")
	p.SetDefaultMode(trust.State{SecureBoot: true})
	if p.Mode != trust.Off {
		t.Errorf("SetDefaultMode() = %s over a mode that somebody set, want off", p.Mode)
	}
}

func TestDefaultMode(t *testing.T) {
	for _, c := range []struct {
		s    trust.State
		want trust.Mode
	}{
		{trust.State{}, trust.Warn}, {trust.State{SecureBoot: true}, trust.Enforce},
		{trust.State{Lockdown: true}, trust.Enforce}, {trust.State{Keys: true}, trust.Enforce},
	} {
		p := trust.DefaultPolicy()
		p.SetDefaultMode(c.s)
		if p.Mode != c.want {
			t.Errorf("SetDefaultMode(%+v) = %s, want %s", c.s, p.Mode, c.want)
		}
	}
}

func TestDefaultLists(t *testing.T) {
	for _, keys := range []bool{false, true} {
		p := trust.DefaultPolicy()
		p.SetDefaultLists(keys)
		if p.Machine != !keys {
			t.Errorf("SetDefaultLists(%t): Machine = %t, want %t", keys, p.Machine, !keys)
		}
		p = trust.DefaultPolicy()
		if err := p.Apply("p", []byte("[lists]\nmachine = false\n")); err != nil {
			t.Fatal(err)
		}
		p.SetDefaultLists(keys)
		if p.Machine {
			t.Errorf("SetDefaultLists(%t) changed what a file set", keys)
		}
	}
}

func TestPolicyMistakes(t *testing.T) {
	for _, text := range []string{
		"mode = \"enforced\"", "mod = \"warn\"", "[outside]\ncmdline = \"yes\"", "[outside]\nfirmware = \"allow\"",
		"[signatures]\nkinds = [\"pgp\"]", "[signatures]\ndigests = [\"md5\"]", "[signatures]\nrsa_bits = -1",
		"[payload]\nrule = \"all\"", "[payload]\nkexec_eku = [\"codeSigning\"]", "[sbat]\nminimum = [\"shim\"]",
		"mode = 1", "not toml at all", "[outside]\ncmdline = \"allow\"\ncmdline = \"refuse\"",
		strings.Repeat("#", 300<<10),
	} {
		p := trust.DefaultPolicy()
		before := p.Settings()
		if err := p.Apply("policy.toml", []byte(text)); !errors.Is(err, trust.ErrPolicy) {
			t.Errorf("Apply(%.40q) = %v, want ErrPolicy", text, err)
		}
		if d := cmp.Diff(before, p.Settings()); d != "" {
			t.Errorf("Apply(%.40q) changed the policy:\n%s", text, d)
		}
	}
}

// What is not signed: refused, reported, or not looked at.
func TestModes(t *testing.T) {
	image := trusttest.SmallPE(t)
	for _, c := range []struct {
		mode    trust.Mode
		overall trust.Verdict
		layer   trust.Verdict
		err     error
	}{
		{trust.Enforce, trust.Refused, trust.Refused, trust.ErrNoSignature},
		{trust.Warn, trust.Unverified, trust.Unverified, nil},
		{trust.Off, trust.Unchecked, trust.Unchecked, nil},
		{"", trust.Refused, trust.Refused, trust.ErrNoSignature},
		{"enforced", trust.Refused, trust.Refused, trust.ErrNoSignature},
	} {
		v := verifier()
		v.Policy.Mode = c.mode
		r, err := v.Verify(imageObject(image))
		if !errors.Is(err, c.err) || (c.err == nil) != (err == nil) || r.Verdict != c.overall || r.Layers[0].Verdict != c.layer || r.Reason == "" {
			t.Errorf("Verify(mode %q) = %v, %v, %v, want %v, %v, %v", c.mode, r.Verdict, r.Layers[0].Verdict, err, c.overall, c.layer, c.err)
		}
	}
	// Nothing given is nothing allowed, and no policy is no permission.
	if _, err := verifier().Verify(); !errors.Is(err, trust.ErrRefused) {
		t.Errorf("Verify() = %v, want ErrRefused", err)
	}
	k := testkit.NewKey(t, "signer")
	empty := trust.Verifier{Keys: trust.Keys{Allow: []trust.List{certList("l", k)}}}
	if _, err := empty.Verify(imageObject(signed(t, k))); !errors.Is(err, trust.ErrRefused) {
		t.Errorf("Verify(zero policy) = %v, want ErrRefused", err)
	}
}

func TestOutsideRules(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	for _, c := range []struct {
		rule trust.Rule
		want error
		v    trust.Verdict
	}{
		{trust.RuleSigned, trust.ErrNoSignature, trust.Refused},
		{trust.RuleAllow, nil, trust.AllowedByRule},
		{trust.RuleRefuse, trust.ErrOutside, trust.Refused},
	} {
		for _, role := range []trust.Role{trust.RoleCmdline, trust.RoleInitrd, trust.RoleDTB, trust.RoleAddon, trust.RoleParser} {
			v := verifier(k)
			p := &v.Policy
			p.Cmdline, p.Initrd, p.DTB, p.Addon, p.Parser = c.rule, c.rule, c.rule, c.rule, c.rule
			r, err := v.Verify(imageObject(signed(t, k)), trust.Object{Name: "part", Role: role, Data: []byte("part")})
			wantError(t, string(role)+" "+string(c.rule), r, err, c.want)
			if got := r.Layers[1].Verdict; got != c.v {
				t.Errorf("Verify(%s %s) = %s, want %s", role, c.rule, got, c.v)
			}
		}
	}
	// A rule that allows everything still does not allow the revoked.
	v := verifier(k)
	v.Policy.Addon = trust.RuleAllow
	v.Keys.Deny = []trust.List{certList("revoked", k)}
	r, err := v.Verify(trust.Object{Name: "a.addon.efi", Role: trust.RoleAddon, Data: signed(t, k)})
	wantError(t, "revoked addon", r, err, trust.ErrRevoked)
	// Nor does "refuse" let a signed one pass.
	v = verifier(k)
	v.Policy.Addon = trust.RuleRefuse
	r, err = v.Verify(trust.Object{Name: "a.addon.efi", Role: trust.RoleAddon, Data: signed(t, k)})
	wantError(t, "signed addon, none wanted", r, err, trust.ErrOutside)
}

func TestAcceptedKinds(t *testing.T) {
	k := testkit.NewCA(t, "signer")
	v := verifier(k)
	v.Policy.Kinds = []trust.Kind{trust.KindDetached}
	r, err := v.Verify(imageObject(signed(t, k)))
	wantError(t, "kind not accepted", r, err, trust.ErrKind)
	v = verifier(k)
	v.Policy.Digests = []string{"sha512"}
	r, err = v.Verify(imageObject(signed(t, k)))
	wantError(t, "digest not accepted", r, err, trust.ErrWeak)
}

// The names in the JSON report are an interface.
func TestReportJSON(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	r, err := verifier(k).Verify(imageObject(signed(t, k)))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(dump(r)), &m); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"mode", "mode_origin", "verdict", "reason", "layers"} {
		if _, ok := m[key]; !ok {
			t.Errorf("report has no %q", key)
		}
	}
	layer := m["layers"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "role", "size", "sha256", "digest_kind", "signatures", "sbat", "signer", "chain", "list", "verdict", "reason"} {
		if _, ok := layer[key]; !ok {
			t.Errorf("layer has no %q", key)
		}
	}
	sig := layer["signatures"].([]any)[0].(map[string]any)
	for _, key := range []string{"kind", "index", "offset", "digest", "sum", "algorithm", "signer", "chain", "list", "good", "reason"} {
		if _, ok := sig[key]; !ok {
			t.Errorf("signature has no %q", key)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(everything)
	f.Add("mode = \"auto\"")
	f.Fuzz(func(t *testing.T, text string) {
		p := trust.DefaultPolicy()
		if err := p.Apply("policy.toml", []byte(text)); err != nil {
			if !errors.Is(err, trust.ErrPolicy) {
				t.Errorf("Apply(%q) = %v, want ErrPolicy", text, err)
			}
			return
		}
		if _, err := trust.ParseMode(string(p.Mode)); err != nil {
			t.Errorf("Apply(%q) set mode %q", text, p.Mode)
		}
	})
}
