// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peelboot/peel/trust/sbat"
)

// Mode says what follows from a verdict.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // what is not allowed is refused
	Warn    Mode = "warn"    // what is not allowed is reported and goes on
	Off     Mode = "off"     // nothing is checked
)

// ParseMode reads "enforce", "warn" or "off".
func ParseMode(s string) (Mode, error) {
	m := Mode(s)
	switch m {
	case Enforce, Warn, Off:
		return m, nil
	}
	return "", fmt.Errorf("mode %q, want enforce, warn or off: %w", s, ErrPolicy)
}

// Rule says what a part from outside the image needs.
type Rule string

// The rules.
const (
	RuleSigned Rule = "signed" // a signature of its own
	RuleAllow  Rule = "allow"  // nothing
	RuleRefuse Rule = "refuse" // may not come from outside at all
)

// Kind is a kind of signature.
type Kind string

// The kinds.
const (
	KindAuthenticode Kind = "authenticode" // embedded in a PE image
	KindAppended     Kind = "appended"     // module-style trailer
	KindDetached     Kind = "detached"     // CMS in a file of its own
	KindIMA          Kind = "ima"          // security.ima value
	KindHash         Kind = "hash"         // the digest itself is listed
)

// PayloadRule says what signature an inner kernel must have.
type PayloadRule string

// The payload rules, after the three options discussed for zboot kernels:
// the envelope's key, a key for kexec only, or a key of one build.
const (
	PayloadAny   PayloadRule = "any"   // trusted through its envelope
	PayloadSame  PayloadRule = "same"  // signed with the envelope's key
	PayloadKexec PayloadRule = "kexec" // signed with a key for kexec only
	PayloadBuild PayloadRule = "build" // signed with the key of this kernel build
	PayloadOne   PayloadRule = "one"   // any one of the three
)

// Policy holds the rules of a decision. The zero value refuses everything;
// start from DefaultPolicy.
type Policy struct {
	Mode Mode
	// Kinds of signature that count.
	Kinds []Kind
	// Digests that count, by name, for images, contents and certificates.
	Digests []string
	// RSABits and ECBits are the smallest keys that count.
	RSABits int
	ECBits  int
	// What parts from outside need, by role.
	Cmdline, Initrd, DTB, Addon, Parser Rule
	// ParserKeysOnly demands keys of UsageParser for parser containers.
	ParserKeysOnly bool
	// Payload is the rule for inner kernels.
	Payload PayloadRule
	// KexecEKU lists extended key usages, dotted, that mark a certificate
	// as good for inner kernels only.
	KexecEKU []string
	// SBAT is the minimum that is added to the machine's level.
	SBAT sbat.Level
	// SBATRequired refuses PE layers without a .sbat section.
	SBATRequired bool
	// Machine lets firmware and shim lists allow beside the operator's.
	// Lists that deny count whatever it says. See SetDefaultLists.
	Machine bool
	// Vendor adds the certificate inside the installed shim.
	Vendor bool
	// ShimDigest limits shim's lists to SHA-256 signatures, the only ones
	// that shim itself can check.
	ShimDigest bool
	// Origin tells where each value comes from, by its key in the file.
	Origin map[string]string
}

// builtIn is the origin of values that nobody set.
const builtIn = "built in"

// DefaultPolicy returns the rules that hold when nobody says otherwise.
func DefaultPolicy() Policy {
	return Policy{
		Mode:    Enforce,
		Kinds:   []Kind{KindAuthenticode, KindAppended, KindDetached, KindIMA, KindHash},
		Digests: []string{"sha256", "sha384", "sha512"},
		RSABits: 2048, ECBits: 256,
		Cmdline: RuleSigned, Initrd: RuleSigned, DTB: RuleSigned, Addon: RuleSigned, Parser: RuleSigned,
		Payload: PayloadAny,
		Origin:  map[string]string{},
	}
}

// FirmwarePolicy returns the rules of this machine's firmware and shim:
// embedded signatures and listed hashes only, their lists only.
func FirmwarePolicy() Policy {
	p := DefaultPolicy()
	p.Kinds = []Kind{KindAuthenticode, KindHash}
	p.RSABits, p.ECBits = 1024, 224
	p.Machine, p.Vendor, p.ShimDigest = true, true, true
	for _, k := range policyKeys() {
		p.Origin[k] = "firmware policy"
	}
	return p
}

// State is what the machine says about itself, as far as it sets the mode.
type State struct {
	SecureBoot bool // firmware enforces signatures
	Lockdown   bool // the kernel is locked down
	Keys       bool // the operator gave keys
}

// SetDefaultMode sets the mode by the machine's state: enforce when Secure
// Boot is on, the kernel is locked down or keys were given, else warn. It
// keeps a mode that somebody set.
func (p *Policy) SetDefaultMode(s State) {
	if o := p.Origin["mode"]; o != "" && o != builtIn {
		return
	}
	switch {
	case s.SecureBoot:
		p.SetMode(Enforce, "Secure Boot is on")
	case s.Lockdown:
		p.SetMode(Enforce, "the kernel is locked down")
	case s.Keys:
		p.SetMode(Enforce, "keys were given")
	default:
		p.SetMode(Warn, "Secure Boot is off, no lockdown, no keys given")
	}
}

// SetDefaultLists lets the machine's own lists allow when the operator gave
// no key: under Secure Boot without keys of one's own, what the firmware
// would boot is what may boot. It keeps a choice that somebody made. The
// machine's deny lists count in any case.
func (p *Policy) SetDefaultLists(keys bool) {
	if o := p.Origin["lists.machine"]; o != "" && o != builtIn {
		return
	}
	p.Machine = !keys
	if keys {
		p.set("lists.machine", "keys were given")
	} else {
		p.set("lists.machine", "no keys were given")
	}
}

// SetMode sets the mode and where it comes from.
func (p *Policy) SetMode(m Mode, origin string) {
	p.Mode = m
	p.set("mode", origin)
}

func (p *Policy) set(key, origin string) {
	if p.Origin == nil {
		p.Origin = map[string]string{}
	}
	p.Origin[key] = origin
}

// origin returns where the value of key comes from.
func (p *Policy) origin(key string) string {
	if o := p.Origin[key]; o != "" {
		return o
	}
	return builtIn
}

func (p *Policy) accepts(k Kind) bool { return slices.Contains(p.Kinds, k) }

// rule returns the rule for a part from outside.
func (p *Policy) rule(r Role) Rule {
	switch r {
	case RoleCmdline:
		return p.Cmdline
	case RoleInitrd:
		return p.Initrd
	case RoleDTB:
		return p.DTB
	case RoleAddon:
		return p.Addon
	case RoleParser:
		return p.Parser
	}
	return RuleSigned
}

// Setting is one value of the effective policy.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Settings returns the effective policy with the origin of each value.
func (p *Policy) Settings() []Setting {
	var kinds []string
	for _, k := range p.Kinds {
		kinds = append(kinds, string(k))
	}
	var level []string
	for _, m := range p.SBAT.Minimums {
		level = append(level, fmt.Sprintf("%s,%d", m.Component, m.Generation))
	}
	values := map[string]string{
		"mode":                string(p.Mode),
		"signatures.kinds":    strings.Join(kinds, " "),
		"signatures.digests":  strings.Join(p.Digests, " "),
		"signatures.rsa_bits": fmt.Sprint(p.RSABits),
		"signatures.ec_bits":  fmt.Sprint(p.ECBits),
		"lists.machine":       fmt.Sprint(p.Machine),
		"lists.vendor":        fmt.Sprint(p.Vendor),
		"outside.cmdline":     string(p.Cmdline),
		"outside.initrd":      string(p.Initrd),
		"outside.dtb":         string(p.DTB),
		"outside.addon":       string(p.Addon),
		"outside.parser":      string(p.Parser),
		"parser.keys_only":    fmt.Sprint(p.ParserKeysOnly),
		"payload.rule":        string(p.Payload),
		"payload.kexec_eku":   strings.Join(p.KexecEKU, " "),
		"sbat.minimum":        strings.Join(level, " "),
		"sbat.required":       fmt.Sprint(p.SBATRequired),
	}
	var out []Setting
	for _, k := range policyKeys() {
		out = append(out, Setting{k, values[k], p.origin(k)})
	}
	return out
}

// policyKeys lists the keys of a policy file in the order of its
// documentation.
func policyKeys() []string {
	return []string{
		"mode",
		"signatures.kinds", "signatures.digests", "signatures.rsa_bits", "signatures.ec_bits",
		"lists.machine", "lists.vendor",
		"outside.cmdline", "outside.initrd", "outside.dtb", "outside.addon", "outside.parser",
		"parser.keys_only",
		"payload.rule", "payload.kexec_eku",
		"sbat.minimum", "sbat.required",
	}
}
