// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/peelboot/peel/trust/sbat"
)

// maxPolicyFile is the most bytes of a policy file.
const maxPolicyFile = 256 << 10

// policyFile is the shape of /etc/peel/policy.toml; docs/trust.md lists the
// keys. "mode" may be "auto", which leaves the mode to the machine's state.
type policyFile struct {
	Mode       string `toml:"mode"`
	Signatures struct {
		Kinds   []string `toml:"kinds"`
		Digests []string `toml:"digests"`
		RSABits int      `toml:"rsa_bits"`
		ECBits  int      `toml:"ec_bits"`
	} `toml:"signatures"`
	Lists struct {
		Machine bool `toml:"machine"`
		Vendor  bool `toml:"vendor"`
	} `toml:"lists"`
	Outside struct {
		Cmdline string `toml:"cmdline"`
		Initrd  string `toml:"initrd"`
		DTB     string `toml:"dtb"`
		Addon   string `toml:"addon"`
		Parser  string `toml:"parser"`
	} `toml:"outside"`
	Parser struct {
		KeysOnly bool `toml:"keys_only"`
	} `toml:"parser"`
	Payload struct {
		Rule     string   `toml:"rule"`
		KexecEKU []string `toml:"kexec_eku"`
	} `toml:"payload"`
	SBAT struct {
		Minimum  []string `toml:"minimum"`
		Required bool     `toml:"required"`
	} `toml:"sbat"`
}

// Apply reads a policy file and sets the values that it names, with name as
// their origin. A key that is misspelt, or a value outside of its choices, is
// an error: a rule that silently does not hold is worse than none. p is left
// as it was when there is an error.
func (p *Policy) Apply(name string, text []byte) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s: %w", name, fmt.Sprintf(format, args...), ErrPolicy)
	}
	if len(text) > maxPolicyFile {
		return bad("%d bytes, at most %d", len(text), maxPolicyFile)
	}
	var f policyFile
	md, err := toml.Decode(string(text), &f)
	if err != nil {
		return bad("%v", err)
	}
	if u := md.Undecoded(); len(u) > 0 {
		return bad("unknown key %q", u[0].String())
	}
	q := *p
	q.Origin = map[string]string{}
	for k, v := range p.Origin {
		q.Origin[k] = v
	}
	for _, key := range policyKeys() {
		if !md.IsDefined(strings.Split(key, ".")...) {
			continue
		}
		if key == "mode" && f.Mode == "auto" {
			continue
		}
		if err := q.take(key, &f); err != nil {
			return bad("%s: %v", key, err)
		}
		q.set(key, name)
	}
	*p = q
	return nil
}

// take copies one value of f.
func (p *Policy) take(key string, f *policyFile) (err error) {
	switch key {
	case "mode":
		p.Mode, err = ParseMode(f.Mode)
	case "signatures.kinds":
		p.Kinds = nil
		for _, s := range f.Signatures.Kinds {
			k := Kind(s)
			if !slices.Contains([]Kind{KindAuthenticode, KindAppended, KindDetached, KindIMA, KindHash}, k) {
				return fmt.Errorf("kind %q, want authenticode, appended, detached, ima or hash", s)
			}
			p.Kinds = append(p.Kinds, k)
		}
	case "signatures.digests":
		for _, s := range f.Signatures.Digests {
			if !slices.Contains([]string{"sha1", "sha224", "sha256", "sha384", "sha512"}, s) {
				return fmt.Errorf("digest %q, want sha1, sha224, sha256, sha384 or sha512", s)
			}
		}
		p.Digests = f.Signatures.Digests
	case "signatures.rsa_bits":
		p.RSABits, err = bits(f.Signatures.RSABits)
	case "signatures.ec_bits":
		p.ECBits, err = bits(f.Signatures.ECBits)
	case "lists.machine":
		p.Machine = f.Lists.Machine
	case "lists.vendor":
		p.Vendor = f.Lists.Vendor
	case "outside.cmdline":
		p.Cmdline, err = parseRule(f.Outside.Cmdline)
	case "outside.initrd":
		p.Initrd, err = parseRule(f.Outside.Initrd)
	case "outside.dtb":
		p.DTB, err = parseRule(f.Outside.DTB)
	case "outside.addon":
		p.Addon, err = parseRule(f.Outside.Addon)
	case "outside.parser":
		p.Parser, err = parseRule(f.Outside.Parser)
	case "parser.keys_only":
		p.ParserKeysOnly = f.Parser.KeysOnly
	case "payload.rule":
		p.Payload = PayloadRule(f.Payload.Rule)
		if !slices.Contains([]PayloadRule{PayloadAny, PayloadSame, PayloadKexec, PayloadBuild, PayloadOne}, p.Payload) {
			return fmt.Errorf("rule %q, want any, same, kexec, build or one", f.Payload.Rule)
		}
	case "payload.kexec_eku":
		for _, s := range f.Payload.KexecEKU {
			if strings.Trim(s, "0123456789.") != "" || !strings.Contains(s, ".") {
				return fmt.Errorf("extended key usage %q, want a dotted object identifier", s)
			}
		}
		p.KexecEKU = f.Payload.KexecEKU
	case "sbat.minimum":
		p.SBAT, err = sbat.ParseLevel([]byte(strings.Join(f.SBAT.Minimum, "\n")))
	case "sbat.required":
		p.SBATRequired = f.SBAT.Required
	}
	return err
}

// bits checks a key size.
func bits(n int) (int, error) {
	if n < 0 || n > 1<<16 {
		return 0, fmt.Errorf("key size %d bits", n)
	}
	return n, nil
}

func parseRule(s string) (Rule, error) {
	r := Rule(s)
	switch r {
	case RuleSigned, RuleAllow, RuleRefuse:
		return r, nil
	}
	return "", fmt.Errorf("rule %q, want signed, allow or refuse", s)
}
